"""What a near webcam sees, shown by the portrait camera; skipped without ICT-FaceKit."""

import numpy as np
import pytest

from training.people.facekit import HEAD_ORIGIN, vertex_normals
from training.people.person import sample_person
from training.people.perspective import NOMINAL, seen_from
from training.people.views import FOCAL, orbit


def in_picture(points, distance):
    """Where a camera before the face at `distance` shows points of kit space, picture widths."""
    head = (points - HEAD_ORIGIN) * [0.01, -0.01, -0.01]
    focal = FOCAL * distance / NOMINAL
    return focal * head[..., :2] / (distance + head[..., 2:])


@pytest.mark.parametrize("distance", [0.4, 1.2])
def test_the_portrait_camera_sees_what_the_webcam_sees(kit, distance):
    true = sample_person(kit, 1, 64, 400)
    shown = seen_from(true, distance)
    pairs = [(true.vertices, shown.vertices), (true.hair.points, shown.hair.points)]
    for one, other in zip(
        true.clothes.meshes + true.worn, shown.clothes.meshes + shown.worn, strict=True
    ):
        pairs.append((one.positions, other.positions))
    for before, after in pairs:
        assert np.allclose(in_picture(after, NOMINAL), in_picture(before, distance), atol=1e-5)
        assert np.array_equal(before[..., 2], after[..., 2])


def test_normals_stay_upright_on_the_surface(kit):
    shown = seen_from(sample_person(kit, 1, 64, 400), 0.4)
    fresh = vertex_normals(shown.vertices, kit.solid)
    members = np.unique(kit.skin_triangles)
    along = (fresh * shown.normals).sum(1)[members]
    assert np.quantile(along, 0.02) > 0.97


def test_at_the_nominal_distance_nothing_changes(kit):
    person = sample_person(kit, 1, 64, 400)
    assert np.allclose(seen_from(person, NOMINAL).vertices, person.vertices, atol=1e-5)


def test_both_ways_give_one_picture(kit, renderer):
    person = sample_person(kit, 1)
    renderer.load(person)
    webcam = renderer.render(orbit(0, 0, 0.45, focal=FOCAL * 0.45 / NOMINAL))[0][..., 3] > 127
    renderer.load(seen_from(person, 0.45))
    portrait = renderer.render(orbit(0, 0, NOMINAL))[0][..., 3] > 127
    assert (webcam & portrait).sum() / (webcam | portrait).sum() > 0.995
