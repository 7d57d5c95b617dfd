from __future__ import annotations

from typing import Any

import pytest

from stream.ice_servers import IceServer
from stream.settings import Settings
from stream.signalling import ice_server_link


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": -1},
        {"port": 70000},
        {"size": 300},
        {"fps": 0},
        {"render_threads": 0},
        {"max_batch": 0},
        {"device": "tpu"},
        {"max_calls": 0},
        {"max_bitrate": 1000},
        {"media_addresses": "everywhere"},
        {"admission": "maybe"},
        {"avatar": "never"},
        {"encoder": "av1"},
        {"live_fps": 0},
        {"room_size": 0},
        {"resume_timeout": -1},
        {"silence_timeout": 0},
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Settings(**wrong)


@pytest.mark.parametrize(
    ("host", "only_here"),
    [
        ("127.0.0.1", True),
        ("127.8.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("192.0.2.1", False),
        ("visavis.example", False),
    ],
)
def test_who_can_open_a_call(host: str, only_here: bool) -> None:
    assert Settings(host=host).listens_on_loopback is only_here


@pytest.mark.parametrize("url", ["", "stun:", "http://example.org", 'stun:a"b', "stun:a\r\nx: y"])
def test_what_is_no_ice_server_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        IceServer(url)


def test_a_turn_server_needs_credentials() -> None:
    with pytest.raises(ValueError, match="needs a user name"):
        Settings(ice_servers=(IceServer("turn:turn.example.org"),))


def test_ice_servers_become_links() -> None:
    assert ice_server_link(IceServer("stun:a.example")) == '<stun:a.example>; rel="ice-server"'
    assert ice_server_link(IceServer("turn:a.example", "u", 'p"\\')) == (
        '<turn:a.example>; rel="ice-server"; username="u"; credential="p\\"\\\\"; '
        'credential-type="password"'
    )
