from __future__ import annotations

from stream.mailbox import Mailbox


def test_the_newest_value_wins_and_is_taken_once() -> None:
    box: Mailbox[int] = Mailbox()
    assert box.take() is None
    assert not box.put(1)
    assert box.put(2)
    assert box.full
    assert (box.take(), box.take(), box.full) == (2, None, False)
    assert box.replaced == 1


def test_a_value_that_counts_as_false_is_a_value() -> None:
    box: Mailbox[int] = Mailbox()
    box.put(0)
    assert box.full
    assert box.put(0)
    assert box.take() == 0
