"""The page where media may only go through a relay: a real TURN server, and one that refuses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Route, expect

from stream.ice_servers import IceServer
from tests.browser.bar_server import SlowEngine, serving
from tests.browser.chromium import Open
from tests.browser.receiver_page import ReceiverPage
from tests.stream.turn_server import SECRET, turn_server

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

FAILED_MS = 60_000
"""The page tries four times."""

KEEP = """
const Native = RTCPeerConnection;
window.RTCPeerConnection = class extends Native {
  constructor(...given) { super(...given); window.kept = this; }
};
"""
"""Keeps the page's newest connection where a test finds it."""

WAY = """async () => {
  const report = await kept.getStats();
  const all = [...report.values()];
  const { selectedCandidatePairId } = all.find(({ type }) => type === "transport");
  const pair = report.get(selectedCandidatePairId);
  const own = all.filter(({ type }) => type === "local-candidate");
  return {
    policy: kept.getConfiguration().iceTransportPolicy,
    local: report.get(pair.localCandidateId).candidateType,
    remote: report.get(pair.remoteCandidateId).candidateType,
    others: own.filter(({ candidateType }) => candidateType !== "relay").length,
  };
}"""
"""What media goes over, and how many candidates the page has that are not relayed."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with the call `demo` that lets media go through a TURN server only."""
    with turn_server(tmp_path_factory.mktemp("turn")) as turn:
        servers = (IceServer(f"turn:{turn}"), IceServer(f"turn:{turn}?transport=tcp"))
        policy = {"ice_servers": servers, "ice_policy": "relay", "turn_secret": SECRET}
        with serving(SlowEngine(), **policy) as address:
            yield address


def test_a_page_that_is_told_to_uses_the_relay_alone(open_page: Open, server: str) -> None:
    page = open_page()
    page.add_init_script(KEEP)
    ReceiverPage(page, f"{server}/c/demo")
    found = page.evaluate(WAY)
    assert found == {"policy": "relay", "local": "relay", "remote": "relay", "others": 0}


def test_a_page_without_a_relay_says_so(open_page: Open, server: str) -> None:
    def spoil(route: Route) -> None:
        answer = route.fetch()
        link = answer.headers["link"].replace('credential="', 'credential="not')
        route.fulfill(response=answer, headers={**answer.headers, "link": link})

    page = open_page()
    page.route("**/whep/demo", spoil)
    page.goto(f"{server}/c/demo")
    page.wait_for_selector('#receiver[data-state="failed"]', timeout=FAILED_MS)
    expect(page.locator("body")).to_contain_text("your browser cannot reach it")
