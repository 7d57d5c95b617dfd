"""NVENC without a GPU: that its absence is told or made up for, and that planes need no copy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from stream import nvenc
from stream.coders import EncoderSettings, X264Coder
from stream.encoder import coder_for
from stream.serving import run
from stream.settings import Settings
from tests.stream.test_encoder import picture

absent = pytest.mark.skipif(nvenc.problem() is None, reason="this machine has NVENC")
SETTINGS = EncoderSettings(30.0, 300_000, 1_500_000, 0.5)


@absent
def test_auto_takes_x264_where_a_trial_of_nvenc_fails() -> None:
    assert coder_for("video/H264", "auto") is X264Coder
    assert coder_for("video/H264", "x264") is X264Coder


@absent
def test_asked_for_and_absent_it_is_an_error_of_one_line_before_anything_is_loaded() -> None:
    with pytest.raises(nvenc.EncoderUnavailable, match="--encoder x264") as raised:
        run(Settings(port=0, encoder="nvenc"))
    assert "\n" not in str(raised.value)


@absent
def test_a_stream_that_nvenc_has_no_room_for_is_encoded_by_the_processor(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As if the trial had succeeded; that the encoder does not open afterwards is real."""
    monkeypatch.setattr(nvenc, "problem", lambda: None)
    coder = coder_for("video/H264", "auto")(SETTINGS)
    assert isinstance(coder, nvenc.AutoCoder)
    coded = [coder.code(picture(n), 1_000_000, n / 30) for n in range(20)]
    assert [frame.key for frame in coded] == [True] + [False] * 19
    coder.ask_keyframe()
    assert coder.code(picture(20), 1_000_000, 1.0).key
    assert sum("processor encodes" in record.message for record in caplog.records) == 1


@pytest.mark.skipif(nvenc.problem() is not None, reason="needs a GPU with NVENC")
def test_nvenc_codes_and_makes_key_frames_on_demand() -> None:
    coder = nvenc.NvencCoder(SETTINGS)
    coded = [coder.code(picture(n), 1_000_000, n / 30) for n in range(30)]
    assert [frame.key for frame in coded] == [True] + [False] * 29
    coder.ask_keyframe()
    assert coder.code(picture(30), 1_000_000, 2.0).key


def test_planes_are_taken_where_they_lie() -> None:
    luma = torch.zeros(64, 64, dtype=torch.uint8)
    chroma = torch.full((32, 32, 2), 128, dtype=torch.uint8)
    frame = nvenc.planes(luma, chroma)
    luma[:] = 77
    shown = np.asarray(frame.to_ndarray())
    assert (frame.width, frame.height, frame.format.name) == (64, 64, "nv12")
    assert (shown[:64] == 77).all() and (shown[64:] == 128).all()


def test_the_trial_leaves_nothing_on_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    nvenc.problem.cache_clear()
    nvenc.problem()
    assert capfd.readouterr().err == ""
    assert not Path("h264_nvenc").exists()
