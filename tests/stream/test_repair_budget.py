"""How much is sent again."""

from __future__ import annotations

from stream.repair_budget import AGAIN, BURST, KEY_FRAME_INTERVAL, SHARE, RepairBudget

PACKET = 1200


def test_repairs_go_out_twice_while_there_is_plenty() -> None:
    budget = RepairBudget()
    assert budget.spend(1, PACKET, 0.0) == 2
    spent = 2
    for number in range(2, 200):
        spent += budget.spend(number, PACKET, 0.0)
    assert (spent - 1) * PACKET < BURST <= (spent + 1) * PACKET
    assert budget.spend(200, PACKET, 0.0) == 0
    assert budget.refused > 100


def test_video_earns_repairs() -> None:
    budget = RepairBudget()
    while budget.spend(0, PACKET, 0.0):
        pass
    budget.earn(round(10 * PACKET / SHARE))
    repaired = 0
    while budget.spend(0, PACKET, 0.0):
        repaired += 1
    assert repaired in (10, 11)
    budget.earn(10**9)
    assert sum(bool(budget.spend(n, PACKET, 0.0)) for n in range(1000)) * PACKET <= BURST


def test_a_repair_under_way_is_not_repeated() -> None:
    budget = RepairBudget()
    assert not budget.under_way(7, 1.0)
    assert budget.spend(7, PACKET, 1.0)
    assert budget.under_way(7, 1.0 + AGAIN / 2)
    assert not budget.under_way(8, 1.0)
    assert not budget.under_way(7, 1.0 + AGAIN)


def test_key_frames_in_place_of_repairs_are_rare() -> None:
    budget = RepairBudget()
    moments = [n * 0.05 for n in range(100)]
    asked = [now for now in moments if budget.wants_key_frame(now)]
    assert len(asked) == round(5 / KEY_FRAME_INTERVAL)


def test_memory_is_bounded() -> None:
    budget = RepairBudget()
    for number in range(65_536):
        budget.earn(number * PACKET * 20)
        budget.spend(number, PACKET, number * 0.01)
    assert len(budget._last) <= 1024
