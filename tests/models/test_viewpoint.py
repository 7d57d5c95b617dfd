import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ViewpointError
from models.viewpoint import Viewpoint

numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**12), 10**12)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)
names = st.sampled_from(["yaw", "pitch", "zoom", "roll", "eye", "seq", "type"])


def assert_within_limits(view: Viewpoint) -> None:
    assert -60 <= view.yaw <= 60
    assert -30 <= view.pitch <= 30
    assert 0.5 <= view.zoom <= 3
    assert -180 <= view.roll <= 180
    if view.eye is not None:
        x, y, z = view.eye
        assert -3 <= z <= -0.3
        assert abs(math.degrees(math.atan2(x, -z))) <= 60 + 1e-6
        assert abs(math.degrees(math.atan2(y, math.hypot(x, z)))) <= 30 + 1e-6


@given(st.dictionaries(names, numbers | st.lists(numbers, min_size=3, max_size=3)))
def test_whatever_parses_is_within_limits(message: dict[str, object]) -> None:
    try:
        view = Viewpoint.parse(message)
    except ViewpointError:
        return
    assert_within_limits(view)


@given(json_values | st.dictionaries(names, json_values))
def test_any_json_value_gives_a_viewpoint_or_a_one_line_error(message: object) -> None:
    try:
        view = Viewpoint.parse(json.loads(json.dumps(message)))
    except ViewpointError as error:
        assert "\n" not in str(error) and str(error)
        assert error.code == "bad_viewpoint"
    else:
        assert_within_limits(view)


@given(yaw=st.floats(-60, 60), pitch=st.floats(-30, 30), zoom=st.floats(0.5, 3))
def test_what_is_within_limits_stays_as_it_is(yaw: float, pitch: float, zoom: float) -> None:
    view = Viewpoint.parse({"yaw": yaw, "pitch": pitch, "zoom": zoom, "seq": 7, "type": "view"})
    assert view == Viewpoint(yaw, pitch, zoom)


@given(numbers)
def test_parsing_twice_changes_nothing(value: float) -> None:
    once = Viewpoint.parse({"yaw": value, "pitch": value, "zoom": value, "roll": value})
    assert Viewpoint.parse(vars(once)) == once


def test_clamps() -> None:
    assert Viewpoint.parse({"yaw": 1e300, "pitch": -90, "zoom": 0}) == Viewpoint(60, -30, 0.5)
    assert Viewpoint(roll=370).roll == pytest.approx(10)
    assert Viewpoint(eye=(0, 0, -100)).eye == (0, 0, -3)
    assert Viewpoint(eye=(0, 0, 0)).eye == (0, 0, -0.3)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"yaw": math.nan}, "yaw must be a finite number"),
        ({"pitch": -math.inf}, "pitch must be a finite number"),
        ({"zoom": 10**400}, "zoom must be a finite number"),
        ({"yaw": "10"}, "yaw must be a number"),
        ({"yaw": True}, "yaw must be a number"),
        ({"roll": None}, "roll must be a number"),
        ({"eye": [0, 0]}, "three numbers"),
        ({"eye": "xyz"}, "three numbers"),
        ({"eye": [0, 0, math.nan]}, "eye z must be a finite number"),
        ({"eye": [0, 0, 0.5]}, "eye z must be negative"),
        ([1, 2], "JSON object"),
        (None, "JSON object"),
    ],
)
def test_says_what_is_wrong(message: object, words: str) -> None:
    with pytest.raises(ViewpointError, match=words):
        Viewpoint.parse(message)
