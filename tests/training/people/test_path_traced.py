"""The path tracer's side that needs no Blender, and all of it where VISAVIS_BPY names a Python."""

import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from training.people.path_traced import PathTracer, PathTracerError, check
from training.people.person import sample_person
from training.people.scene import lash_texture, save_scene
from training.people.views import orbit


def test_a_python_without_bpy_is_one_line(tmp_path: Path) -> None:
    for python in (sys.executable, "/bin/true"):
        with pytest.raises(PathTracerError, match="pip install bpy"):
            check(Path(python))
    with pytest.raises(PathTracerError, match="cannot be started") as raised:
        check(tmp_path / "python")
    # Workers hand it to the parent.
    assert pickle.loads(pickle.dumps(raised.value)).reason == raised.value.reason


def test_lashes_are_thin_and_taper() -> None:
    alpha = lash_texture(1.0)[..., 3] / 255
    card = alpha[-85:]  # the topmost card: its tips are at the bottom
    assert 0.05 < alpha.mean() < 0.5
    assert card[-8:].mean() > 2 * card[8:16].mean()
    assert lash_texture(0.3)[..., 3].mean() < 0.6 * lash_texture(1.0)[..., 3].mean()


@pytest.fixture
def textures(kit):
    return {m: np.full((8, 8, 4), 128, np.uint8) for m in kit.draw_triangles}


def test_a_scene_holds_every_part(kit, textures, tmp_path) -> None:
    person = sample_person(kit, 3, strand_count=400)
    path = tmp_path / "scene.npz"
    save_scene(path, kit, person, textures)
    scene = np.load(path)
    count = len(scene["kinds"])
    assert count == len(kit.draw_triangles) + len(person.clothes.meshes) + len(person.worn)
    for index in range(count):
        positions, triangles, uv, texture = (
            scene[f"part{index}_{name}"] for name in ("positions", "triangles", "uv", "texture")
        )
        assert triangles.max() == len(positions) - 1 and len(uv) == len(positions)
        assert texture.dtype == np.uint8 and texture.shape[-1] == 4
    assert scene["radiance"].shape == (9, 3)


def test_cycles_sees_the_person_where_opengl_does(kit, renderer) -> None:
    python = os.environ.get("VISAVIS_BPY", "")
    if not Path(python).is_file():
        pytest.skip("set VISAVIS_BPY to a Python that has bpy to test the path tracer")
    person = sample_person(kit, 3)
    renderer.load(person)
    views = [
        orbit(0, 0, 0.75),
        orbit(30, 10, 0.7, 4, (0.01, -0.01)),
        orbit(-20, 0, 0.4, focal=1.3),  # a near webcam with a wide lens
    ]
    tracer = PathTracer(Path(python), samples=4)
    try:
        traced = tracer.render(kit, person, renderer.textures(), views, 256)
    finally:
        tracer.close()
    for view, picture in zip(views, traced, strict=True):
        drawn = renderer.render(view)[0]
        inside, other = picture[..., 3] > 127, drawn[..., 3] > 127
        assert (inside & other).sum() / (inside | other).sum() > 0.97
        both = inside & other
        assert abs(picture[both][:, :3].mean() - drawn[both][:, :3].mean()) < 25
