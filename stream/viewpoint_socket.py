"""Viewpoints over a WebSocket, for programs that steer a receiver's view."""

from __future__ import annotations

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from starlette.websockets import WebSocketState

from stream.call_state import CallState
from stream.messages import Ended, Error
from stream.problems import Problem
from stream.switchboard import Switchboard

UNKNOWN = 4404
"""Close code: there is no such call or receiver."""

router = APIRouter()


@router.websocket("/calls/{call}/viewpoint")
async def steer(socket: WebSocket, call: str, receiver: str = "") -> None:
    """Take the same messages as the data channel `viewpoint`; complain in the same way."""
    switchboard = socket.app.state.switchboard
    assert isinstance(switchboard, Switchboard)
    await socket.accept()
    try:
        found = switchboard.find(call)
        peer = switchboard.find_receiver(call, receiver)
    except Problem as problem:
        await socket.send_text(Error("unknown", f"{problem.title}. {problem.detail}").to_json())
        await socket.close(UNKNOWN)
        return
    inbox = peer.inbox()
    try:
        while True:
            message = await socket.receive()
            if message["type"] != "websocket.receive":
                return
            if found.state is CallState.ENDED or receiver not in found.receivers:
                await socket.send_text(Ended("The receiver has left.").to_json())
                await socket.close()
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
