"""Receivers who rest at the same viewpoint share one stream of coded video.

They see the same pictures already (`stream.view.Company`); coded once, each sender packs the same
payloads. A stream can be entered only at a key frame, and left only for another that begins with
one, so people who come and go would cost more than they save: one joins after a few seconds of
rest, and those who join a stream come in together, at one key frame. Who moves leaves at once.

A receiver also leaves, and is kept out for a while, when it missed a picture of the stream, when it
loses so many packets that the key frames it asks for burden the others, and when its path carries
much less than theirs: the stream has the rate of its slowest member.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from av.video.frame import VideoFrame

from stream.coders import Coded, Coder
from stream.view import Company

REST = 3.0
"""Seconds of company, without moving, after which a stream is shared."""

JOIN_INTERVAL = 5.0
"""Least seconds between two key frames that are made for those who join."""

KEEP_OUT = 10.0
"""Seconds for which one who had to leave stays alone; doubled each time, up to the last."""
LAST_KEEP_OUT = 160.0

MOST_PLIS = 2
PLI_TIME = 10.0
"""Key frames that a member may ask for within this many seconds."""

MUCH_LESS = 0.5
"""Part of the members' median rate below which one is left to a stream of its own."""

KEEP = 4
"""Coded pictures that are kept for members whose senders are a little later."""


@dataclass(eq=False)
class Group:
    """One shared stream. Guarded by its lock.

    Args:
        coder: of the stream.
        members: who is sent it, by the numbers of their views.
        coded: the newest pictures, each with its number in the stream.
        count: number of the newest picture.
        joined: when a key frame was made for those who join.
    """

    coder: Coder
    members: dict[int, Member] = field(default_factory=dict)
    coded: deque[tuple[Company, int, Coded]] = field(default_factory=lambda: deque(maxlen=KEEP))
    count: int = 0
    joined: float = float("-inf")
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def shared(self) -> bool:
        """Whether it is sent to several."""
        return len(self.members) > 1

    @property
    def rates(self) -> list[int]:
        """Bits per second that the members' paths carry, rising."""
        return sorted(member.rate for member in self.members.values())

    def code(self, frame: VideoFrame, company: Company, now: float) -> tuple[int, Coded]:
        """A picture of the stream and its number: coded now, or by whoever asked first."""
        for known, number, coded in self.coded:
            if known is company:
                return number, coded
        rate = self.rates[0] if self.members else self.coder.settings.floor
        coded = self.coder.code(frame, rate, now)
        self.count += 1
        self.coded.append((company, self.count, coded))
        return self.count, coded


class SharedEncodes:
    """Where receivers of one server meet. Any thread may use it, through `Member`.

    Lock order: this one's before a group's.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.groups: dict[int, Group] = {}
        """By the numbers of the members' views."""

    def groups_of(self, company: Company) -> list[Group]:
        """The streams of those who see the same picture."""
        with self.lock:
            found = (self.groups.get(view) for view in sorted(company.views))
            return list(dict.fromkeys(group for group in found if group is not None))


class Member:
    """One receiver's part; used by one thread at a time.

    Args:
        sharing: of the server.
        view: number of the receiver's view.
        coder: the receiver's own stream.
        make_coder: for another one.
    """

    def __init__(
        self, sharing: SharedEncodes, view: int, coder: Coder, make_coder: Callable[[], Coder]
    ) -> None:
        self.group: Group | None = None
        self.rate = 0
        self._sharing = sharing
        self._view = view
        self._coder = coder
        self._make_coder = make_coder
        self._rested: float | None = None
        self._number = 0
        self._plis: deque[float] = deque(maxlen=MOST_PLIS + 1)
        self._out_until = float("-inf")
        self._keep_out = KEEP_OUT

    def code(
        self, frame: VideoFrame, company: Company | None, rate: int, forced: bool, now: float
    ) -> Coded:
        """Code one picture, alone or together.

        Args:
            frame: the picture.
            company: with whom it is shared; None if the view moves, or is sent in another size.
            rate: bits per second that this receiver's path carries.
            forced: whether it asked for a key frame.
            now: seconds.
        """
        self.rate = rate
        coded = None
        if company is None:
            self._rested = None
            self.leave()
        else:
            self._rested = now if self._rested is None else self._rested
            if (self.group is None or not self.group.shared) and self._may_join(company, now):
                coded = self._join(frame, company, now)
            if coded is None and self.group is not None:
                coded = self._together(self.group, frame, company, forced, now)
        if coded is not None:
            return coded
        if forced:
            self._coder.ask_keyframe()
        return self._coder.code(frame, rate, now)

    def close(self) -> None:
        """Leave and never join again; any thread may call it."""
        with self._sharing.lock:
            self._out_until = float("inf")
            self.leave()

    def leave(self) -> None:
        """Have a stream of one's own again, beginning with a key frame unless nobody shared it."""
        group, self.group = self.group, None
        if group is None:
            return
        with self._sharing.lock, group.lock:
            self._sharing.groups.pop(self._view, None)
            group.members.pop(self._view, None)
            self._coder = self._make_coder() if group.members else group.coder

    def _leave_for_long(self, now: float) -> None:
        self._out_until = max(self._out_until, now + self._keep_out)
        self._keep_out = min(2 * self._keep_out, LAST_KEEP_OUT)
        self.leave()

    def _may_join(self, company: Company, now: float) -> bool:
        assert self._rested is not None
        rested = now - self._rested >= REST and now >= self._out_until
        return rested and len(company.views) > 1

    def _enter(self, group: Group, number: int) -> None:
        with group.lock:
            group.members[self._view] = self
        self._sharing.groups[self._view] = group
        self.group = group
        self._number = number
        self._plis.clear()

    def _join(self, frame: VideoFrame, company: Company, now: float) -> Coded | None:
        """Enter a stream, if this picture is a key frame of it; where there is none, begin one."""
        with self._sharing.lock:
            if now < self._out_until:  # it has been closed meanwhile
                return None
            for group in self._sharing.groups_of(company):
                if group is not self.group and self._suits(group):
                    return self._enter_at_key(group, frame, company, now)
            if self.group is None:
                self._enter(Group(self._coder), 0)
            return None

    def _enter_at_key(
        self, group: Group, frame: VideoFrame, company: Company, now: float
    ) -> Coded | None:
        with group.lock:
            if now - group.joined >= JOIN_INTERVAL:
                group.joined = now
                group.coder.ask_keyframe()
            number, coded = group.code(frame, company, now)
        if not coded.key:
            return None
        self.leave()
        self._enter(group, number)
        return coded

    def _suits(self, group: Group) -> bool:
        """Whether neither this receiver nor the stream would lose much of its rate."""
        return not self._is_slow(group) and group.rates[0] >= MUCH_LESS * self.rate

    def _is_slow(self, group: Group) -> bool:
        return self.rate < MUCH_LESS * group.rates[len(group.rates) // 2]

    def _together(
        self, group: Group, frame: VideoFrame, company: Company, forced: bool, now: float
    ) -> Coded | None:
        """The picture as a part of the stream; None after leaving it."""
        with group.lock:
            if forced:
                self._plis.append(now)
                group.coder.ask_keyframe()
            lossy = len(self._plis) > MOST_PLIS and now - self._plis[0] < PLI_TIME
            if not (group.shared and (lossy or self._is_slow(group))):
                number, coded = group.code(frame, company, now)
                missed = not coded.key and number != self._number + 1
                if not missed:
                    self._number = number
                    return coded
        self._leave_for_long(now)
        return None
