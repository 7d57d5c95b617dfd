"""The HTTP interface: every status in it, and what the answers carry."""

from __future__ import annotations

import re

import httpx
import pytest

from stream.ice_servers import IceServer
from stream.patches import host_addresses
from tests.stream.conftest import Running, Start
from tests.stream.peers import SDP

FRAGMENT = {"Content-Type": "application/trickle-ice-sdpfrag"}


def assert_problem(response: httpx.Response, status: int) -> None:
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    document = response.json()
    for name in ("title", "detail"):
        assert document[name] and "\n" not in document[name]
    assert "Traceback" not in response.text


async def valid_offer(server: Running) -> str:
    receiver = await server.receiver("any")
    return await receiver.offer()


async def test_an_offer_that_cannot_be_used_is_a_400(start: Start) -> None:
    server = await start()
    call = server.ready()
    good = await valid_offer(server)
    bad = [
        b"",
        b"hello",
        b"\xff\xfe",
        b"v=0\r\n",
        good[: len(good) // 3].encode(),
        good.replace("m=video", "m=audio").encode(),
        good.replace("a=ice-ufrag", "a=x").encode(),
        good.replace("a=mid:0", "a=x").encode(),
        good.replace("a=rtcp-mux", "a=x").encode(),
        good.replace("sha-256", "").encode(),
        good.replace("a=setup:actpass", "a=setup:nonsense").encode(),
        good.replace("VP8/90000", "XX/1").replace("H264/90000", "YY/1").encode(),
        good.replace("a=rtpmap:97", "a=rtpmap:zz").encode(),
        re.sub("m=video [0-9]+", "m=video nine", good).encode(),
        re.sub("a=rtpmap:97 .*\r\n", "", good).encode(),
        re.sub("m=application .*\r\n", "", good).encode(),
        re.sub("a=sctp-port:.*\r\n", "", good).encode(),
    ]
    for number, body in enumerate(bad):
        response = await server.http.post(f"/whep/{call}", content=body, headers=SDP)
        assert response.status_code == 400, number
        assert_problem(response, 400)
    assert server.calls[call].receivers == {}
    # A receiver's offer does not send what a caller has to send.
    assert_problem(await server.http.post("/whip", content=good, headers=SDP), 400)
    assert list(server.calls) == [call]


async def test_what_does_not_exist_is_a_404_with_words(start: Start) -> None:
    server = await start()
    offer = await valid_offer(server)
    assert_problem(await server.http.post("/whep/none", content=offer, headers=SDP), 404)
    assert_problem(await server.http.get("/calls/none"), 404)
    assert_problem(await server.http.delete("/whip/none"), 404)
    assert_problem(await server.http.delete("/whep/none/none"), 404)
    assert_problem(await server.http.patch("/whip/none", content="x", headers=FRAGMENT), 404)
    assert_problem(await server.http.patch("/whep/none/none", content="x", headers=FRAGMENT), 404)
    assert_problem(await server.http.get("/nowhere"), 404)
    assert_problem(await server.http.get("/whip"), 405)
    page = await server.http.get("/c/none")
    assert page.status_code == 404
    assert page.headers["Content-Type"].startswith("text/html")
    assert "no call" in page.text.lower() or "no such call" in page.text.lower()


async def test_a_wrong_content_type_is_a_415(start: Start) -> None:
    server = await start()
    for headers in ({}, {"Content-Type": "text/plain"}, {"Content-Type": "application/json"}):
        response = await server.http.post("/whip", content="v=0", headers=headers)
        assert_problem(response, 415)
        assert response.headers["Accept-Post"] == "application/sdp"
    charset = {"Content-Type": "Application/SDP; charset=utf-8"}
    assert_problem(await server.http.post("/whip", content="x", headers=charset), 400)


async def test_a_body_over_64_kib_is_a_413_with_or_without_its_length(start: Start) -> None:
    server = await start()
    big = b"v=0\r\n" + b"a=x\r\n" * 20_000

    async def in_pieces():  # type: ignore[no-untyped-def]
        for start_ in range(0, len(big), 4096):
            yield big[start_ : start_ + 4096]

    assert_problem(await server.http.post("/whip", content=big, headers=SDP), 413)
    assert_problem(await server.http.post("/whip", content=in_pieces(), headers=SDP), 413)


async def test_a_call_without_an_avatar_is_a_409_and_says_when_to_come_back(start: Start) -> None:
    server = await start()
    caller = await server.caller(brightness=10)
    call = (await caller.connect()).headers["Visavis-Call"]
    receiver = await server.receiver(call)
    response = await server.http.post(receiver.path, content=await receiver.offer(), headers=SDP)
    assert_problem(response, 409)
    assert int(response.headers["Retry-After"]) > 0
    assert server.calls[call].receivers == {}


async def test_answers_say_where_the_connection_is(start: Start) -> None:
    server = await start()
    response = await (await server.caller()).connect()
    call = response.headers["Visavis-Call"]
    assert len(call) >= 12
    assert response.headers["Location"].startswith(f"/whip/{call}?key=")
    assert response.headers["Content-Type"].startswith("application/sdp")
    assert response.headers["Cache-Control"] == "no-store"
    assert "Link" not in response.headers


async def test_answers_name_the_ice_servers(start: Start) -> None:
    # aiortc gives up at once on a TURN server that refuses the connection.
    server = await start(ice_servers=(IceServer("turn:127.0.0.1:9?transport=tcp", "me", "word"),))
    offer = await valid_offer(server)
    response = await server.http.post(f"/whep/{server.ready()}", content=offer, headers=SDP)
    assert response.headers["Link"] == (
        '<turn:127.0.0.1:9?transport=tcp>; rel="ice-server"; username="me"; credential="word"; '
        'credential-type="password"'
    )


NETWORK = "127.0.0.2"
"""Stands for an address of the network."""


@pytest.mark.parametrize(
    ("settings", "network", "offered"),
    [
        ({"host": "127.0.0.1"}, [NETWORK], {"127.0.0.1", NETWORK}),
        ({"host": "127.0.0.1"}, [], {"127.0.0.1"}),
        ({"host": "0.0.0.0"}, [NETWORK], {NETWORK}),
        ({"host": "0.0.0.0"}, [], {"127.0.0.1"}),
        ({"host": "0.0.0.0", "media_addresses": "loopback"}, [NETWORK], {"127.0.0.1"}),
    ],
)
async def test_a_call_within_one_machine_needs_no_network(
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str],
    network: list[str],
    offered: set[str],
) -> None:
    def found(use_ipv4: bool, use_ipv6: bool) -> list[str]:
        return list(network)

    monkeypatch.setattr(host_addresses, "_original", found)
    server = await start(**{"media_addresses": "auto", **settings})
    receiver = await server.receiver(server.ready())
    response = await receiver.connect()
    lines = response.text.splitlines()
    assert {line.split()[4] for line in lines if line.startswith("a=candidate:")} == offered


async def test_candidates_can_follow_the_offer(start: Start) -> None:
    server = await start()
    call = server.ready()
    receiver = await server.receiver(call)
    offer = await receiver.offer()
    bare = "".join(line + "\r\n" for line in offer.splitlines() if "candidate" not in line)
    candidates = [line for line in offer.splitlines() if line.startswith("a=candidate:")]
    username = next(line for line in offer.splitlines() if line.startswith("a=ice-ufrag:"))
    response = await server.http.post(receiver.path, content=bare, headers=SDP)
    assert response.status_code == 201
    location, tag = response.headers["Location"], response.headers["ETag"]

    async def patch(text: str, **headers: str) -> httpx.Response:
        return await server.http.patch(location, content=text, headers={**FRAGMENT, **headers})

    assert_problem(await patch("nonsense"), 400)
    assert_problem(await patch("a=candidate:1 1 udp x 127.0.0.1 y typ host"), 400)
    response = await server.http.patch(location, content=b"\xff\xfe", headers=FRAGMENT)
    assert_problem(response, 400)
    assert "candidates" in response.json()["title"] and "UTF-8" in response.json()["detail"]
    assert_problem(await patch(f"a=mid:nine\r\n{candidates[0]}"), 400)
    assert_problem(await patch("a=ice-ufrag:other\r\na=end-of-candidates"), 422)
    assert_problem(await patch("a=end-of-candidates", **{"If-Match": '"other"'}), 412)
    assert_problem(await server.http.patch(location, content="a=x", headers=SDP), 415)
    text = "\r\n".join([username, "a=mid:0", *candidates, "a=end-of-candidates"])
    assert (await patch(text, **{"If-Match": tag})).status_code == 204
    assert (await patch("a=end-of-candidates")).status_code == 204


async def test_candidates_are_counted_over_all_fragments(start: Start) -> None:
    server = await start()
    receiver = await server.receiver(server.ready())
    await receiver.watch()

    async def patch(first: int, count: int) -> httpx.Response:
        ports = range(first, first + count)
        lines = [f"a=candidate:{p} 1 udp 1 127.0.0.1 {p} typ host\r\n" for p in ports]
        text = "a=mid:0\r\n" + "".join(lines)
        return await server.http.patch(receiver.location, content=text, headers=FRAGMENT)

    assert (await patch(20000, 30)).status_code == 204
    assert (await patch(20030, 34)).status_code == 204
    for count in (1, 2):
        response = await patch(20064, count)
        assert_problem(response, 400)
        assert "64" in response.json()["detail"]


async def test_a_full_server_says_so(start: Start) -> None:
    server = await start(max_calls=1, max_receivers=1)
    call = server.ready()
    receiver = await server.receiver(call)
    await receiver.watch()
    offer = await valid_offer(server)
    for path in ("/whip", f"/whep/{call}"):
        response = await server.http.post(path, content=offer, headers=SDP)
        assert_problem(response, 503)
        assert "Retry-After" in response.headers
    assert (await receiver.hang_up()).status_code == 200
    other = await server.receiver(call)
    await other.watch()


async def test_hanging_up_answers_200_once(start: Start) -> None:
    server = await start()
    caller = await server.caller()
    call = await caller.go_live()
    receiver = await server.receiver(call)
    await receiver.watch()
    assert (await server.http.delete(receiver.location)).status_code == 200
    assert_problem(await server.http.delete(receiver.location), 404)
    assert (await server.http.delete(caller.location)).status_code == 200
    assert_problem(await server.http.delete(caller.location), 404)


async def test_an_invitation_does_not_let_anybody_end_the_call(start: Start) -> None:
    server = await start()
    caller = await server.caller(brightness=10)
    call = (await caller.connect()).headers["Visavis-Call"]
    for path in (f"/whip/{call}", f"/whip/{call}?key=guess", f"/whip/{call}?key=%C3%A9"):
        assert_problem(await server.http.delete(path), 403)
        assert_problem(await server.http.patch(path, content="x", headers=FRAGMENT), 403)
    assert_problem(await server.http.delete(f"/whip/{server.ready()}"), 404)
    assert call in server.calls


@pytest.mark.parametrize("path", ["/", "/static/theme.css", "/healthz", "/metrics", "/calls/none"])
async def test_every_answer_carries_the_security_headers(start: Start, path: str) -> None:
    server = await start()
    response = await server.http.get(path)
    assert "default-src 'self'" in response.headers["Content-Security-Policy"]
    assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_pages_and_health_are_served(start: Start) -> None:
    server = await start()
    call = server.ready()
    for path in ("/", f"/c/{call}"):
        page = await server.http.get(path)
        assert page.status_code == 200 and "<title>" in page.text
    health = (await server.http.get("/healthz")).json()
    assert (health["status"], health["engine"], health["calls"]) == ("ok", "bar", 1)
    assert (await server.http.get("/static/../stream/app.py")).status_code == 404
    assert (await server.http.get("/static/%2e%2e/stream/app.py")).status_code == 404


@pytest.mark.parametrize(
    "path", ["/", "/c/ready-0", "/static/theme.css", "/favicon.ico", "/healthz", "/calls/ready-0"]
)
async def test_what_can_be_got_can_be_asked_for_by_head(start: Start, path: str) -> None:
    server = await start()
    server.ready()
    head, got = await server.http.head(path), await server.http.get(path)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("Content-Type", "Content-Length", "Content-Security-Policy"):
        assert head.headers[name] == got.headers[name]
    assert (await server.http.head("/c/none")).status_code == 404
    assert (await server.http.head("/whip")).status_code == 405


@pytest.mark.parametrize("path", ["/c/", "/c", "/nope", "/static/nope", "/c/a/b"])
async def test_browsers_get_a_page_for_a_link_that_leads_nowhere(start: Start, path: str) -> None:
    server = await start()
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    page = await server.http.get(path, headers=browser)
    assert page.status_code == 404
    assert page.headers["Content-Type"].startswith("text/html") and "<title>" in page.text
    assert_problem(await server.http.get(path), 404)


async def test_options_say_what_is_taken_and_let_no_other_origin_in(start: Start) -> None:
    server = await start()
    preflight = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    for path in ("/whip", "/whep/none"):
        response = await server.http.options(path, headers=preflight)
        assert (response.status_code, response.content) == (204, b"")
        assert response.headers["Accept-Post"] == "application/sdp"
        assert response.headers["Allow"] == "OPTIONS, POST"
        assert not [name for name in response.headers if name.startswith("access-control")]
    for path in ("/whip/none", "/whep/none/none"):
        response = await server.http.options(path, headers=preflight)
        assert response.status_code == 204
        assert response.headers["Accept-Patch"] == "application/trickle-ice-sdpfrag"
        assert not [name for name in response.headers if name.startswith("access-control")]


async def test_h264_comes_first_and_playout_is_immediate(start: Start) -> None:
    server = await start()
    receiver = await server.receiver(server.ready())
    await receiver.watch()
    assert receiver.response is not None
    lines = receiver.response.text.splitlines()
    first = next(line for line in lines if line.startswith("m=video")).split()[3]
    assert f"a=rtpmap:{first} H264/90000" in lines
    assert any("profile-level-id=42e01f" in line for line in lines if f"fmtp:{first}" in line)
    assert any("playout-delay" in line for line in lines)
