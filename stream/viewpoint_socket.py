"""Viewpoints over a WebSocket, for programs that steer a receiver's view."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from starlette.websockets import WebSocketState

from stream.messages import Ended, Error
from stream.problems import Problem
from stream.receiver import MAX_SOCKETS, ReceiverPeer
from stream.switchboard import Switchboard

UNKNOWN = 4404
"""Close code: there is no such call or receiver."""

TOO_MANY = 4429
"""Close code: the receiver has enough sockets."""

router = APIRouter()


@router.websocket("/calls/{call}/viewpoint")
async def steer(socket: WebSocket, call: str, receiver: str = "") -> None:
    """Take the same messages as the data channel `viewpoint`; complain in the same way."""
    switchboard = socket.app.state.switchboard
    assert isinstance(switchboard, Switchboard)
    await socket.accept()
    try:
        peer = switchboard.find_receiver(call, receiver)
    except Problem as problem:
        await socket.send_text(Error("unknown", f"{problem.title}. {problem.detail}").to_json())
        await socket.close(UNKNOWN)
        return
    if peer.sockets >= MAX_SOCKETS:
        text = f"A receiver may have {MAX_SOCKETS} viewpoint sockets at once. Close one of them."
        await socket.send_text(Error("too_many", text).to_json())
        await socket.close(TOO_MANY)
        return
    peer.sockets += 1
    try:
        await _until_gone(socket, peer)
    finally:
        peer.sockets -= 1


async def _until_gone(socket: WebSocket, peer: ReceiverPeer) -> None:
    """Listen until the socket is closed or the receiver's connection is."""
    listening = asyncio.ensure_future(_listen(socket, peer))
    leaving = asyncio.ensure_future(peer.gone.wait())
    try:
        await asyncio.wait((listening, leaving), return_when=asyncio.FIRST_COMPLETED)
        if listening.done():
            listening.result()
        else:
            await _stopped(listening)
            with contextlib.suppress(WebSocketDisconnect, RuntimeError):
                await socket.send_text(Ended(peer.farewell).to_json())
                await socket.close()
    finally:
        await _stopped(listening)
        await _stopped(leaving)


async def _stopped(task: asyncio.Future[Any]) -> None:
    """Cancel a task and wait until it has ended."""
    task.cancel()
    await asyncio.wait((task,))


async def _listen(socket: WebSocket, peer: ReceiverPeer) -> None:
    inbox = peer.inbox()
    try:
        while True:
            message = await socket.receive()
            if message["type"] != "websocket.receive":
                return
            data = message.get("text")
            if data is None:
                data = message.get("bytes") or b""
            error = peer.receive(inbox, data)
            if error is not None:
                await socket.send_text(error.to_json())
    except (WebSocketDisconnect, RuntimeError):
        if socket.client_state is WebSocketState.CONNECTED:
            raise
