"""The addresses of this machine that media may come in on, chosen per connection.

Reason: aioice leaves 127.0.0.1 out, so a machine without a network offers no candidate at all, and
a server that listens on 127.0.0.1 only is called over an address of the network. aioice has no
interface for the choice.
Where: `aioice.ice.get_host_addresses`.
Written for: aioice 0.13.0. Remove when: aioice lets the application give the addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import aioice.ice
from aioice.ice import get_host_addresses

NAME = "get_host_addresses"

LOOPBACK = "127.0.0.1"
"""::1 would only double the checks."""

Choice = Callable[[list[str]], list[str]]
"""From the addresses of the network to those that are offered."""

_choice: ContextVar[Choice | None] = ContextVar("choice_of_host_addresses", default=None)

_original = get_host_addresses


def _get_host_addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    found = _original(use_ipv4=use_ipv4, use_ipv6=use_ipv6)
    choose = _choice.get()
    return found if choose is None else choose(found)


@contextmanager
def chosen_by(choose: Choice) -> Iterator[None]:
    """Connections that gather their candidates in this block, or in a task started in it, offer the
    addresses that `choose` returns."""
    token = _choice.set(choose)
    try:
        yield
    finally:
        _choice.reset(token)


def with_loopback(network: list[str]) -> list[str]:
    """Loopback besides the network. Firefox does not reach the former from a socket of the latter,
    nor does macOS: neither can replace the other."""
    return [*network, LOOPBACK]


def loopback_if_alone(network: list[str]) -> list[str]:
    """The network, or loopback where there is none."""
    return network or [LOOPBACK]


def loopback_only(network: list[str]) -> list[str]:
    """Nothing that another machine could reach."""
    return [LOOPBACK]


def apply() -> None:
    """Install the choice."""
    setattr(aioice.ice, NAME, _get_host_addresses)
