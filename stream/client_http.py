"""The HTTP that a client of a server needs: small requests, and what went wrong in one line."""

from __future__ import annotations

import asyncio
import http.client
import ipaddress
import json
import ssl
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from models.errors import VisavisError

TIMEOUT = 15.0
"""Seconds that an answer may take."""

MAX_ANSWER = 256 * 1024
"""Bytes of an answer; a real one has a few thousand."""

PROBLEM = "application/problem+json"

CODES = {404: "unknown_call", 409: "not_ready", 503: "full"}


class JoinError(VisavisError):
    """The call cannot be joined or opened.

    Args:
        reason: what is wrong and what to do, one line.
        code: `bad_address`, `no_server` (nobody answers), `no_visavis` (somebody else answers),
            `unknown_call`, `unknown_room`, `not_ready` (the caller is about to be), `full`,
            `no_picture` (the server answered, but media did not come), `no_connection` (the same
            for a call of one's own), `no_relay` or `refused`.
        retry_after: seconds after which it may be different, if the server said so.
    """

    default_code = "refused"

    def __init__(
        self, reason: str, code: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(reason, code)
        self.retry_after = retry_after


@dataclass(frozen=True)
class Answer:
    """An answer that is no error.

    Args:
        headers: by names in lower case; values of several of one name have commas between them.
        body: as text.
    """

    headers: dict[str, str]
    body: str


@dataclass(frozen=True)
class Address:
    """Where a server is.

    Args:
        url: its root, such as "https://visavis.example.org", without a slash at the end.
    """

    url: str

    @property
    def secure(self) -> bool:
        return self.url.startswith("https:")

    @property
    def local(self) -> bool:
        """Whether it is this machine, said by a loopback address or by name."""
        host = urlsplit(self.url).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    def socket(self, path: str) -> str:
        """The address of a WebSocket."""
        return "ws" + self.url.removeprefix("http") + path

    def resolve(self, location: str) -> str:
        """The path on this server that a Location header names."""
        parts = urlsplit(urljoin(self.url + "/", location))
        return parts.path.removeprefix(urlsplit(self.url).path) + (
            f"?{parts.query}" if parts.query else ""
        )

    async def ask(
        self, method: str, path: str, sdp: str | None = None, timeout: float = TIMEOUT
    ) -> Answer:
        """Send a request.

        Args:
            method: such as "GET".
            path: from the server's root on.
            sdp: what to send.
            timeout: seconds.

        Raises:
            JoinError: nobody answers, or the answer is an error.
        """
        # A thread: the standard library's client blocks, and for two small requests a dependency
        # more is not worth it.
        return await asyncio.to_thread(self._ask, method, path, sdp, timeout)

    def _ask(self, method: str, path: str, sdp: str | None, timeout: float) -> Answer:
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        make = http.client.HTTPSConnection if self.secure else http.client.HTTPConnection
        connection = make(parts.hostname, parts.port, timeout=timeout)
        headers = {"Accept": "application/sdp, application/json", "User-Agent": "visavis"}
        if sdp is not None:
            headers["Content-Type"] = "application/sdp"
        try:
            connection.request(method, parts.path + path, sdp, headers)
            response = connection.getresponse()
            body = response.read(MAX_ANSWER).decode(errors="replace")
        except ssl.SSLError as error:
            reason = getattr(error, "verify_message", "") or error.reason or "no TLS"
            raise JoinError(
                f"{self.url} cannot be trusted: {reason}. Check its certificate and the address.",
                "no_server",
            ) from error
        except (OSError, UnicodeError) as error:
            why = (getattr(error, "strerror", None) or str(error) or "no answer").lower()
            raise JoinError(
                f"The server at {self.url} does not answer: {why}. Check the address, and that it "
                "is running.",
                "no_server",
            ) from error
        except http.client.HTTPException as error:
            raise self.not_ours("it does not speak HTTP") from error
        finally:
            connection.close()
        found: dict[str, str] = {}
        for name, value in response.getheaders():
            known = found.get(name.lower())
            found[name.lower()] = value if known is None else f"{known}, {value}"
        if not 200 <= response.status < 300:
            raise self._refusal(response.status, response.reason, found, body)
        return Answer(found, body)

    def _refusal(self, status: int, phrase: str, headers: dict[str, str], body: str) -> JoinError:
        if headers.get("content-type", "").partition(";")[0] != PROBLEM:
            where = f" and names {headers['location']}" if "location" in headers else ""
            return self.not_ours(f"it answers {status} {phrase}{where}")
        try:
            problem = json.loads(body)
            reason = f"{problem['title']}. {problem['detail']}"
        except (ValueError, KeyError, TypeError):
            reason = f"The server answered with error {status}. Try again later."
        return JoinError(reason, CODES.get(status), _seconds(headers.get("retry-after")))

    def not_ours(self, why: str) -> JoinError:
        """Somebody answers who is no server of calls."""
        return JoinError(
            f"At {self.url} there is no Visavis server: {why}. Check the address.", "no_visavis"
        )


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isdecimal() else None


def read_address(url: str, call: str | None) -> tuple[Address, str]:
    """Where a server is and which call is meant.

    Args:
        url: of the server, or the link of an invitation, "https://visavis.example.org/c/NAME".
        call: the name of the call; not needed with a link.

    Raises:
        JoinError: the address is none, or no call is named.
    """
    parts = _split(url)
    root, link, name = parts.path.rpartition("/c/")
    if link:
        call = call or unquote(name.strip("/"))
    else:
        root = parts.path
    if not call:
        raise JoinError(
            "No call is named. Give its name, or the link that the caller sent.", "bad_address"
        )
    if "/" in call or not call.isprintable():
        raise JoinError(f"{call!r} is no name of a call. It stands behind /c/.", "bad_address")
    return _server(parts, root), call


def read_room(url: str) -> tuple[Address, str | None]:
    """Where a server is, and which room is meant, if one is.

    Args:
        url: of the server, or the link of a room, "https://visavis.example.org/r/NAME".

    Raises:
        JoinError: the address is none, or that of somebody's call.
    """
    parts = _split(url)
    if "/c/" in parts.path:
        raise JoinError(
            "That is the link of a call, to look at. To open one, give the server's address or the "
            "link of a room.",
            "bad_address",
        )
    root, link, name = parts.path.rpartition("/r/")
    room = unquote(name.strip("/"))
    if not link:
        return _server(parts, parts.path), None
    if not room or "/" in room or not room.isprintable():
        raise JoinError(f"{room!r} is no name of a room. It stands behind /r/.", "bad_address")
    return _server(parts, root), room


def _split(url: str) -> SplitResult:
    if "@" in url.partition("://")[2].partition("/")[0]:  # not shown: it may hold a password
        raise JoinError("The server's address holds no user and password.", "bad_address")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
    except ValueError:
        usable = None  # no such host or port
    if not usable or not url.isprintable() or any(c.isspace() for c in url):
        raise JoinError(
            f"{url!r} is no address of a server. Write one such as http://127.0.0.1:8080.",
            "bad_address",
        )
    return parts


def _server(parts: SplitResult, root: str) -> Address:
    return Address(f"{parts.scheme}://{parts.netloc}{root.rstrip('/')}")


def quoted(name: str) -> str:
    """A call's or a room's name as a part of a path."""
    return quote(name, safe="")
