"""The generator itself; skipped without ICT-FaceKit or EGL (see conftest)."""

from __future__ import annotations

import numpy as np
import pytest

from training.people.generate import generate, render_person
from training.people.person import sample_person
from training.people.shards import complete
from training.people.views import FOCAL, intrinsics, orbit


@pytest.fixture(scope="module")
def rendered(kit, renderer):
    return render_person(kit, renderer, 3, "train")


def test_same_seed_same_person(kit, renderer, rendered):
    render_person(kit, renderer, 6, "train")  # what was drawn before leaves no trace
    again = render_person(kit, renderer, 3, "train")
    for name, values in rendered.items():
        assert np.array_equal(values, again[name]), name


def test_seeds_differ(kit):
    one, other = (sample_person(kit, seed, strand_count=500) for seed in (1, 2))
    assert np.abs(one.vertices - other.vertices).mean() > 0.05
    assert not np.allclose(one.skin.base, other.skin.base)
    assert not np.allclose(one.light.radiance, other.light.radiance)


def test_alpha_is_premultiplied(rendered):
    rgba = rendered["rgba"].astype(int)
    assert np.all(rgba[..., :3] <= rgba[..., 3:])
    assert np.all(rgba[:, 128, 128, 3] == 255)
    partly = (rgba[..., 3] > 0) & (rgba[..., 3] < 255)
    assert partly.mean() > 0.001


def test_depth_is_where_the_person_is(rendered):
    alpha = rendered["rgba"][..., 3].reshape(8, 128, 2, 128, 2).max((2, 4))
    assert np.array_equal(rendered["depth"] > 0, alpha > 0)
    assert np.all(rendered["depth"][alpha > 0] > 0.12)


@pytest.mark.parametrize("target", range(1, 8))
def test_depth_of_one_view_lands_on_the_surface_of_another(rendered, target):
    depth, camera = (
        rendered["depth"].astype(np.float64),
        rendered["camera"][:, :16].reshape(8, 4, 4),
    )
    source, other = (intrinsics(128, float(rendered["camera"][v, 17])) for v in (0, target))
    row, column = np.nonzero(depth[0])
    pixels = np.stack([column + 0.5, row + 0.5, np.ones(len(row))])
    points = np.linalg.inv(source) @ pixels * depth[0][row, column]
    moved = (camera[target] @ np.linalg.inv(camera[0]) @ np.vstack([points, np.ones(len(row))]))[:3]
    u, v = (other @ moved)[:2] / moved[2]
    inside = (u >= 0) & (u < 128) & (v >= 0) & (v < 128)
    there = depth[target][v[inside].astype(int), u[inside].astype(int)]
    assert (there > 0).mean() > 0.97  # in the other silhouette
    nearer = moved[2][inside][there > 0] - there[there > 0]
    assert np.median(np.abs(nearer)) < 0.006
    # A point may be hidden in the other view, but it cannot float before the surface seen there.
    assert (nearer < -0.015).mean() < 0.04


def test_eyes_of_the_mean_face_are_where_the_portrait_expects_them(kit):
    from training.people.facekit import HEAD_ORIGIN, LANDMARKS

    points = (kit.neutral[LANDMARKS] - HEAD_ORIGIN) * [0.01, -0.01, -0.01]
    left, right = points[42:48].mean(0), points[36:42].mean(0)
    assert np.allclose(left, [0.032, -0.036, -0.075], atol=0.006)
    assert np.allclose(right, [-0.032, -0.036, -0.075], atol=0.006)


def test_a_near_camera_with_a_short_lens_shows_the_head_as_large(kit, renderer):
    renderer.load(sample_person(kit, 3))
    far, near = (
        renderer.render(orbit(0, 0, distance, focal=FOCAL * distance / 0.75))[0][..., 3] > 127
        for distance in (1.2, 0.4)
    )
    assert 0.9 < near[:150].sum() / far[:150].sum() < 1.1
    assert not np.array_equal(near, far)


def test_head_is_upright_in_the_picture(kit, renderer):
    renderer.load(sample_person(kit, 3))
    rgba, _ = renderer.render(orbit(0, 0, 0.75))
    width = (rgba[..., 3] > 128).sum(1)
    assert width[250] > width[128] > 0  # shoulders below, head in the middle


def test_generation_resumes(tmp_path, facekit_path, renderer):
    generate(facekit_path, tmp_path, range(98, 101), "test", workers=1)
    first, second = complete(tmp_path)
    stamp = (first / "rgba.npy").stat().st_mtime_ns
    kept = np.load(second / "rgba.npy")
    for name in second.iterdir():
        name.unlink()
    second.rmdir()
    generate(facekit_path, tmp_path, range(98, 101), "test", workers=1)
    assert (first / "rgba.npy").stat().st_mtime_ns == stamp
    assert np.array_equal(np.load(second / "rgba.npy"), kept)


def test_hair_stays_under_the_hat(kit):
    from training.people.headwear import CENTER, reach, sample_headwear

    person = sample_person(kit, 3, strand_count=50)
    strands = CENTER + 15 * np.random.default_rng(0).standard_normal((300, 5, 3))
    for seed in range(12):
        rng = np.random.default_rng(seed)
        headwear = sample_headwear(kit, person.vertices, person.clothes.torso, rng, share=1)
        assert headwear is not None and headwear.hull is not None
        pressed = headwear.press(strands)
        above = pressed[..., 1] > headwear.rim[0] + headwear.rim[1] * pressed[..., 2]
        assert above.any()
        away = pressed[above] - CENTER
        distance = np.linalg.norm(away, axis=-1)
        assert (distance < reach(headwear.hull, away / distance[:, None]) + 0.2).all()


def test_earrings_hang_below_the_ears(kit):
    from training.people.earrings import sample_earrings

    for seed in range(6):
        rng = np.random.default_rng(seed)
        rings = sample_earrings(kit, kit.neutral, rng, share=1)
        x, y, z = rings.positions.T
        assert (np.abs(x) > 5).all() and -6 < y.min() < 2.5 and np.abs(z).max() < 5


def test_the_shawl_of_a_headscarf_faces_outwards(kit):
    from training.people.clothes import CHEST
    from training.people.headwear import sample_headwear

    person = sample_person(kit, 3, strand_count=50)
    scarves = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        worn = sample_headwear(kit, person.vertices, person.clothes.torso, rng, share=1)
        if worn is not None and worn.hides:
            scarves += 1
            shawl = worn.meshes[1]
            outward = (shawl.normals * (shawl.positions - CHEST)).sum(1) > 0
            assert outward.mean() > 0.9
    assert scarves > 0
