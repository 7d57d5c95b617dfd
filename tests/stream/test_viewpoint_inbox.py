from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.viewpoint import Viewpoint
from stream.mailbox import Mailbox
from stream.viewpoint_inbox import COMPLAINT_INTERVAL, Aim, ViewpointInbox


def inbox() -> tuple[ViewpointInbox, Mailbox[Aim]]:
    box: Mailbox[Aim] = Mailbox()
    return ViewpointInbox(box), box


def test_a_viewpoint_is_left_for_the_renderer() -> None:
    receiving, box = inbox()
    assert receiving.receive('{"seq": 7, "yaw": 10, "zoom": 2}', 5.0) == (True, None)
    assert box.take() == Aim(Viewpoint(yaw=10.0, zoom=2.0), 7, 5.0, math.inf)


def test_only_the_first_of_a_flood_asks_for_attention() -> None:
    receiving, box = inbox()
    arrived = [receiving.receive(json.dumps({"seq": n, "yaw": n}), n / 1e4)[0] for n in range(5)]
    assert arrived == [True, False, False, False, False]
    aim = box.take()
    assert aim is not None and aim.sequence == 4


def test_every_viewpoint_of_a_screen_asks_for_attention_and_tells_its_rate() -> None:
    receiving, box = inbox()
    assert all(receiving.receive(f'{{"seq": {n}}}', n / 60)[0] for n in range(60))
    aim = box.take()
    assert aim is not None and aim.interval == pytest.approx(1 / 60)
    receiving.receive('{"seq": 100}', 5.0)
    aim = box.take()
    assert aim is not None and (aim.received, aim.interval) == (5.0, math.inf)


def test_a_stale_viewpoint_is_dropped() -> None:
    receiving, box = inbox()
    for number in (5, 4, 5):
        receiving.receive(json.dumps({"seq": number, "yaw": number}), 0.0)
    aim = box.take()
    assert aim is not None and aim.sequence == 5
    assert (receiving.accepted, receiving.stale, receiving.refused) == (1, 2, 0)


def test_viewpoints_without_a_number_count_in_order_of_arrival() -> None:
    receiving, box = inbox()
    receiving.receive('{"yaw": 1}', 0.0)
    receiving.receive('{"yaw": 2}', 0.0)
    aim = box.take()
    assert aim is not None and (aim.viewpoint.yaw, aim.sequence) == (2.0, None)


def test_values_out_of_range_are_clamped() -> None:
    receiving, box = inbox()
    receiving.receive('{"seq": 1, "yaw": 1e9, "pitch": -99, "zoom": 0}', 0.0)
    aim = box.take()
    assert aim is not None
    assert (aim.viewpoint.yaw, aim.viewpoint.pitch, aim.viewpoint.zoom) == (60.0, -30.0, 0.5)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yaw=3",
        b"\xff\xfe\x00",
        "[" * 1000,
        "null",
        "[1, 2]",
        '{"seq": 1, "yaw": NaN}',
        '{"seq": 1, "yaw": Infinity}',
        '{"seq": 1, "yaw": "10"}',
        '{"seq": 1, "yaw": true}',
        '{"seq": 1, "eye": [0, 0]}',
        '{"seq": 1, "eye": [0, 0, NaN]}',
        '{"seq": -1}',
        '{"seq": 1.5}',
        '{"seq": "1"}',
        '{"seq": true}',
        '{"seq": 1e300}',
        '{"yaw": 1' + "0" * 900 + "}",
        '{"padding": "' + "x" * 2000 + '"}',
    ],
)
def test_what_is_no_viewpoint_is_refused_in_one_line(text: str | bytes) -> None:
    receiving, box = inbox()
    arrived, error = receiving.receive(text, 0.0)
    assert not arrived
    assert box.take() is None
    assert error is not None and "\n" not in error.reason and len(error.reason) < 200
    assert receiving.refused == 1


def test_complaints_are_thinned() -> None:
    receiving, _ = inbox()
    errors = [receiving.receive("nonsense", n / 10_000)[1] for n in range(10_000)]
    assert sum(error is not None for error in errors) <= 1 / COMPLAINT_INTERVAL + 1
    assert receiving.refused == 10_000


@settings(deadline=None, max_examples=60)
@given(st.one_of(st.text(max_size=80), st.binary(max_size=80)))
def test_nothing_that_arrives_is_a_crash(text: str | bytes) -> None:
    receiving, _ = inbox()
    receiving.receive(text, 0.0)


@settings(deadline=None, max_examples=60)
@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=8))
def test_no_json_value_is_a_crash(value: object) -> None:
    receiving, box = inbox()
    receiving.receive(json.dumps({"seq": 1, "yaw": value, "eye": value}), 0.0)
    receiving.receive(json.dumps({"seq": value, "zoom": value}), 0.0)
    receiving.receive(json.dumps(value), 0.0)
