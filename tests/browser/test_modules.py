"""The page's modules that need no page: views, prediction, seats, latency, signs of life, words."""

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


# ---- seats ----


def test_ring_is_the_same_for_all(run: Run) -> None:
    """Whoever has me at the left edge, I have at the right edge."""
    seen = run(
        "seats.js",
        """
        const members = [..."abcd"].map((call) => ({ call, state: "live" }));
        const seen = (you) => m.ring(members, you).map(({ call }) => call).join("");
        return [..."abcd", null].map(seen);
        """,
    )
    assert seen == ["bcd", "cda", "dab", "abc", "abcd"]


def test_people_face_each_other(run: Run) -> None:
    seats = run(
        "seats.js",
        """
        const members = [..."abcdef"].map((call) => ({ call, state: "live" }));
        return [1, 2, 3, 5].map((n) => m.arrange(members.slice(0, n + 1), "a", 1280, 700)
          .map(({ yaw, person, place }) => [yaw, person, place.x]));
        """,
    )
    for row in seats:
        yaws, people, places = zip(*row, strict=True)
        assert list(places) == sorted(places)
        assert people == tuple(range(2, len(row) + 2))
        assert yaws == pytest.approx([-yaw for yaw in yaws[::-1]])  # left looks right, right left
        assert list(yaws) == sorted(yaws) and max(yaws) <= 15
    assert [yaw for yaw, *_ in seats[0]] == [0]
    assert [yaw for yaw, *_ in seats[1]] == [-7.5, 7.5]


@pytest.mark.parametrize(("width", "height"), [(1280, 700), (390, 740), (844, 300), (700, 700)])
def test_tiles_fill_the_stage_and_do_not_overlap(run: Run, width: int, height: int) -> None:
    found = run("seats.js", f"return [1,2,3,4,5].map((n) => m.places(n, {width}, {height}));")
    for count, places in enumerate(found, 1):
        assert len(places) == count
        for place in places:
            assert place["x"] >= -1e-9 and place["x"] + place["width"] <= 1 + 1e-9
            assert place["y"] >= -1e-9 and place["y"] + place["height"] <= 1 + 1e-9
        for i, a in enumerate(places):
            for b in places[:i]:
                apart = max(abs(a["x"] - b["x"]) / a["width"], abs(a["y"] - b["y"]) / a["height"])
                assert apart > 1 - 1e-9
        rows = {round(place["y"], 6) for place in places}
        assert len(rows) * places[0]["height"] == pytest.approx(1)
    assert run("seats.js", "return m.places(0, 100, 100);") == []


def test_phone_has_more_rows_than_a_wide_screen(run: Run) -> None:
    rows = run(
        "seats.js",
        """
        const rows = (w, h) => new Set(m.places(4, w, h).map(({ y }) => y)).size;
        return [rows(1600, 500), rows(390, 740)];
        """,
    )
    assert rows[0] == 1 and rows[1] == 2


def test_seat_moves_the_view_and_reset_leads_to_it(run: Run) -> None:
    found = run(
        "viewpoint.js",
        """
        const motion = new m.ViewpointMotion();
        let now = 0;
        const rest = () => {
          do motion.at((now += 16)); while (!motion.resting);
          return motion.view.yaw;
        };
        motion.settle(-10);
        const seated = rest();
        motion.drag(-0.1, 0);
        const steered = rest();
        motion.settle(-5); // somebody has come: the seat is another, the steering stays
        const moved = rest();
        motion.reset(now);
        return [seated, steered, moved, rest()];
        """,
    )
    assert found == pytest.approx([-10, 3, 8, -5])


# ---- prediction ----

SWEEP = """
  const predictor = new m.Predictor();
  // The view at each animation frame, what is sent for it, and the true view when that is seen.
  const sweep = (yaw, latency, from = 0, to = 3000) => {
    const found = [];
    for (let now = from; now < to; now += 1000 / 60) {
      const sent = predictor.ahead({ yaw: yaw(now), pitch: 0, zoom: 1 }, latency, now);
      found.push({ now, sent: sent.yaw, seen: yaw(now + latency), true: yaw(now) });
    }
    return found;
  };
  const worst = (rows, key) =>
    Math.sqrt(rows.reduce((sum, row) => sum + (row[key] - row.seen) ** 2, 0) / rows.length);
"""


def test_prediction_halves_the_error_of_a_sweep(run: Run) -> None:
    off, on = run(
        "prediction.js",
        SWEEP
        + """
        const rows = sweep((t) => 25 * Math.sin((2 * Math.PI * t) / 2500), 40).slice(10);
        return [worst(rows, "true"), worst(rows, "sent")];
        """,
    )
    assert off > 1.5 and on < off / 2


def test_prediction_does_not_swing_past_the_end(run: Run) -> None:
    """A movement that stops at 20 degrees, and one that turns back there."""
    stopped, rest, turned = run(
        "prediction.js",
        SWEEP
        + """
        const stop = sweep((t) => Math.min(20, t / 20), 40, 0, 1000);
        const rest = stop.filter(({ now }) => now > 440).map(({ sent }) => sent);
        predictor.ahead({ yaw: 0, pitch: 0, zoom: 1 }, 40, 5000);
        const turn = sweep((t) => 20 - Math.abs(t - 5500) / 50, 40, 5000, 6000);
        const most = (rows) => Math.max(...rows.map(({ sent }) => sent));
        return [most(stop), rest, most(turn)];
        """,
    )
    assert stopped < 22.1, "of the one picture in which it stops"
    assert set(rest) == {20}, "at rest the true viewpoint is sent"
    assert turned < 20.9


def test_prediction_is_bounded_and_can_be_off(run: Run) -> None:
    fast, late, unknown, off = run(
        "prediction.js",
        SWEEP
        + """
        const fast = sweep((t) => t / 2, 40, 0, 200).at(-1);
        predictor.ahead({ yaw: 0, pitch: 0, zoom: 1 }, 40, 5000);
        const late = sweep((t) => (t - 5000) / 50, 500, 5000, 5300).at(-1);
        const unknown = sweep((t) => t / 50, null, 9000, 9300).at(-1);
        predictor.on = false;
        return [fast, late, unknown, sweep((t) => t / 50, 40, 12000, 12300).at(-1)];
        """,
    )
    assert fast["sent"] - fast["true"] == pytest.approx(4)
    assert late["sent"] - late["true"] == pytest.approx(80 / 50)
    assert unknown["sent"] == unknown["true"]
    assert off["sent"] == off["true"]


# ---- signs of life ----


def test_silence_is_noticed_within_its_time(run: Run) -> None:
    alive = run(
        "heartbeat.js",
        """
        const heart = new m.Heartbeat(0);
        heart.alive(100, 1000);
        return [2500, 4000, 5500, 7000, 8500].map((now) => heart.alive(100, now));
        """,
    )
    assert alive == [True, True, True, True, False]


def test_bytes_are_a_sign_and_so_are_messages(run: Run) -> None:
    bytes_, messages = run(
        "heartbeat.js",
        """
        const beats = [...Array(12).keys()].map((i) => i * 1500);
        const one = new m.Heartbeat(0);
        const other = new m.Heartbeat(0);
        return [
          beats.map((now) => one.alive(now, now)),
          beats.map((now) => { other.heard(now); return other.alive(null, now); }),
        ];
        """,
    )
    assert all(bytes_) and all(messages)


def test_sleeping_page_is_no_silence(run: Run) -> None:
    """After an hour in which no timer ran, the other side gets its time anew."""
    alive = run(
        "heartbeat.js",
        """
        const heart = new m.Heartbeat(0);
        const hour = 3600e3;
        return [heart.alive(1, 1500), heart.alive(1, hour),
          ...[1, 2, 3, 4, 5].map((i) => heart.alive(1, hour + i * 1500))];
        """,
    )
    assert alive == [True] * 6 + [False]


def test_playout_is_what_sound_waits_longer_than_pictures(run: Run) -> None:
    found = run(
        "playout.js",
        """
        const report = (kind, jitterBufferDelay, jitterBufferEmittedCount) =>
          ({ type: "inbound-rtp", kind, jitterBufferDelay, jitterBufferEmittedCount });
        const playout = new m.PlayoutDelay();
        return [
          playout.since([report("video", 1, 100), { type: "transport" }]),
          playout.since([report("video", 1.1, 110), report("audio", 480, 4800)]),
          playout.since([report("video", 1.3, 120), report("audio", 768, 9600)]),
          playout.since([report("video", 1.3, 120), report("audio", 800, 9900)]),
        ];
        """,
    )
    assert found == [None, pytest.approx(100 - 10 + 25), pytest.approx(60 - 20 + 25), None]
