import numpy as np
import pytest

from training.people.shards import OtherPeople, Shard, complete, plan


def person(value):
    return {
        "rgba": np.full((8, 256, 256, 4), value, np.uint8),
        "depth": np.full((8, 128, 128), value, np.float16),
        "camera": np.full((8, 18), value, np.float32),
    }


def test_plan_cuts_at_hundreds(tmp_path):
    shards = plan(tmp_path, range(150, 320))
    assert [(s.folder.name, s.seeds) for s in shards] == [
        ("shard_00001", range(150, 200)),
        ("shard_00002", range(200, 300)),
        ("shard_00003", range(300, 320)),
    ]


def test_shard_appears_when_it_is_complete(tmp_path):
    shard = Shard(tmp_path / "shard_00000", range(0, 2))
    shard.create()
    shard.write(1, person(7))
    assert list(complete(tmp_path)) == []
    shard.write(0, person(5))
    shard.finish()
    assert list(complete(tmp_path)) == [shard.folder]
    rgba = np.load(shard.folder / "rgba.npy", mmap_mode="r")
    assert rgba.shape == (2, 8, 256, 256, 4)
    assert rgba[0, 0, 0, 0, 0] == 5 and rgba[1, -1, -1, -1, -1] == 7
    assert np.load(shard.folder / "seeds.npy").tolist() == [0, 1]


def test_the_layout_gives_the_shapes(tmp_path):
    shard = Shard(tmp_path / "shard_00000", range(0, 2), "grid")
    shard.create()
    shard.finish()
    shapes = {n: np.load(shard.folder / f"{n}.npy").shape for n in ("rgba", "depth", "camera")}
    assert shapes == {
        "rgba": (2, 22, 512, 512, 4),
        "depth": (2, 22, 128, 128),
        "camera": (2, 22, 18),
    }


def test_resume_skips_complete_shards_and_drops_drafts(tmp_path):
    first = Shard(tmp_path / "shard_00000", range(0, 1))
    first.create()
    first.write(0, person(1))
    first.finish()
    draft = Shard(tmp_path / "shard_00001", range(100, 101))
    draft.create()
    draft.write(0, person(9))
    assert [s.folder.name for s in plan(tmp_path, range(0, 200))] == ["shard_00001"]
    draft.create()
    assert np.load(draft.draft / "rgba.npy", mmap_mode="r").max() == 0


def test_people_made_in_another_way_are_not_taken_for_those_that_are_wanted(tmp_path):
    shard = Shard(tmp_path / "shard_00000", range(0, 1), "test", "unseen")
    shard.create()
    shard.finish()
    assert plan(tmp_path, range(0, 1), "test", "unseen") == []
    for other in (("test", "usual"), ("train", "unseen"), ("test", "unseen", "path tracer")):
        with pytest.raises(OtherPeople, match="layout test, assets unseen, renderer OpenGL"):
            plan(tmp_path, range(0, 1), *other)
    (shard.folder / "made.json").unlink()  # shards of before do not say
    assert plan(tmp_path, range(0, 1)) == []
