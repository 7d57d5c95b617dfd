from __future__ import annotations

import pytest

from stream.offer import (
    BadSdp,
    Video,
    ice_username,
    media_ids,
    parse_fragment,
    prepare,
    usable_candidate,
)

HOST = "1 1 udp 2122260223 192.0.2.1 5000 typ host"
HIDDEN = "2 1 udp 2122260223 1b2c3d4e-0000-4000-8000-0123456789ab.local 5001 typ host"
TCP = "3 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active"
RTCP = "4 2 udp 2122260222 192.0.2.1 5002 typ host"
DATA = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=sctp-port:5000\r\na=mid:data\r\n"


def offer(*candidates: str, kind: str = "video") -> str:
    lines = ["v=0", "o=- 1 1 IN IP4 0.0.0.0", "s=-", "t=0 0", f"m={kind} 9 UDP/TLS/RTP/SAVPF 97"]
    lines += ["a=ice-ufrag:abcd", "a=fingerprint:sha-256 00:11"]
    lines += [f"a=candidate:{candidate}" for candidate in candidates]
    return "\r\n".join([*lines, "a=end-of-candidates"]) + "\r\n"


def test_only_candidates_that_can_be_checked_are_left() -> None:
    prepared = prepare(offer(HOST, HIDDEN, TCP), Video.SENT)
    assert [line for line in prepared.splitlines() if "candidate" in line] == [
        f"a=candidate:{HOST}"
    ]


def test_an_offer_without_candidates_is_an_offer() -> None:
    assert "m=video" in prepare(offer(), Video.SENT)


def test_lines_may_end_in_any_way() -> None:
    text = offer(HOST)
    assert prepare(text.replace("\r\n", "\n"), Video.SENT) == prepare(text, Video.SENT)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "v=0"),
        ("hello", "v=0"),
        ("<html>", "v=0"),
        (offer().replace("v=0", "v=0\0"), "zero byte"),
        (offer(kind="audio"), "no video section"),
        (offer().replace("a=fingerprint:sha-256 00:11\r\n", ""), "fingerprint"),
        (offer(*[HOST] * 65), "candidates"),
        (offer() + "a=x\n" * 3000, "lines"),
        (offer() + "a=group:BUNDLE 0\r\n", "bundles"),
        (offer() + "m=audio 9 UDP/TLS/RTP/SAVPF 0\n" * 20, "media sections"),
        (offer() + "m=audio 9 UDP/TLS/RTP/SAVPF 0\n", "same id"),
        (offer() + "m=text 9 UDP/TLS/RTP/SAVPF 0\n", "not audio, video or application"),
        (offer() + DATA + DATA.replace("data", "more"), "more than one application"),
        (offer() + "a=mid:0\r\na=mid:1\r\n", "m= line is missing"),
        (offer() + "a=mid:0\r\na=group:BUNDLE 0 0\r\n", "with itself"),
        (offer() + DATA.replace("a=sctp-port:5000\r\n", ""), "no SCTP port"),
        (offer() + DATA.replace("5000", "many"), "SCTP port is not"),
        (offer() + "a=fmtp:97 x=1\r\n", "a=fmtp names payload type 97"),
        (offer() + "a=rtcp-fb:97 nack\r\n", "a=rtcp-fb names payload type 97"),
        (offer() + "a=rtpmap:300 VP8/90000\r\n", "payload type is not"),
        (offer() + "a=extmap:x urn:x\r\n", "header extension"),
        (offer(HOST.replace("192.0.2.1", "example.org")), "not an IP address"),
    ],
)
def test_what_is_no_offer_is_refused_with_a_reason(text: str, why: str) -> None:
    with pytest.raises(BadSdp, match=why):
        prepare(text, Video.SENT)


@pytest.mark.parametrize(
    ("direction", "does"),
    [
        ("a=sendrecv\r\n", {Video.SENT, Video.RECEIVED}),
        ("a=sendonly\r\n", {Video.SENT}),
        ("a=recvonly\r\n", {Video.RECEIVED}),
        ("a=inactive\r\n", set()),
        ("", {Video.SENT, Video.RECEIVED}),
    ],
)
def test_an_offer_must_do_with_video_what_it_is_for(direction: str, does: set[Video]) -> None:
    text = offer(HOST) + direction + DATA
    for wanted in Video:
        if wanted in does:
            prepare(text, wanted)
        else:
            with pytest.raises(BadSdp, match=f"does not {wanted.value} video"):
                prepare(text, wanted)


def test_the_ice_user_name_is_found() -> None:
    assert ice_username(offer()) == "abcd"
    assert ice_username("v=0") is None


def test_what_belongs_together_is_let_through() -> None:
    text = offer(HOST) + "a=mid:0\r\na=rtpmap:97 VP8/90000\r\na=fmtp:97 x=1\r\na=rtcp-fb:* nack\r\n"
    text = text.replace("t=0 0", "t=0 0\r\na=group:BUNDLE 0 data") + DATA
    assert prepare(text, Video.SENT).splitlines()[-1] == "a=mid:data"
    assert media_ids(text) == ["0", "data"]


def test_ids_of_header_extensions_that_only_keep_a_place_are_left_out() -> None:
    text = offer() + "a=extmap:3/sendonly urn:x\r\na=extmap:4100 urn:y\r\n"
    prepared = prepare(text, Video.SENT)
    assert "urn:x" in prepared and "urn:y" not in prepared


@pytest.mark.parametrize("candidate", [HIDDEN, TCP, RTCP, HOST.replace("host", "prflx")])
def test_candidates_that_are_of_no_use_here(candidate: str) -> None:
    assert usable_candidate(candidate) is None


@pytest.mark.parametrize("address", ["192.0.2.1", "127.0.0.1", "2001:db8::1"])
@pytest.mark.parametrize("kind", ["host", "srflx", "relay"])
def test_candidates_are_cut_to_what_is_needed(address: str, kind: str) -> None:
    needed = f"1 1 UDP 2122260223 {address} 5000 typ {kind}"
    assert usable_candidate(f"{needed} raddr 0.0.0.0 rport x generation 0") == needed


NONSENSE = [
    "",
    "1 1 udp",
    "1 1 udp 2122260223 192.0.2.1 5000 type host",
    "1 1 udp 2122260223 192.0.2.1 5000 typ elsewhere",
    "1 0 udp 2122260223 192.0.2.1 5000 typ host",
    "1 one udp 2122260223 192.0.2.1 5000 typ host",
    "1 1 udp -1 192.0.2.1 5000 typ host",
    "1 1 udp 99999999999 192.0.2.1 5000 typ host",
    "1 1 udp 2122260223 192.0.2.1 0 typ host",
    "1 1 udp 2122260223 192.0.2.1 65536 typ host",
    "1 1 udp 2122260223 192.0.2.1 \u0665 typ host",
    "1 1 udp 2122260223 192.0.2 5000 typ host",
    "1 1 udp 2122260223 metadata.example 5000 typ host",
    "1 1 udp 2122260223 224.0.0.251 5353 typ host",
    "1 1 udp 2122260223 0.0.0.0 5000 typ host",
    "1 1 udp 2122260223 fe80::1%eth0 5000 typ host",
]


@pytest.mark.parametrize("candidate", NONSENSE)
def test_what_is_no_candidate_is_refused(candidate: str) -> None:
    with pytest.raises(BadSdp, match="candidate"):
        usable_candidate(candidate)


def test_a_fragment_tells_the_section_of_each_candidate() -> None:
    fragment = parse_fragment(
        "a=ice-ufrag:abcd\r\na=ice-pwd:x\r\nm=video 9 RTP/AVP 0\r\na=mid:0\r\n"
        f"a=candidate:{HOST}\r\na=candidate:{HIDDEN}\r\n"
        f"m=application 9 x\r\na=mid:1\r\na=candidate:{HOST}\r\na=end-of-candidates\r\n"
    )
    assert fragment.candidates == (("0", HOST), ("1", HOST))
    assert (fragment.count, fragment.username) == (3, "abcd")


def test_a_fragment_without_a_section_is_about_the_first() -> None:
    assert parse_fragment(f"a=candidate:{HOST}").candidates == ((None, HOST),)


def test_the_end_of_candidates_alone_is_a_fragment() -> None:
    assert parse_fragment("a=end-of-candidates").candidates == ()


@pytest.mark.parametrize("text", ["", "hello", "a=candidate:1 1 udp", "a=end\0-of-candidates"])
def test_what_is_no_fragment_is_refused(text: str) -> None:
    with pytest.raises(BadSdp):
        parse_fragment(text)
