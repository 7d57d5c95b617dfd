"""A bare aiortc: one offer with all its candidates, video, and no channel at all."""

from __future__ import annotations

import asyncio

import httpx
import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.mediastreams import MediaStreamTrack
from av.video.frame import VideoFrame

from stream.patches import host_addresses
from tests.stream.bar_engine import bar_yaw
from tests.stream.conftest import Start
from tests.stream.peers import SDP, Camera, until

PICTURES = 10


async def exchange(
    http: httpx.AsyncClient, path: str, connection: RTCPeerConnection
) -> httpx.Response:
    """One POST is all the signalling there is."""
    with host_addresses.chosen_by(host_addresses.loopback_only):
        await connection.setLocalDescription(await connection.createOffer())
    offer = connection.localDescription.sdp
    assert "a=candidate:" in offer and "m=application" not in offer
    response = await http.post(path, content=offer, headers=SDP)
    assert response.status_code == 201, response.text
    await connection.setRemoteDescription(RTCSessionDescription(response.text, "answer"))
    return response


async def test_a_receiver_without_channels_sees_the_default_viewpoint(start: Start) -> None:
    server = await start()
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    server.stack.push_async_callback(connection.close)
    transceiver = connection.addTransceiver("video", direction="recvonly")
    response = await exchange(server.http, f"/whep/{server.ready()}", connection)
    track: MediaStreamTrack = transceiver.receiver.track
    async with asyncio.timeout(30):
        for _ in range(PICTURES):
            frame = await track.recv()
            assert isinstance(frame, VideoFrame)
    picture = frame.to_ndarray(format="gray")
    assert picture.shape == (256, 256)
    assert abs(bar_yaw(picture)) < 2
    await asyncio.sleep(2.5)  # nothing but RTCP comes from it, which is a sign of life
    assert len(next(iter(server.calls.values())).receivers) == 1
    left = await server.http.delete(response.headers["Location"])
    assert left.status_code == 200


async def test_a_receiver_of_vp8_alone_is_served(start: Start) -> None:
    server = await start()
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    server.stack.push_async_callback(connection.close)
    transceiver = connection.addTransceiver("video", direction="recvonly")
    capabilities = RTCRtpSender.getCapabilities("video").codecs
    # Not even retransmissions in a stream of their own.
    transceiver.setCodecPreferences([c for c in capabilities if c.mimeType == "video/VP8"])
    response = await exchange(server.http, f"/whep/{server.ready()}", connection)
    assert "VP8" in response.text and "rtx" not in response.text
    async with asyncio.timeout(30):
        frame = await transceiver.receiver.track.recv()
    assert isinstance(frame, VideoFrame)
    assert frame.to_ndarray(format="gray").shape == (256, 256)


async def test_a_caller_without_channels_goes_live(start: Start) -> None:
    """Nobody can tell it what is wrong with its picture; where nothing is, it needs no words."""
    server = await start()
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    server.stack.push_async_callback(connection.close)
    connection.addTrack(Camera(brightness=180))
    response = await exchange(server.http, "/whip", connection)
    call = response.headers["Visavis-Call"]
    (opened,) = server.calls.values()
    await until(lambda: opened.state.value == "live", "the avatar")
    receiver = await server.receiver(call)
    await receiver.watch()
    assert np.ptp(receiver.luma) > 100
    gone = await server.http.delete(response.headers["Location"])
    assert gone.status_code == 200
    assert (await server.http.get(f"/calls/{call}")).status_code == 404
