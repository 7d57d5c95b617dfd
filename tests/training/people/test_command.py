import pytest

from training.people.__main__ import main, seed_range


def test_seed_range():
    assert seed_range("3:7") == range(3, 7)


@pytest.mark.parametrize(
    ("text", "reason"), [("7", "FIRST:STOP"), ("5:5", "no seeds"), ("-2:5", "no seeds")]
)
def test_bad_seeds_say_what_is_wrong(tmp_path, capsys, text, reason):
    with pytest.raises(SystemExit):
        main(["--facekit", str(tmp_path), "--out", str(tmp_path), f"--seeds={text}"])
    assert reason in capsys.readouterr().err


def test_missing_facekit_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--facekit", str(tmp_path / "no.npz"), "--out", str(tmp_path), "--seeds", "0:1"])
    assert "no.npz" in capsys.readouterr().err
