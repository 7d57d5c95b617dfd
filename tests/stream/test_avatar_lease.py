from __future__ import annotations

import pytest

from stream.avatar_lease import AvatarLease


class Fake:
    closed = 0

    def close(self) -> None:
        self.closed += 1


def test_an_unused_avatar_is_closed_at_once() -> None:
    avatar = Fake()
    lease = AvatarLease(avatar)  # type: ignore[arg-type]
    lease.retire()
    lease.retire()
    assert avatar.closed == 1 and lease.closed


def test_an_avatar_in_use_is_closed_after_its_last_use() -> None:
    avatar = Fake()
    lease = AvatarLease(avatar)  # type: ignore[arg-type]
    with lease.use() as first, lease.use():
        assert first is avatar
        lease.retire()
        assert avatar.closed == 0
        with lease.use() as late:
            assert late is None
    assert avatar.closed == 1


def test_an_error_while_rendering_does_not_keep_it_open() -> None:
    avatar = Fake()
    lease = AvatarLease(avatar)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError), lease.use():
        raise RuntimeError
    lease.retire()
    assert avatar.closed == 1
