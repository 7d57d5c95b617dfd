"""What can go wrong for whoever calls the HTTP interface, in words (RFC 9457).

* Problem           an answer with a status, a title and what to do
"""

from __future__ import annotations

from collections.abc import Mapping

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """An HTTP answer that says what is wrong and what to do.

    Args:
        status: HTTP status, 400..599.
        title: what is wrong, the same for every occurrence.
        detail: this occurrence, and what to do.
        headers: further headers of the answer.
    """

    def __init__(
        self, status: int, title: str, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(f"{status} {title} {detail}")
        self.status = status
        self.title = title
        self.detail = detail
        self.headers = dict(headers or {})

    def body(self) -> dict[str, str | int]:
        """The JSON document of the answer."""
        return {"title": self.title, "detail": self.detail, "status": self.status}


def bad_offer(why: str) -> Problem:
    return Problem(400, "The SDP offer cannot be used", f"{why} Send the offer a browser makes.")


def bad_fragment(why: str) -> Problem:
    return Problem(400, "The candidates cannot be read", f"{why} Send an SDP fragment (RFC 8840).")


def unknown_call() -> Problem:
    return Problem(
        404,
        "There is no such call",
        "The call has ended or never was. Ask the caller for a new link.",
    )


def unknown_room() -> Problem:
    return Problem(
        404,
        "There is no such room",
        "Everybody has left, or it never was. Ask for a new link, or open a room of your own.",
    )


def room_full(size: int) -> Problem:
    return Problem(
        503,
        "The room is full",
        f"It has {size} people with cameras, and room for no more. You can still watch.",
        {"Retry-After": "30"},
    )


def no_lift_time() -> Problem:
    return Problem(
        503,
        "The server is busy",
        "It has no time to follow one more face now. You can still watch.",
        {"Retry-After": "30"},
    )


def unknown_session() -> Problem:
    return Problem(404, "There is no such connection", "It has ended. Connect again.")


def not_yours() -> Problem:
    return Problem(
        403,
        "Only the caller can do this",
        "Use the address in the Location header of the answer to your offer, with its key.",
    )


def not_ready() -> Problem:
    return Problem(
        409,
        "The caller is not ready",
        "The caller's avatar is not built yet. Try again in a few seconds.",
        {"Retry-After": "2"},
    )


def too_large(limit: int) -> Problem:
    return Problem(
        413,
        "The request is too large",
        f"The body may hold {limit} bytes at most. Send only the SDP.",
    )


def wrong_type(wanted: str) -> Problem:
    return Problem(
        415,
        "The content type is wrong",
        f"Send the body with the header Content-Type: {wanted}.",
        {"Accept-Post": "application/sdp"},
    )


def other_session() -> Problem:
    return Problem(
        412, "The connection has changed", "The If-Match header names another one. Connect again."
    )


def no_restart() -> Problem:
    return Problem(
        422,
        "ICE restarts are not supported",
        "The fragment has other ICE credentials than the offer. Connect anew; a caller keeps the "
        "call by POST /whip?resume=CALL&key=KEY.",
    )


def no_relay(why: str) -> Problem:
    return Problem(
        502,
        "There is no relay",
        f"Media may only go through a TURN server here. {why}",
    )


def no_time() -> Problem:
    return Problem(
        503,
        "The server is busy",
        "It has no time to draw for one more person now.",
        {"Retry-After": "10"},
    )


def no_memory() -> Problem:
    return Problem(
        503,
        "The server is busy",
        "Its graphics memory is full now.",
        {"Retry-After": "30"},
    )


def busy(what: str, limit: int) -> Problem:
    return Problem(
        503,
        "The server is busy",
        f"It takes {limit} {what} at once. Try again later.",
        {"Retry-After": "30"},
    )
