from __future__ import annotations

from stream.keyframes import KeyframeGate


def test_key_frames_come_on_demand_only() -> None:
    gate = KeyframeGate(0.5)
    assert not gate.take(0.0)
    gate.ask()
    assert gate.take(1.0)
    assert not gate.take(2.0)


def test_a_demand_that_comes_too_early_is_met_later() -> None:
    gate = KeyframeGate(0.5)
    gate.sent(1.0)
    gate.ask()
    assert not gate.take(1.4)
    assert gate.take(1.5)


def test_a_storm_of_demands_gives_two_key_frames_a_second() -> None:
    gate = KeyframeGate(0.5)
    taken = 0
    for n in range(300):
        gate.ask()
        taken += gate.take(n / 30)
    assert taken == 20
