"""The pages without a camera: wrong links, words for errors, keys, touch, phones, themes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Route, expect

from tests.browser.chromium import Open, Watch
from tests.browser.receiver_page import ReceiverPage, until

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

PHONE = {"width": 390, "height": 844}


def problem(status: int, detail: str, **headers: str) -> Callable[[Route], None]:
    """Answers requests with a problem document."""

    def answer(route: Route) -> None:
        route.fulfill(
            status=status,
            headers={"Content-Type": "application/problem+json", **headers},
            body=json.dumps({"title": "Refused by the test", "detail": detail}),
        )

    return answer


# ---- links that lead nowhere ----


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_unknown_call_has_a_page_with_words(
    open_page: Open, server: str, screenshots: Path, scheme: str
) -> None:
    page = open_page(color_scheme=scheme)
    response = page.goto(f"{server}/c/no-such-call")
    assert response is not None and response.status == 404
    expect(page.get_by_role("heading")).to_have_text("There is no call here.")
    page.screenshot(path=screenshots / f"not-found-{scheme}.png")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Start a call of your own")).to_be_focused()
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    bright = sum(int(v) for v in background.removeprefix("rgb(").removesuffix(")").split(",")) > 384
    assert bright is (scheme == "light")


def test_odd_links_are_just_unknown(open_page: Open, server: str) -> None:
    page = open_page()
    for call in ("..%2f..%2fetc%2fpasswd", "%00", "x" * 3000, "<b>", "%F0%9F", "demo%20"):
        response = page.request.get(f"{server}/c/{call}")
        assert response.status == 404, call
        assert "there is no" in response.text().lower() or "not offered" in response.text(), call


def test_call_that_ended_meanwhile(open_page: Open, server: str) -> None:
    page = open_page()
    page.route("**/calls/demo", problem(404, "gone"))
    page.goto(f"{server}/c/demo")
    expect(page.locator("#headline")).to_have_text("This call has ended.")
    expect(page.get_by_role("link", name="Start a call of your own")).to_be_visible()


# ---- waiting and reconnecting ----


def test_receiver_waits_until_the_caller_is_live(
    open_page: Open, server: str, screenshots: Path
) -> None:
    page = open_page()
    waiting = json.dumps({"call": "demo", "state": "waiting", "receivers": 0})
    page.route(
        "**/calls/demo", lambda r: r.fulfill(content_type="application/json", body=waiting), times=1
    )
    page.route("**/whep/demo", problem(409, "not yet", **{"Retry-After": "1"}), times=1)
    page.goto(f"{server}/c/demo")
    expect(page.locator("#headline")).to_have_text("Almost there.")
    page.screenshot(path=screenshots / "receiver-waiting.png")
    expect(page.locator("#receiver")).to_have_attribute("data-state", "live", timeout=30_000)


def test_server_that_does_not_answer(open_page: Open, server: str) -> None:
    page = open_page()
    asked = []
    page.route("**/calls/demo", lambda route: (asked.append(1), route.abort()))
    page.goto(f"{server}/c/demo")
    expect(page.locator("#detail")).to_contain_text("Trying again…")
    expect(page.locator("#headline")).to_have_text("The server does not answer.", timeout=45_000)
    assert 6 <= len(asked) <= 9  # at once, after 1 and 2 seconds, then every 4 up to half a minute
    page.unroute("**/calls/demo")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#receiver")).to_have_attribute("data-state", "live", timeout=30_000)


def test_lost_connection_is_taken_up_again(open_page: Open, server: str, screenshots: Path) -> None:
    page = open_page()
    joined = []
    page.on("response", lambda r: r.status == 201 and joined.append(r.headers["location"]))
    receiver = ReceiverPage(page, f"{server}/c/demo")
    receiver.drag(20)
    receiver.settle()
    page.evaluate("(path) => fetch(path, { method: 'DELETE' })", joined[0])
    expect(page.locator("#banner")).to_have_text("Connection lost. Trying again…")
    # The last picture stays in sight, instead of the black that a lost video turns to.
    page.screenshot(path=screenshots / "receiver-reconnecting.png")
    still = "document.getElementById('still')"
    middle = f"[...{still}.getContext('2d').getImageData(100, 100, 56, 56).data]"
    assert sum(page.evaluate(middle)) / (56 * 56) > 255 + 3 * 40
    expect(page.locator("#receiver")).to_have_attribute("data-state", "live", timeout=30_000)
    expect(page.locator("#banner")).to_be_hidden()
    receiver.settle()  # the new connection shows the view that was chosen before
    assert receiver.view()[0] == pytest.approx(20, abs=1.5)
    assert len(joined) == 2


def test_page_that_comes_back_from_the_history_connects_anew(open_page: Open, server: str) -> None:
    page = open_page()
    receiver = ReceiverPage(page, f"{server}/c/demo")
    page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))")
    page.wait_for_timeout(300)
    page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    assert receiver.stats()["state"] == "connecting"
    expect(page.locator("#receiver")).to_have_attribute("data-state", "live", timeout=12_000)


def test_page_in_the_background_stays_connected(open_page: Open, server: str) -> None:
    page = open_page()
    # Headless pages are always in front: what a browser does with one that is not.
    page.add_init_script(
        """
        const { requestVideoFrameCallback: request } = HTMLVideoElement.prototype;
        window.test = { hidden: true, kept: [] };
        Object.defineProperty(Document.prototype, "hidden", { get: () => test.hidden });
        HTMLVideoElement.prototype.requestVideoFrameCallback = function (told) {
          const tell = (...facts) => (test.hidden ? test.kept.push(told) : told(...facts));
          return request.call(this, tell);
        };
        test.show = function () {
          test.hidden = false;
          const video = document.querySelector("video");
          test.kept.splice(0).forEach((told) => video.requestVideoFrameCallback(told));
        };
        """
    )
    joined = []
    page.on("response", lambda r: r.status == 201 and joined.append(r.url))
    page.goto(f"{server}/c/demo")
    page.wait_for_timeout(18_000)  # a picture is waited for for 15 s
    assert page.evaluate("visavis.stats().state") == "connecting"
    assert len(joined) == 1
    page.evaluate("test.show()")
    expect(page.locator("#receiver")).to_have_attribute("data-state", "live")
    assert len(joined) == 1


# ---- looking around ----


def test_view_by_keys_alone(open_page: Open, server: str, watch: Watch) -> None:
    page = open_page()
    receiver = ReceiverPage(page, f"{server}/c/demo")
    page.keyboard.press("Tab")
    expect(page.locator("#stage")).to_be_focused()
    receiver.press("ArrowLeft", 2)
    receiver.press("ArrowDown")
    receiver.press("+", 2)
    receiver.settle()
    assert receiver.view() == pytest.approx((-6, -3, 1.12**2), abs=0.01)
    receiver.reset()

    page.keyboard.down("ArrowRight")  # held: goes on until the limit
    until(page, "visavis.stats().view.yaw === 60")
    page.keyboard.up("ArrowRight")
    receiver.reset()

    receiver.press("s")
    expect(page.locator("#panel")).to_be_hidden()
    receiver.press("d")
    expect(page.locator("#refine")).to_have_attribute("aria-pressed", "false")
    names = ["Look from the front", "Raw", "Figures", "Full screen"]
    page.keyboard.press("Tab")  # the brand
    for name in names:
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name=name)).to_be_focused()
    assert watch.errors == []


def test_plus_ends_when_shift_comes_up_first(open_page: Open, server: str) -> None:
    """ "+" goes down, "=" comes up: it is one key."""
    page = open_page()
    receiver = ReceiverPage(page, f"{server}/c/demo")
    keys = page.keyboard
    for key in ("Shift", "Equal"):
        keys.down(key)
    for key in ("Shift", "Equal"):
        keys.up(key)
    page.wait_for_timeout(500)  # a key held for so long would have moved on
    receiver.settle()
    assert receiver.view()[2] == pytest.approx(1.12, abs=0.001)
    receiver.press("-")
    receiver.settle()
    assert receiver.view()[2] == pytest.approx(1, abs=0.001)

    keys.down("Equal")  # held, and turned back meanwhile
    until(page, "visavis.stats().view.zoom > 1.3")
    receiver.reset()
    page.wait_for_timeout(500)
    assert receiver.view() == (0, 0, 1)
    keys.up("Equal")
    receiver.press("+")
    receiver.settle()
    assert receiver.view()[2] == pytest.approx(1.12, abs=0.001)


def test_keys_end_when_their_keyup_is_lost(open_page: Open, server: str) -> None:
    """macOS sends no keyup of a key held together with Meta."""
    page = open_page()
    receiver = ReceiverPage(page, f"{server}/c/demo")
    page.keyboard.down("ArrowRight")
    until(page, "visavis.stats().view.yaw > 5")
    page.evaluate('dispatchEvent(new KeyboardEvent("keydown", { key: "Meta", metaKey: true }))')
    receiver.settle()
    yaw = receiver.view()[0]
    assert yaw < 60
    page.wait_for_timeout(300)
    assert receiver.view()[0] == yaw
    for kind in ("keydown", "keyup"):  # pressed anew: one step
        key = '{ key: "ArrowRight", code: "ArrowRight" }'
        page.evaluate(f'dispatchEvent(new KeyboardEvent("{kind}", {key}))')
    receiver.settle()
    assert receiver.view()[0] == pytest.approx(min(60, yaw + 3), abs=0.01)


def test_reduced_motion_is_respected(open_page: Open, server: str) -> None:
    receiver = ReceiverPage(open_page(reduced_motion="reduce"), f"{server}/c/demo")
    jumped = receiver.page.evaluate(
        """() => {
          visavis.motion.drag(-0.3, 0);
          dispatchEvent(new KeyboardEvent("keydown", { key: "r" }));
          return visavis.stats().view.yaw; // no frame has passed in between
        }"""
    )
    assert jumped == 0


def test_fingers_drag_pinch_and_tap(open_page: Open, server: str, screenshots: Path) -> None:
    page = open_page(viewport=PHONE, has_touch=True, is_mobile=True, device_scale_factor=2)
    receiver = ReceiverPage(page, f"{server}/c/demo")
    expect(page.locator("#hint")).to_contain_text("Pinch to zoom")
    page.wait_for_timeout(800)
    page.screenshot(path=screenshots / "receiver-phone.png")
    devtools = page.context.new_cdp_session(page)

    def touch(kind: str, *fingers: tuple[float, float]) -> None:
        points = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(fingers)]
        devtools.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})

    touch("Start", (200, 400))
    for x in range(200, 300, 10):
        touch("Move", (x, 400))
    page.wait_for_timeout(120)
    touch("End")
    receiver.settle()
    yaw, pitch, zoom = receiver.view()
    assert yaw < -8 and abs(pitch) < 1 and zoom == 1  # the face follows the finger to the right

    touch("Start", (150, 400), (250, 400))
    for d in range(0, 60, 6):
        touch("Move", (150 - d / 2, 400), (250 + d / 2, 400))
    touch("End")
    receiver.settle()
    assert receiver.view()[2] == pytest.approx(1.54, abs=0.05)

    for _ in range(2):
        touch("Start", (195, 500))
        touch("End")
    until(page, "visavis.stats().view.yaw === 0 && visavis.stats().view.zoom === 1")


def test_viewpoints_are_thinned_to_the_screen(open_page: Open, server: str) -> None:
    """However many movements: one message per animation frame, the newest only, counted up."""
    page = open_page()
    page.add_init_script(
        """
        window.said = [];
        window.frames_ = 0;
        const send = RTCDataChannel.prototype.send;
        RTCDataChannel.prototype.send = function (text) {
          if (this.label === "viewpoint") said.push([frames_, JSON.parse(text)]);
          if (this.label === "viewpoint") window.channel = [this.ordered, this.maxRetransmits];
          return send.call(this, text);
        };
        const count = () => { frames_ += 1; requestAnimationFrame(count); };
        requestAnimationFrame(count);
        """
    )
    receiver = ReceiverPage(page, f"{server}/c/demo")
    page.evaluate(
        """async () => {
          const stage = document.getElementById("stage");
          const init = { pointerId: 7, pointerType: "mouse", clientY: 400 };
          const move = (type, x) =>
            stage.dispatchEvent(new PointerEvent(type, { ...init, clientX: x }));
          move("pointerdown", 400);
          for (let i = 0; i < 600; i++) {
            move("pointermove", 400 + i / 3);
            if (i % 20 === 0) await new Promise((done) => setTimeout(done, 5));
          }
          await new Promise((done) => setTimeout(done, 100));
          move("pointerup", 600);
        }"""
    )
    receiver.settle()
    said = page.evaluate("said")
    frames = [frame for frame, _ in said]
    assert len(frames) == len(set(frames)), "two messages in one animation frame"
    assert 5 < len(said) < 200
    numbers = [message["seq"] for _, message in said]
    assert numbers == sorted(numbers)
    yaw = receiver.view()[0]
    assert said[-1][1]["yaw"] == pytest.approx(yaw, abs=0.01) and yaw < -15
    assert set(said[-1][1]) == {"seq", "yaw", "pitch", "zoom", "roll"}
    assert page.evaluate("channel") == [False, 0]


# ---- the caller's page when something is missing ----


@pytest.mark.parametrize(
    ("error", "headline"),
    [
        ("NotAllowedError", "The camera is blocked."),
        ("NotFoundError", "No camera was found."),
        ("NotReadableError", "The camera is in use."),
        ("TypeError", "The camera did not start."),
    ],
)
def test_camera_errors_in_words(open_page: Open, server: str, error: str, headline: str) -> None:
    page = open_page()
    page.add_init_script(
        "MediaDevices.prototype.getUserMedia = () => "
        f'Promise.reject(new DOMException("for the test", "{error}"));'
    )
    page.goto(server)
    expect(page.locator("#headline")).to_have_text(headline)
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    expect(page.get_by_role("button", name="Start")).to_be_hidden()


def test_insecure_address_in_words(open_page: Open, server: str, screenshots: Path) -> None:
    page = open_page()
    page.add_init_script('Object.defineProperty(window, "isSecureContext", { value: false });')
    page.goto(server)
    expect(page.locator("#headline")).to_have_text("The camera needs a secure address.")
    page.screenshot(path=screenshots / "caller-insecure.png")


@pytest.mark.parametrize(
    ("answer", "headline", "detail"),
    [
        (
            lambda route: route.abort(),
            "The server does not answer.",
            "Visavis is running",
        ),
        (problem(503, "It takes 32 calls at once."), "The server is busy.", "It takes 32 calls"),
        (problem(400, "It has no video section."), "The call could not start.", "no video section"),
    ],
)
def test_call_that_cannot_start(
    open_page: Open, server: str, answer: Callable[[Route], None], headline: str, detail: str
) -> None:
    page = open_page(permissions=["camera"])
    page.route("**/whip", answer)
    page.goto(server)
    page.get_by_role("button", name="Start").click()
    expect(page.locator("#headline")).to_have_text(headline)
    expect(page.locator("#detail")).to_contain_text(detail)
    expect(page.get_by_role("button", name="Start again")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_caller_page_before_the_call(
    open_page: Open, server: str, watch: Watch, screenshots: Path, scheme: str
) -> None:
    page = open_page(permissions=["camera"], color_scheme=scheme)
    page.goto(server)
    expect(page.get_by_role("button", name="Start")).to_be_visible()
    until(page, 'document.getElementById("preview").videoWidth > 0')
    expect(page.get_by_label("Camera", exact=True)).not_to_be_empty()
    assert "avatar of your face" in page.inner_text(".consent")
    # Chromium names its fake camera after the file; no camera is called so.
    page.evaluate('document.querySelector("#device option").textContent = "Built-in camera"')
    page.wait_for_timeout(500)  # the picture fades in
    page.screenshot(path=screenshots / f"caller-ready-{scheme}.png")
    for target in ("#brand", "#device", "#microphone"):
        page.keyboard.press("Tab")
        expect(page.locator(target)).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Start")).to_be_focused()
    assert watch.errors == []


def test_pages_fit_a_phone(open_page: Open, server: str, screenshots: Path) -> None:
    page = open_page(viewport={"width": 360, "height": 700}, permissions=["camera"], is_mobile=True)
    for path in ("/", "/c/demo", "/c/no-such-call"):
        page.goto(server + path)
        page.wait_for_timeout(500)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 360, f"{path} is {wide} px wide"
        small = page.evaluate(
            """() => [...document.querySelectorAll("button, select, .button")]
              .map((part) => [part.id, part.getBoundingClientRect()])
              .filter(([, box]) => box.width && (box.width < 44 || box.height < 44))
              .map(([id]) => id)"""
        )
        assert small == [], f"too small for a finger on {path}: {small}"
    page.goto(server)
    until(page, 'document.getElementById("preview").videoWidth > 0')
    page.wait_for_timeout(500)
    page.screenshot(path=screenshots / "caller-phone.png", full_page=True)


def test_words_without_the_server(open_page: Open) -> None:
    """The file opened by itself: neither styles nor modules load, and the text says what to do."""
    file = Path(__file__).resolve().parents[2] / "client_web" / "index.html"
    page = open_page()
    page.unroute_all()
    page.context.unroute_all()
    page.goto(file.as_uri())
    expect(page.locator(".boot")).to_be_visible()
    expect(page.locator(".boot")).to_contain_text("make serve")
