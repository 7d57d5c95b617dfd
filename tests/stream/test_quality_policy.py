from __future__ import annotations

import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from stream.quality_policy import LEAST_REST_FPS, PATIENCE, SETTLE, Quality, QualityPolicy

FPS = 30.0


def feed(policy: QualityPolicy, content: float, rate: float, fps: float, frames: int = 60) -> None:
    """Frames as an encoder would make them of pictures of a given complexity."""
    bits = rate / fps
    quantiser = 26 + 6 * math.log2(content * policy.size**2 / bits)
    for _ in range(frames):
        policy.encoded(round(bits), quantiser, key=False)


def run(
    policy: QualityPolicy, start: float, seconds: float, rate: float, moving: bool, content: float
) -> list[Quality]:
    """One decision per frame."""
    made = []
    for number in range(round(seconds * FPS)):
        made.append(policy.decide(start + number / FPS, rate, moving))
        feed(policy, content, rate, FPS, 1)
    return made


def test_a_moving_view_becomes_smaller_only_when_the_bits_are_few() -> None:
    policy = QualityPolicy(512, FPS)
    rich = run(policy, 0.0, 10.0, 1_000_000, True, 0.035)
    assert {quality.size for quality in rich} == {512}
    poor = run(policy, 10.0, 20.0, 100_000, True, 0.035)
    assert poor[-1].size == 256 and all(quality.fps == FPS for quality in poor)
    assert policy.changes == 2


def test_it_rests_at_the_full_size_with_fewer_frames_and_comes_back_to_the_full_rate() -> None:
    policy = QualityPolicy(512, FPS)
    run(policy, 0.0, 20.0, 100_000, True, 0.035)
    resting = run(policy, 20.0, 5.0, 100_000, False, 0.035)
    first_full = next(n for n, quality in enumerate(resting) if quality.size == 512)
    assert abs(first_full / FPS - SETTLE) < 0.1
    assert resting[-1] == Quality(512, LEAST_REST_FPS)
    assert run(policy, 25.0, 0.1, 100_000, True, 0.035)[0] == Quality(512, FPS)
    still = run(policy, 26.0, 5.0, 100_000, False, 0.0001)
    assert still[-1] == Quality(512, FPS)


def test_a_short_movement_changes_no_size() -> None:
    policy = QualityPolicy(512, FPS)
    run(policy, 0.0, 3.0, 100_000, False, 0.035)
    for begin in range(3, 23, 2):  # half a second of movement, one and a half of rest
        run(policy, begin, 0.5, 100_000, True, 0.035)
        run(policy, begin + 0.5, 1.5, 100_000, False, 0.035)
    assert policy.changes == 0


def test_it_grows_again_when_the_bits_come_back() -> None:
    policy = QualityPolicy(512, FPS)
    run(policy, 0.0, 20.0, 100_000, True, 0.035)
    assert policy.size < 512
    run(policy, 20.0, 20.0, 1_000_000, True, 0.035)
    assert policy.size == 512


def test_small_pictures_are_not_made_smaller_than_they_can_be() -> None:
    policy = QualityPolicy(256, FPS)
    sizes = {quality.size for quality in run(policy, 0.0, 60.0, 5_000, True, 0.1)}
    assert sizes == {256, 192, 128}
    assert QualityPolicy(64, FPS).decide(0.0, 1e3, True).size == 64


@given(
    st.lists(
        st.tuples(st.floats(20_000, 3e6), st.booleans(), st.floats(0.001, 0.5)),
        min_size=1,
        max_size=40,
    )
)
def test_whatever_happens_sizes_change_seldom(seconds: list[tuple[float, bool, float]]) -> None:
    policy = QualityPolicy(512, FPS)
    sizes = []
    for second, (rate, moving, content) in enumerate(seconds):
        for quality in run(policy, float(second), 1.0, rate, moving, content):
            assert 128 <= quality.size <= 512 and quality.size % 16 == 0
            assert LEAST_REST_FPS <= quality.fps <= FPS
            sizes.append(quality.size)
    changes = sum(one != other for one, other in pairwise(sizes))
    # Down and, by a rest, up again: at most twice within the patience and the times to settle.
    assert changes <= 2 + 2 * len(seconds) / min(PATIENCE, 2 * SETTLE)
