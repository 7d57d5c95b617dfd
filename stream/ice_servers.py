"""STUN and TURN servers: what may be named, and the passwords that hold for a time.

* IceServer       one server, as it is named on the command line
* check           what is named fits together
* fresh           the servers with new passwords, for one connection
* chosen          the servers that the command line or the environment names
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

ICE_POLICIES = ("all", "relay")

SERVERS_VARIABLE = "VISAVIS_ICE_SERVERS"
"""Environment variable: servers as after --ice-server, with spaces between them."""

SECRET_VARIABLE = "VISAVIS_TURN_SECRET"
"""Environment variable: the secret that is shared with the TURN servers."""

LEAST_LIFETIME = 60.0
"""Seconds: the clocks of the two servers may differ, and connecting takes a while."""

URL = re.compile(
    r"(?P<scheme>stuns?|turns?):(?P<host>[^\s:?/@\[\]]+|\[[0-9A-Fa-f:.]+\])"
    r"(:(?P<port>[0-9]{1,5}))?(\?transport=(?P<transport>udp|tcp))?"
)
"""RFC 7064 and RFC 7065."""


@dataclass(frozen=True)
class IceServer:
    """A STUN or TURN server that both sides of a call may use.

    Args:
        url: such as "stun:stun.example.org:3478" or "turn:turn.example.org?transport=udp".
        username: of a TURN server; None where the shared secret makes one.
        credential: the password of a TURN server; None with the user name.
    """

    url: str
    username: str | None = None
    credential: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        scheme = self.url.partition(":")[0]
        if "@" in self.url:  # not shown: what stands before it may be a password
            raise ValueError("An ICE server's address holds no @: write turn:HOST,USER,PASSWORD.")
        if any(character in self.url for character in '<>",; \r\n'):
            raise ValueError(f"The ICE server {self.url!r} holds a character no address has.")
        # They go into a header; an international name is written in its xn-- form. Not shown here.
        told = (self.username or "") + (self.credential or "")
        if not self.url.isascii() or not told.isprintable() or max(told, default="") > "\xff":
            raise ValueError("An ICE server's address is ASCII, its user and password Latin-1.")
        match = URL.fullmatch(self.url)
        if match is None or not 1 <= int(match["port"] or 1) <= 65535:
            raise ValueError(
                f"An ICE server is written stun:HOST[:PORT] or "
                f"turn:HOST[:PORT][?transport=udp|tcp], also turns:; got {self.url!r}."
            )
        if match["transport"] and not self.relays:
            raise ValueError(f"Only TURN servers have a transport, not {self.url}.")
        if scheme.startswith("stun") and self.username is not None:
            raise ValueError(f"The STUN server {self.url} takes no user name.")
        if (self.username is None) != (self.credential is None) or "" in (
            self.username,
            self.credential,
        ):
            raise ValueError(f"The TURN server {self.url} needs a user name and a password.")

    @property
    def relays(self) -> bool:
        """Whether it is a TURN server."""
        return self.url.startswith("turn")

    @property
    def shares_secret(self) -> bool:
        """Whether its passwords are made from the shared secret."""
        return self.relays and self.username is None

    @property
    def works_here(self) -> bool:
        """Whether aiortc knows such a server; browsers are told of the others all the same."""
        match = URL.fullmatch(self.url)
        if match is None or match["host"].startswith("[") or match["scheme"] == "stuns":
            return False
        return match["scheme"] != "turns" or match["transport"] in (None, "tcp")


def from_text(text: str) -> IceServer:
    """A server from "URL[,USER,PASSWORD]".

    Raises:
        ValueError: it is none; the message holds no password.
    """
    return IceServer(*text.split(",", 2))


def chosen(named: Sequence[IceServer], environment: Mapping[str, str]) -> tuple[IceServer, ...]:
    """The servers of the command line; if it names none, those of the environment.

    Raises:
        ValueError: the environment names what is none.
    """
    return tuple(named) or tuple(map(from_text, environment.get(SERVERS_VARIABLE, "").split()))


def chosen_secret(given: str | None, environment: Mapping[str, str]) -> str | None:
    """The secret of the command line, or else of the environment, where an empty one is none."""
    return (environment.get(SECRET_VARIABLE) or None) if given is None else given


def check(servers: Sequence[IceServer], policy: str, secret: str | None, lifetime: float) -> None:
    """See that what is named fits together.

    Raises:
        ValueError: what does not, and what to do; the message holds no password and no secret.
    """
    if policy not in ICE_POLICIES:
        raise ValueError(f"The ICE policy must be one of {ICE_POLICIES}, not {policy}.")
    if not LEAST_LIFETIME <= lifetime < float("inf"):
        raise ValueError(f"TURN passwords hold for {LEAST_LIFETIME:.0f} seconds or more.")
    if secret is not None and not any(server.shares_secret for server in servers):
        raise ValueError(
            "There is a TURN secret, but no TURN server to use it with. "
            "Name one with --ice-server turn:HOST, without user and password."
        )
    if secret is not None and not secret.strip():
        raise ValueError("The TURN secret is empty.")
    if secret is not None and not secret.isprintable():
        raise ValueError("The TURN secret holds characters that are no text.")
    if secret is None:
        for server in servers:
            if server.shares_secret:
                raise ValueError(
                    f"The TURN server {server.url} needs a user name and a password, "
                    "or --turn-secret."
                )
    if policy == "relay" and not any(server.relays and server.works_here for server in servers):
        which = "" if not any(s.relays for s in servers) else " that this server can use itself"
        raise ValueError(
            f"The ICE policy relay needs a TURN server{which}: --ice-server turn:HOST[:PORT]."
        )


def credentials(secret: str, user: str, expires: int) -> tuple[str, str]:
    """A user name and a password that a TURN server which knows the secret takes until then.

    The scheme of coturn's use-auth-secret (draft-uberti-behave-turn-rest-00).

    Args:
        secret: shared with the TURN server (its static-auth-secret).
        user: tells users apart, for quotas and in the TURN server's log.
        expires: seconds since 1970.
    """
    username = f"{expires}:{user}"
    digest = hmac.new(secret.encode(), username.encode(), hashlib.sha1).digest()
    return username, base64.b64encode(digest).decode()


def fresh(
    servers: Sequence[IceServer], secret: str | None, lifetime: float, now: float
) -> tuple[IceServer, ...]:
    """The servers for one connection; those that share the secret get a new user and password.

    Args:
        servers: as they were named.
        secret: shared with the TURN servers that were named without a user.
        lifetime: seconds for which the passwords hold.
        now: seconds since 1970.
    """
    if secret is None:
        return tuple(servers)
    # Neither a call nor a connection is named: their names open them, and TURN servers keep logs.
    username, password = credentials(secret, secrets.token_hex(4), int(now + lifetime))
    return tuple(
        replace(server, username=username, credential=password) if server.shares_secret else server
        for server in servers
    )
