from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.control import BadControl, Keep, Ping, Playout, Refine, Retake, parse
from stream.messages import Frame, Frames, Framing, Statistics


def test_known_messages_are_read() -> None:
    assert parse('{"type": "ping", "t": 12.5}') == Ping(12.5)
    assert parse('{"type": "ping", "t": 1' + "0" * 400 + "}") == Ping(10**400)
    assert parse('{"type": "retake"}') == Retake()
    assert parse('{"type": "keep"}') == Keep()
    assert parse(b'{"type": "refine", "on": false}') == Refine(False)
    assert parse('{"type": "playout", "ms": 75}') == Playout(0.075)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ping",
        "[]",
        "{}",
        '{"type": 3}',
        '{"type": "shout"}',
        '{"type": "ping"}',
        '{"type": "ping", "t": NaN}',
        '{"type": "ping", "t": "1"}',
        '{"type": "refine", "on": 1}',
        '{"type": "playout"}',
        '{"type": "playout", "ms": 1e9}',
        '{"type": "playout", "ms": NaN}',
        '{"type": "ping", "t": 1, "x": "' + "x" * 5000 + '"}',
    ],
)
def test_other_messages_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(BadControl) as caught:
        parse(text)
    assert "\n" not in str(caught.value)


@settings(deadline=None, max_examples=60)
@given(st.one_of(st.text(), st.binary()))
def test_nothing_that_arrives_is_a_crash(text: str | bytes) -> None:
    with pytest.raises(BadControl):
        parse(text)


def test_messages_say_their_type() -> None:
    framing = json.loads(Framing(False, "dark", "More light, please.").to_json())
    assert framing == {
        "type": "framing",
        "fit": False,
        "code": "dark",
        "reason": "More light, please.",
    }
    told = Frames(((5, None), (9, 2))).to_json()
    assert json.loads(told) == {"type": "frames", "frames": [[5, None], [9, 2]]}
    assert json.loads(Frame(5, None).to_json()) == {"type": "frame", "rtp": 5, "seq": None}
    names = "type fps raster_ms refine_ms encode_ms bitrate refined dropped gpus effort".split()
    names += ["lift_fps", "lift_ms", "codec", "width"]
    assert list(json.loads(Statistics(30, 1, 2, 3, 4, True, 5).to_json())) == names
