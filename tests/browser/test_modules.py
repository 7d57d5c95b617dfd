"""The page's modules that need no page: limits and easing of the view, latency, links, words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

Run = Callable[[str, str], Any]


@pytest.fixture(scope="module")
def run(browser: Browser, server: str) -> Iterator[Run]:
    """Runs JavaScript that has a module's exports in scope as `m`, and returns its result."""
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{server}/c/no-such-call")

        def run(module: str, body: str) -> Any:
            return page.evaluate(f'import("/static/{module}").then((m) => {{ {body} }})')

        yield run


def test_view_stays_within_its_limits(run: Run) -> None:
    views = run(
        "viewpoint.js",
        """
        const motion = new m.ViewpointMotion();
        const ends = [];
        for (const [dx, dy, zoom] of [[-9, 9, 99], [9, -9, 0.001]]) {
          motion.drag(dx, dy);
          motion.zoomBy(zoom);
          ends.push({ ...motion.at(0) });
        }
        return ends;
        """,
    )
    assert views == [{"yaw": 60, "pitch": 30, "zoom": 3}, {"yaw": -60, "pitch": -30, "zoom": 0.5}]


def test_face_follows_the_finger(run: Run) -> None:
    view = run(
        "viewpoint.js",
        "const v = new m.ViewpointMotion(); v.drag(0.1, 0.05); return v.at(0);",
    )
    assert view["yaw"] == pytest.approx(-13) and view["pitch"] == pytest.approx(6.5)


def test_steps_and_reset_are_smooth_and_arrive(run: Run) -> None:
    step, reset, rest = run(
        "viewpoint.js",
        """
        const motion = new m.ViewpointMotion();
        const watch = (from) =>
          Array.from({ length: 60 }, (_, i) => motion.at(from + i * 16).yaw);
        motion.at(0);
        motion.step(1, 0, 0);
        const step = watch(16);
        motion.drag(-0.2, 0);
        motion.reset(2000);
        return [step, watch(2000), motion.resting];
        """,
    )
    assert 0 < step[0] < 1.5 and step == sorted(step) and step[-1] == 3
    assert reset[0] == pytest.approx(29, abs=0.1) and reset[-1] == 0
    assert max(a - b for a, b in zip(reset, reset[1:], strict=False)) < 3
    assert rest is True


def test_reduced_motion_jumps(run: Run) -> None:
    views = run(
        "viewpoint.js",
        """
        const motion = new m.ViewpointMotion({ still: true });
        motion.step(1, -1, 0);
        const stepped = { ...motion.view };
        motion.release(5, 5);
        const thrown = motion.resting;
        motion.reset(0);
        return [stepped, thrown, { ...motion.view }];
        """,
    )
    assert views == [
        {"yaw": 3, "pitch": -3, "zoom": 1},
        True,
        {"yaw": 0, "pitch": 0, "zoom": 1},
    ]


def test_throw_glides_to_rest(run: Run) -> None:
    views = run(
        "viewpoint.js",
        """
        const motion = new m.ViewpointMotion();
        motion.at(0);
        motion.release(-0.5, 0);
        const yaws = Array.from({ length: 120 }, (_, i) => motion.at((i + 1) * 16).yaw);
        return [yaws, motion.resting];
        """,
    )
    yaws, resting = views
    assert yaws == sorted(yaws) and 5 < yaws[-1] < 25
    assert yaws[-1] == yaws[-20] and resting is True


@pytest.mark.parametrize("order", ["shown first", "told first"])
def test_latency_is_joined_whatever_arrives_first(run: Run, order: str) -> None:
    """Viewpoint 1 is superseded by 2; the stamp of the picture is one tick off."""
    told = "photon.frame(9000, 2);"
    shown = "photon.presented(8999, 130);"
    found = run(
        "latency.js",
        f"""
        const photon = new m.MotionToPhoton();
        photon.sent(1, 90);
        photon.sent(2, 100);
        photon.sent(2, 110); // said again: the first time counts
        {told + shown if order == "told first" else shown + told}
        photon.frame(12000, 2);
        photon.presented(12000, 160); // the same viewpoint once more
        photon.frame(15000, null);
        photon.presented(15000, 190);
        return [photon.summary(), photon.shown];
        """,
    )
    assert found == [{"p50": 30, "p95": 30, "count": 1}, 2]


def test_percentiles(run: Run) -> None:
    values = "Array.from({ length: 100 }, (_, i) => 99 - i)"
    found = run("latency.js", f"return [0.5, 0.95].map((p) => m.percentile({values}, p));")
    assert found == [50, 95]
    assert run("latency.js", "return m.percentile([], 0.5);") is None


def test_frame_rate_counts_pictures_whose_callback_was_skipped(run: Run) -> None:
    found = run(
        "latency.js",
        """
        const rate = new m.FrameRate();
        const early = rate.at(0);
        for (let i = 0; i <= 60; i += 2) rate.presented(i, (i * 1000) / 30);
        return [early, rate.at(2000), rate.at(9000)];
        """,
    )
    assert found == [0, pytest.approx(30), 0]


def test_ice_servers_of_a_link_header(run: Run) -> None:
    link = (
        '<stun:stun.example.org:3478>; rel="ice-server", '
        '<turn:turn.example.org?transport=udp>; rel="ice-server"; username="a\\"b"; '
        'credential="c\\\\d"; credential-type="password", </other>; rel="next"'
    )
    assert run("session.js", f"return m.iceServersFrom({link!r});") == [
        {"urls": "stun:stun.example.org:3478"},
        {"urls": "turn:turn.example.org?transport=udp", "username": 'a"b', "credential": "c\\d"},
    ]
    assert run("session.js", "return m.iceServersFrom(null);") == []


def test_what_is_left_out_is_said_in_words(run: Run) -> None:
    efforts = '["refined", "raw", "slow", "coarse", "of a later version", undefined]'
    assert run("words.js", f"return {efforts}.map(m.effortWords);") == [
        "",
        "refining",
        "refining, every second frame",
        "refining, every second frame, half the detail",
        "",
        "",
    ]
