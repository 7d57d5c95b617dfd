from __future__ import annotations

import pytest

from stream.offer import BadSdp, Video, ice_username, is_usable_candidate, parse_fragment, prepare

HOST = "1 1 udp 2122260223 192.0.2.1 5000 typ host"
HIDDEN = "2 1 udp 2122260223 1b2c3d4e-0000-4000-8000-0123456789ab.local 5001 typ host"
TCP = "3 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active"


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
    text = offer(HOST) + direction + "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"
    for wanted in Video:
        if wanted in does:
            prepare(text, wanted)
        else:
            with pytest.raises(BadSdp, match=f"does not {wanted.value} video"):
                prepare(text, wanted)


def test_the_ice_user_name_is_found() -> None:
    assert ice_username(offer()) == "abcd"
    assert ice_username("v=0") is None


@pytest.mark.parametrize("candidate", ["", "1 1 udp", HIDDEN, TCP])
def test_unusable_candidates(candidate: str) -> None:
    assert not is_usable_candidate(candidate)


def test_a_fragment_tells_the_section_of_each_candidate() -> None:
    fragment = parse_fragment(
        "a=ice-ufrag:abcd\r\na=ice-pwd:x\r\nm=video 9 RTP/AVP 0\r\na=mid:0\r\n"
        f"a=candidate:{HOST}\r\na=candidate:{HIDDEN}\r\n"
        f"m=application 9 x\r\na=mid:1\r\na=candidate:{HOST}\r\na=end-of-candidates\r\n"
    )
    assert fragment.candidates == (("0", HOST), ("1", HOST))
    assert fragment.username == "abcd"


def test_the_end_of_candidates_alone_is_a_fragment() -> None:
    assert parse_fragment("a=end-of-candidates").candidates == ()


@pytest.mark.parametrize("text", ["", "hello", "a=candidate:1 1 udp", "a=end\0-of-candidates"])
def test_what_is_no_fragment_is_refused(text: str) -> None:
    with pytest.raises(BadSdp):
        parse_fragment(text)
