from __future__ import annotations

import inspect

import aioice.ice
import pytest
from aiortc import RTCIceServer

from stream import cli, offer, patches
from stream.ice_servers import (
    IceServer,
    check,
    chosen,
    chosen_secret,
    credentials,
    fresh,
    from_text,
)
from stream.patches import turn_servers
from stream.settings import Settings

TURN = IceServer("turn:turn.example.org")
OWN = IceServer("turn:own.example.org", "me", "word")


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("stun:stun.example.org", True),
        ("stun:192.0.2.1:3478", True),
        ("stuns:stun.example.org", False),
        ("turn:turn.example.org", True),
        ("turn:turn.example.org:80?transport=tcp", True),
        ("turn:turn.example.org?transport=udp", True),
        ("turns:turn.example.org:443?transport=tcp", True),
        ("turns:turn.example.org", True),
        ("turns:turn.example.org?transport=udp", False),
        ("turn:[2001:db8::1]:3478", False),
    ],
)
def test_addresses_that_browsers_know_and_whether_aiortc_does(url: str, here: bool) -> None:
    server = IceServer(url)
    assert server.works_here is here
    if here:
        attempt = turn_servers.Attempt([RTCIceServer(url, "me", "word")])
        assert len(attempt.servers) == server.relays


@pytest.mark.parametrize(
    "url",
    [
        "turn.example.org",
        "turn:",
        "turn://turn.example.org",
        "turn:turn.example.org:0",
        "turn:turn.example.org:70000",
        "turn:turn.example.org?transport=sctp",
        "turn:turn.example.org?x=1",
        "turn:2001:db8::1",
        "stun:stun.example.org?transport=udp",
        "http:turn.example.org",
    ],
)
def test_what_is_no_address_is_refused_in_one_line(url: str) -> None:
    with pytest.raises(ValueError) as wrong:
        IceServer(url)
    assert "\n" not in str(wrong.value)


@pytest.mark.parametrize(
    ("url", "user", "password"),
    [("turn:h", "u", "p\u20ac"), ("turn:h", "u", "p\nX: 1"), ("turn:\u4f8b.jp", "u", "p")],
)
def test_what_no_header_can_hold_is_refused_unseen(url: str, user: str, password: str) -> None:
    with pytest.raises(ValueError, match="ASCII") as refused:
        IceServer(url, user, password)
    assert "u20ac" not in str(refused.value) and "X: 1" not in str(refused.value)
    assert IceServer("turn:h", "m\u00fcller", "p").credential == "p"


def test_a_password_before_an_at_sign_is_not_shown() -> None:
    with pytest.raises(ValueError) as wrong:
        IceServer("turn:me:word@turn.example.org")
    assert "word@" not in str(wrong.value)


@pytest.mark.parametrize(
    "text", ["turn:a.example,me", "turn:a.example,,word", "stun:a.example,me,word"]
)
def test_half_a_user_is_refused(text: str) -> None:
    with pytest.raises(ValueError) as wrong:
        from_text(text)
    assert "word" not in str(wrong.value).replace("password", "")


def test_passwords_are_those_of_coturn() -> None:
    # printf 1700000000:ada | openssl dgst -sha1 -hmac north -binary | base64
    user, password = credentials("north", "ada", 1700000000)
    assert user == "1700000000:ada"
    assert password == "ndZ88ryT1whVxdkcRLepT9D1MpM="


def test_each_connection_gets_a_new_password_that_holds_as_long_as_said() -> None:
    stun = IceServer("stun:stun.example.org")
    first = fresh((stun, TURN, OWN), "secret", 600, 1000.5)
    second = fresh((stun, TURN, OWN), "secret", 600, 1000.5)
    assert first[0] == stun and first[2] == OWN
    assert first[1].username is not None and first[1].username.startswith("1600:")
    assert first[1].username != second[1].username
    assert fresh((stun, OWN), None, 600, 1000.5) == (stun, OWN)


def test_what_is_named_may_come_from_the_environment() -> None:
    environment = {
        "VISAVIS_ICE_SERVERS": " stun:a.example  turn:b.example,me,word ",
        "VISAVIS_TURN_SECRET": "north",
    }
    assert [s.url for s in chosen([], environment)] == ["stun:a.example", "turn:b.example"]
    assert chosen([TURN], environment) == (TURN,)
    assert chosen([], {}) == ()
    assert chosen_secret(None, environment) == "north"
    assert chosen_secret("south", environment) == "south"
    assert chosen_secret(None, {"VISAVIS_TURN_SECRET": ""}) is None


@pytest.mark.parametrize(
    ("servers", "policy", "secret", "words"),
    [
        ((), "all", "north", "no TURN server to use it with"),
        ((IceServer("stun:a.example"), OWN), "all", "north", "no TURN server to use it with"),
        ((TURN,), "all", " ", "secret is empty"),
        ((TURN,), "all", None, "needs a user name"),
        ((), "relay", None, "needs a TURN server"),
        ((IceServer("stun:a.example"),), "relay", None, "needs a TURN server"),
        ((IceServer("turn:[::1]"),), "relay", "north", "that this server can use"),
        ((OWN,), "host", None, "must be one of"),
    ],
)
def test_what_does_not_fit_together_is_one_line(
    servers: tuple[IceServer, ...], policy: str, secret: str | None, words: str
) -> None:
    with pytest.raises(ValueError, match=words) as wrong:
        check(servers, policy, secret, 3600)
    assert "north" not in str(wrong.value) and "\n" not in str(wrong.value)


def test_settings_that_are_printed_hold_no_secret() -> None:
    settings = Settings(ice_servers=(TURN, OWN), turn_secret="north")
    assert "north" not in repr(settings) and "word" not in repr(settings)


ARGUMENTS: list[tuple[list[str], dict[str, str], str]] = [
    (["--turn-secret", "north"], {}, "no TURN server to use it with"),
    ([], {"VISAVIS_TURN_SECRET": "north"}, "no TURN server to use it with"),
    (["--ice-server", "turn:a.example", "--turn-secret", ""], {}, "secret is empty"),
    (["--ice-policy", "relay"], {}, "needs a TURN server"),
    (["--ice-policy", "direct"], {}, "invalid choice"),
    (["--turn-lifetime", "5"], {}, "number from 60 to"),
    ([], {"VISAVIS_ICE_SERVERS": "a.example"}, "is written stun:HOST"),
]


@pytest.mark.parametrize(("arguments", "environment", "words"), ARGUMENTS)
def test_a_mistake_on_the_command_line_is_one_line(
    arguments: list[str],
    environment: dict[str, str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cli.main(["serve", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert words in err and "north" not in err


def test_the_command_line_reaches_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Settings] = []
    monkeypatch.setattr("stream.serving.run", lambda settings, demo: seen.append(settings))
    monkeypatch.setenv("VISAVIS_TURN_SECRET", "north")
    servers = ["--ice-server", "stun:a.example", "--ice-server", "turns:b.example?transport=tcp"]
    options = ["--ice-policy", "relay", "--turn-lifetime", "120"]
    assert cli.main(["serve", *servers, *options]) == 0
    (settings,) = seen
    assert [s.url for s in settings.ice_servers] == [
        "stun:a.example",
        "turns:b.example?transport=tcp",
    ]
    assert (settings.turn_secret, settings.turn_lifetime) == ("north", 120)
    assert settings.relay_only


@pytest.mark.parametrize("kind", ["host", "srflx", "relay"])
def test_a_privacy_mode_takes_relayed_candidates_only(kind: str) -> None:
    candidate = f"1 1 udp 2122260223 192.0.2.1 5000 typ {kind}"
    fragment = f"a=mid:0\r\na=candidate:{candidate}\r\n"
    assert offer.parse_fragment(fragment).candidates == ((("0", candidate)),)
    kept = offer.parse_fragment(fragment, relay_only=True)
    assert (len(kept.candidates), kept.count) == (kind == "relay", 1)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TimeoutError(), "it does not answer"),
        (ConnectionRefusedError(111, "Connection refused"), "connection refused"),
        (OSError(-2, "Name or service not known"), "name or service not known"),
        (ValueError("word"), "ValueError"),
    ],
)
def test_why_a_server_gave_no_address_is_said_in_words(error: Exception, words: str) -> None:
    assert turn_servers.in_words(error) == words


async def test_aioice_asks_for_its_relay_by_the_patched_name() -> None:
    patches.apply()
    assert getattr(aioice.ice, turn_servers.NAME) is turn_servers._relayed_candidate
    assert f"{turn_servers.NAME}(\n" in inspect.getsource(aioice.ice.Connection)
    wanted = inspect.signature(turn_servers._original).parameters
    (server,) = turn_servers.Attempt([RTCIceServer("turn:a.example", "me", "word")]).servers
    assert set(server) < set(wanted)
