"""WHIP for callers (RFC 9725), WHEP for receivers (draft-ietf-wish-whep)."""

from __future__ import annotations

import secrets
from dataclasses import asdict

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from stream import problems
from stream.call import HUNG_UP, Call
from stream.call_state import CallState
from stream.caller import CallerPeer
from stream.ice_servers import IceServer
from stream.peer import Peer
from stream.settings import Settings
from stream.switchboard import Switchboard

SDP = "application/sdp"
FRAGMENT = "application/trickle-ice-sdpfrag"

router = APIRouter()


@router.options("/whip")
@router.options("/whep/{call}")
async def offers_are_taken(request: Request, call: str | None = None) -> Response:
    """What can be posted here (RFC 9725 section 4.2). That there is such a call is not said.

    The answer names the STUN and TURN servers for programs that must know them before they make
    an offer (RFC 9725 section 4.6), but not to a browser that asks what other pages may do, and of
    a call only where there is one, because the TURN servers come with passwords.

    Nothing is said of other origins, so browsers keep their pages out (CORS): a page somewhere
    could otherwise open calls at, and use up, a server on the machine of whoever looks at it.
    Programs are not concerned, nor are pages that a proxy serves under the server's own address.
    """
    headers = {"Allow": "OPTIONS, POST", "Accept-Post": SDP, "Cache-Control": "no-store"}
    response = Response(status_code=204, headers=headers)
    if "access-control-request-method" in request.headers:
        return response
    if call is None or _switchboard(request).has(call):
        _name_ice_servers(request, response)
    return response


@router.options("/whip/{call}")
@router.options("/whep/{call}/{receiver}")
async def fragments_are_taken() -> Response:
    """What can be done with a connection; see `offers_are_taken`."""
    headers = {
        "Allow": "DELETE, OPTIONS, PATCH",
        "Accept-Patch": FRAGMENT,
        "Cache-Control": "no-store",
    }
    return Response(status_code=204, headers=headers)


@router.post("/whip")
async def call(
    request: Request, room: str | None = None, resume: str | None = None, key: str = ""
) -> Response:
    """Open a call: the body is the caller's SDP offer.

    Args:
        request: with the offer.
        room: where to sit down; a new one by default.
        resume: the call that the caller comes back to, with a new connection.
        key: of that call.
    """
    switchboard = _switchboard(request)
    # A wrong link matters more than a wrong body.
    if resume is not None:
        opened = _own(switchboard.find(resume), key)
        answer = await opened.resume(await _body(request, SDP))
    else:
        seat = switchboard.find_room(room) if room is not None else None
        opened, answer = await switchboard.open(await _body(request, SDP), seat)
    if opened.caller is None or opened.room is None:
        raise problems.unknown_call()  # the connection broke before the answer was out
    # The call's name is in every invitation; only the caller gets the key that ends the call.
    headers = {
        "Location": f"/whip/{opened.slug}?key={opened.key}",
        "Visavis-Call": opened.slug,
        "Visavis-Room": opened.room.slug,
    }
    return _created(request, opened.caller, answer, headers)


@router.patch("/whip/{call}")
async def trickle_caller(request: Request, call: str, key: str = "") -> Response:
    """Add candidates of a caller."""
    return await _trickle(request, _caller(_switchboard(request).find(call), key))


@router.delete("/whip/{call}")
async def hang_up(request: Request, call: str, key: str = "") -> Response:
    """End a call."""
    await _own(_switchboard(request).find(call), key).end(HUNG_UP)
    return Response(headers={"Cache-Control": "no-store"})


@router.post("/whep/{call}")
async def join(request: Request, call: str) -> Response:
    """Join a call: the body is the receiver's SDP offer."""
    switchboard = _switchboard(request)
    switchboard.find(call)  # a wrong link matters more than a wrong body
    receiver, answer = await switchboard.join(call, await _body(request, SDP))
    return _created(request, receiver, answer, {"Location": f"/whep/{call}/{receiver.id}"})


@router.patch("/whep/{call}/{receiver}")
async def trickle_receiver(request: Request, call: str, receiver: str) -> Response:
    """Add candidates of a receiver."""
    return await _trickle(request, _switchboard(request).find_receiver(call, receiver))


@router.delete("/whep/{call}/{receiver}")
async def leave(request: Request, call: str, receiver: str) -> Response:
    """Leave a call."""
    switchboard = _switchboard(request)
    switchboard.find_receiver(call, receiver)
    await switchboard.find(call).leave(receiver)
    return Response(headers={"Cache-Control": "no-store"})


@router.api_route("/rooms/{room}", methods=["GET", "HEAD"])
async def describe_room(request: Request, room: str) -> Response:
    """Who is in a room."""
    found = _switchboard(request).find_room(room)
    members = [asdict(member) for member in found.members]
    return JSONResponse(
        {"room": found.slug, "size": found.size, "members": members},
        headers={"Cache-Control": "no-store"},
    )


@router.api_route("/calls/{call}", methods=["GET", "HEAD"])
async def describe(request: Request, call: str) -> Response:
    """Whether a call can be joined."""
    found = _switchboard(request).find(call)
    state = "live" if found.state is CallState.LIVE else "waiting"
    return JSONResponse(
        {"call": found.slug, "state": state, "receivers": len(found.receivers)},
        headers={"Cache-Control": "no-store"},
    )


def _switchboard(request: Request) -> Switchboard:
    switchboard = request.app.state.switchboard
    assert isinstance(switchboard, Switchboard)
    return switchboard


def _own(call: Call, key: str) -> Call:
    """The call, for whoever has its key.

    Raises:
        Problem: the call is one that the server itself keeps, or the key is not right.
    """
    if call.key is None:
        raise problems.unknown_session()
    if not secrets.compare_digest(call.key.encode(), key.encode()):
        raise problems.not_yours()
    return call


def _caller(call: Call, key: str) -> CallerPeer:
    """The caller's connection, for whoever has the call's key.

    Raises:
        Problem: as `_own`, or the connection was lost.
    """
    caller = _own(call, key).caller
    if caller is None:
        raise problems.unknown_session()
    return caller


def _settings(request: Request) -> Settings:
    settings = request.app.state.settings
    assert isinstance(settings, Settings)
    return settings


async def _body(request: Request, wanted: str) -> str:
    """The body as text.

    Raises:
        Problem: wrong content type, too many bytes, or not UTF-8.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != wanted:
        raise problems.wrong_type(wanted)
    limit = _settings(request).max_body
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise problems.too_large(limit)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise problems.too_large(limit)
    try:
        return body.decode()
    except UnicodeDecodeError:
        refuse = problems.bad_offer if wanted == SDP else problems.bad_fragment
        raise refuse("It is not UTF-8 text.") from None


async def _trickle(request: Request, peer: Peer) -> Response:
    match = request.headers.get("if-match", "*")
    if match not in ("*", _entity_tag(peer)):
        raise problems.other_session()
    await peer.add_candidates(await _body(request, FRAGMENT))
    return Response(status_code=204, headers={"Cache-Control": "no-store"})


def _created(request: Request, peer: Peer, answer: str, headers: dict[str, str]) -> Response:
    response = Response(answer, 201, media_type=SDP, headers=headers)
    response.headers["Cache-Control"] = "no-store"
    response.headers["ETag"] = _entity_tag(peer)
    _name_ice_servers(request, response)
    return response


def _name_ice_servers(request: Request, response: Response) -> None:
    """As `Link` headers, with passwords for this answer alone; and the policy if not "all"."""
    settings = _settings(request)
    for server in settings.fresh_ice_servers():
        response.headers.append("Link", ice_server_link(server))
    if settings.relay_only:
        response.headers["Visavis-Ice-Policy"] = "relay"


def _entity_tag(peer: Peer) -> str:
    return f'"{peer.id}"'


def ice_server_link(server: IceServer) -> str:
    """A STUN or TURN server as the value of a Link header (RFC 9725 section 4.6)."""
    link = f'<{server.url}>; rel="ice-server"'
    if server.username is not None and server.credential is not None:
        link += (
            f"; username={_quoted(server.username)}; credential={_quoted(server.credential)}"
            '; credential-type="password"'
        )
    return link


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
