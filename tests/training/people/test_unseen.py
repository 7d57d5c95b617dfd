"""Assets that are reserved for the held-out test."""

import dataclasses
import hashlib

import numpy as np
import pytest

from training.people import glasses, headwear, unseen
from training.people.clothes import RESERVED_PATTERNS, USUAL_PATTERNS
from training.people.hair import sample_style
from training.people.lights import sample_light
from training.people.person import sample_person
from training.people.skin import sample_skin

SEEDS = range(300)


def streams():
    return (np.random.default_rng([seed, 1]) for seed in SEEDS)


def test_everybody_has_at_least_two_reserved_assets():
    chosen = [unseen.choose(rng) for rng in streams()]
    assert all(len(has) >= 2 and has & set(unseen.PLAIN_TO_SEE) for has in chosen)
    for part in [*unseen.PLAIN_TO_SEE, *unseen.FAINT]:
        assert sum(part in has for has in chosen) > 0.1 * len(chosen), part
    assert not any({"hair", "headwear"} <= has for has in chosen)


def test_usual_people_never_have_them():
    assert not set(RESERVED_PATTERNS) & set(USUAL_PATTERNS)
    assert not set(headwear.RESERVED) & set(headwear.KINDS)
    assert "usual" not in glasses.RESERVED
    for rng in streams():
        style = sample_style(rng)
        assert style.strip == np.inf and not style.plait and style.cut is None


def test_reserved_styles_are_of_three_kinds():
    styles = [unseen.sample_style(rng) for rng in streams()]
    kinds = [(s.strip < np.inf, s.plait > 0, s.cut is not None) for s in styles]
    assert all(sum(kind) == 1 for kind in kinds) and len(set(kinds)) == 3


def test_reserved_eyes_are_far_from_the_usual_ones():
    usual = np.array([sample_skin(rng, False).iris for rng in streams()])
    for rng in streams():
        assert np.abs(usual - unseen.sample_iris(rng)).max(1).min() > 0.04


def test_reserved_light_has_more_contrast():
    def contrast(light):
        return light.key_color.mean() / light.radiance[0].mean()

    usual = [contrast(sample_light(rng)) for rng in streams()]
    reserved = [contrast(unseen.sample_light(rng)) for rng in streams()]
    assert min(reserved) > np.median(usual)
    # From a side, or from below.
    keys = np.array([unseen.sample_light(rng).key for rng in streams()])
    assert np.all((np.abs(keys[:, 0]) > 0.8) | (keys[:, 1] < -0.3))


USUAL = {
    0: (4.769, 0.0, 13.068, 0.6856, 0.3952, 0.0634, 0.3858, 2),
    1: (4.8138, 5.4556, 13.609, 0.3783, 0.4465, 0.6514, 0.4576, 0),
    5: (4.8887, 6.2298, 14.2431, 0.5687, 0.4858, 0.0915, 0.471, 1),
}
"""What three people were before there were reserved assets."""


@pytest.mark.parametrize("seed", USUAL)
def test_usual_people_stay_who_they_were(kit, seed):
    person = sample_person(kit, seed, 64, 400)
    torso = person.clothes.meshes[0]
    numbers = (
        np.abs(person.vertices).mean(),
        0 if person.hair is None else np.abs(person.hair.points).mean(),
        np.abs(torso.positions).mean(),
        torso.texture.mean(),
        person.skin.iris.sum(),
        person.skin.hair.sum(),
        np.abs(person.light.radiance).mean(),
        len(person.worn),
    )
    assert np.allclose(numbers, USUAL[seed], atol=2e-4)


def test_what_is_not_reserved_is_as_that_of_the_usual_person(kit):
    for seed in range(9000, 9012):
        has = unseen.choose(np.random.default_rng([seed, 11]))
        usual, other = (sample_person(kit, seed, 64, 400, assets) for assets in unseen.ASSETS)
        if usual.bald == other.bald:
            same = dataclasses.replace(other.skin, iris=usual.skin.iris)
            assert digest(same) == digest(usual.skin)
            assert ("garment" in has) != (digest(other.clothes) == digest(usual.clothes))
        assert ("light" in has) != (digest(other.light) == digest(usual.light))


@pytest.mark.parametrize("seed", range(9000, 9006))
def test_people_are_drawn_with_them(kit, seed):
    usual, other = (sample_person(kit, seed, 64, 400, assets) for assets in unseen.ASSETS)
    assert np.array_equal(usual.vertices, other.vertices)
    again = sample_person(kit, seed, 64, 400, "unseen")
    assert digest(again) == digest(other) != digest(usual)


def test_hair_that_is_cut_off_ends_there_and_keeps_its_points(kit):
    from training.people.hair import grow_hair

    person = sample_person(kit, 3, 64, 50)
    rng = np.random.default_rng(1)
    style = dataclasses.replace(unseen.sample_style(rng), strip=np.inf, plait=0.0, cut=4.0)
    style = dataclasses.replace(style, length=8.0, lift=0.3, weight=3.0)
    hair = grow_hair(
        kit, person.vertices, person.normals, person.hairline, style, person.clothes, 400, rng
    )
    from_above = hair.points[hair.points[:, 0, 1] > 5.5]
    assert from_above[..., 1].min() > 4.0 - 1.5
    steps = np.linalg.norm(np.diff(hair.points, axis=1), axis=-1)
    assert steps.min() > 1e-4  # a strand of no length has no direction


def test_plaits_hang_from_behind_the_ears(kit):
    from training.people.plaits import grow_plaits

    person = sample_person(kit, 3, 64, 50)
    points = grow_plaits(person.clothes.torso, 16, 300, 9, np.random.default_rng(1))
    assert points.shape == (300, 9, 3) and np.isfinite(points).all()
    assert np.abs(points[..., 0]).min() > 4 and points[..., 1].min() < -14
    assert 0.4 < (points[:, 0, 0] > 0).mean() < 0.6


def digest(part):
    """A hash of everything in a person."""
    state = hashlib.sha256()

    def feed(value):
        if dataclasses.is_dataclass(value):
            feed([getattr(value, field.name) for field in dataclasses.fields(value)])
        elif isinstance(value, list | tuple):
            for item in value:
                feed(item)
        elif isinstance(value, np.ndarray):
            state.update(np.ascontiguousarray(value).tobytes())
        else:
            state.update(repr(value).encode())

    feed(part)
    return state.hexdigest()
