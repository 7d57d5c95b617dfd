"""A bad network on loopback: every datagram of a connection goes through a relay that spoils some.

The relay is put into a connection by rewriting the server's answer, so that its own port is the
only way to the server that the other side knows. The server must learn no way round it either: what
the other side offers goes out without candidates, and its trickled candidates are dropped. The
server then knows the relay alone, by the checks that come from there (a peer-reflexive candidate).
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

HOST = "127.0.0.1"
Address = tuple[str, int]


@dataclass(frozen=True)
class Way:
    """What becomes of datagrams in one direction. Times are seconds.

    Args:
        loss: part of the datagrams that is lost, 0..1.
        delay: of every datagram.
        jitter: the delay varies evenly by so much, up and down; the order stays.
        reordered: part of the datagrams that come `late` too late, behind those that follow.
        late: see there.
        rate: bits per second; None is without end.
        queue: bytes that wait where the rate is too low; what comes when it is full is lost.
        black: nothing gets through.
    """

    loss: float = 0.0
    delay: float = 0.0
    jitter: float = 0.0
    reordered: float = 0.0
    late: float = 0.015
    rate: float | None = None
    queue: int = 24_000
    black: bool = False


CLEAR = Way()
BLACK = Way(black=True)


@dataclass
class Counts:
    """What became of datagrams, by number; `octets` counts the bytes of those that got through."""

    passed: int = 0
    octets: int = 0
    lost: int = 0
    overflowed: int = 0
    blacked: int = 0
    reordered: int = 0


@dataclass
class Direction:
    """One direction of a relay: how it is, and what it has done."""

    random: random.Random
    way: Way = CLEAR
    counts: Counts = field(default_factory=Counts)
    _free_at: float = 0.0
    _newest: float = 0.0

    def due(self, size: int, now: float) -> float | None:
        """When a datagram of so many bytes arrives that is sent now; None if it never does."""
        way, counts = self.way, self.counts
        if way.black:
            counts.blacked += 1
            return None
        if self.random.random() < way.loss:
            counts.lost += 1
            return None
        leaves = now
        if way.rate is not None:
            self._free_at = max(self._free_at, now)
            if (self._free_at - now) * way.rate > way.queue * 8:
                counts.overflowed += 1
                return None
            leaves = self._free_at = self._free_at + size * 8 / way.rate
        counts.passed += 1
        counts.octets += size
        due = leaves + max(0.0, way.delay + self.random.uniform(-way.jitter, way.jitter))
        if self.random.random() < way.reordered:
            counts.reordered += 1
            return due + way.late
        # Strictly later: asyncio calls what is due at the same time in any order.
        self._newest = max(due, self._newest + 1e-6)
        return self._newest


class _Port(asyncio.DatagramProtocol):
    """A socket of the relay; `received` is called with each datagram and where it came from."""

    def __init__(self, received: Callable[[bytes, Address], None]) -> None:
        self._received = received
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: Address) -> None:
        self._received(data, address)

    def error_received(self, error: Exception) -> None:
        """Somebody has closed a socket; a network would not tell either."""

    def send(self, data: bytes, address: Address) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.sendto(data, address)


class UdpRelay:
    """Carries datagrams between clients and a server. Belongs to an event loop's thread.

    `up` and `down` may be given another `way` at any time, from any thread.

    Args:
        seed: of what is lost, late and disordered.
    """

    def __init__(self, seed: int = 1) -> None:
        self.up = Direction(random.Random(seed))
        """From clients to the server."""
        self.down = Direction(random.Random(seed + 1))
        """From the server to clients."""
        self._ports: list[_Port] = []
        self._closed = False

    def set(self, way: Way) -> None:
        """Both directions."""
        self.up.way = self.down.way = way

    async def rewrite(self, answer: str) -> str:
        """A server's answer with a way through this relay as the only one."""
        hosts = [line.split() for line in answer.splitlines() if _is_host(line)]
        assert hosts, f"the answer has no candidate of this machine:\n{answer}"
        parts = next((each for each in hosts if each[4] == HOST), hosts[0])
        port = await self._lead_to((parts[4], int(parts[5])))
        only = " ".join([*parts[:4], HOST, str(port), "typ", "host"])
        lines, told = [], False
        for line in answer.splitlines():
            if line.startswith("m="):
                told = False
            if line.startswith("a=candidate:"):
                if told:
                    continue
                line, told = only, True
            lines.append(line)
        return "\r\n".join(lines) + "\r\n"

    async def _lead_to(self, server: Address) -> int:
        """Open a port that leads to a server; gives its number.

        Each client that sends to it gets a socket of its own to the server, as behind a NAT.
        """
        loop = asyncio.get_running_loop()
        backs: dict[Address, _Port] = {}
        opening: dict[Address, list[bytes]] = {}

        def from_client(data: bytes, client: Address) -> None:
            if client in backs:
                self._pass(self.up, loop, backs[client], data, server)
            elif client in opening:
                opening[client].append(data)
            else:
                opening[client] = [data]
                asyncio.ensure_future(open_back(client))

        async def open_back(client: Address) -> None:
            back = await self._open(
                lambda data, _: self._pass(self.down, loop, front, data, client)
            )
            backs[client] = back
            for data in opening.pop(client):
                self._pass(self.up, loop, back, data, server)

        front = await self._open(from_client)
        assert front.transport is not None
        port: int = front.transport.get_extra_info("sockname")[1]
        return port

    async def _open(self, received: Callable[[bytes, Address], None]) -> _Port:
        loop = asyncio.get_running_loop()
        _, port = await loop.create_datagram_endpoint(lambda: _Port(received), local_addr=(HOST, 0))
        self._ports.append(port)
        if self._closed:
            self.close()
        return port

    def _pass(
        self,
        direction: Direction,
        loop: asyncio.AbstractEventLoop,
        port: _Port,
        data: bytes,
        to: Address,
    ) -> None:
        now = loop.time()
        due = direction.due(len(data), now)
        if due is None:
            return
        if due <= now:
            port.send(data, to)
        else:
            loop.call_at(due, port.send, data, to)

    def close(self) -> None:
        """Close all sockets."""
        self._closed = True
        for port in self._ports:
            if port.transport is not None:
                port.transport.close()
        self._ports.clear()


def _is_host(line: str) -> bool:
    return line.startswith("a=candidate:") and " typ host" in line


def without_candidates(offer: str) -> str:
    """An offer that tells no address, nor that it has none to tell."""
    left_out = ("a=candidate:", "a=end-of-candidates")
    kept = [line for line in offer.splitlines() if not line.startswith(left_out)]
    return "\r\n".join(kept) + "\r\n"


class RelayThread:
    """A relay in a thread of its own, for tests that have no event loop.

    Args:
        relay: may be told other ways from any thread.
    """

    def __init__(self, relay: UdpRelay, loop: asyncio.AbstractEventLoop) -> None:
        self.relay = relay
        self._loop = loop

    def rewrite(self, answer: str) -> str:
        """See `UdpRelay.rewrite`."""
        work = asyncio.run_coroutine_threadsafe(self.relay.rewrite(answer), self._loop)
        return work.result(10)


@contextmanager
def relaying(seed: int = 1) -> Iterator[RelayThread]:
    """A relay in a thread, for the time of the block."""
    loop = asyncio.new_event_loop()
    relay = UdpRelay(seed)
    thread = threading.Thread(target=loop.run_forever, name="udp-relay", daemon=True)
    thread.start()
    try:
        yield RelayThread(relay, loop)
    finally:
        asyncio.run_coroutine_threadsafe(_closed(relay), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _closed(relay: UdpRelay) -> None:
    relay.close()
    await asyncio.sleep(0)  # sockets close in the turn after
