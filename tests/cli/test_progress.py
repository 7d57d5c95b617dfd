from __future__ import annotations

import io
import time

from stream.progress import CLEAR, Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def wait_for(stream: io.StringIO, text: str) -> None:
    deadline = time.monotonic() + 10
    while text not in stream.getvalue() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert text in stream.getvalue()


def test_draws_on_a_terminal_and_clears_up() -> None:
    stream = Terminal()
    with Progress("loading", 4, stream, patience=0) as progress:
        wait_for(stream, "loading")
        progress.step("rendering")
        wait_for(stream, "rendering            [#######.....................]  25%")
    assert stream.getvalue().endswith(CLEAR)


def test_is_silent_where_nobody_watches() -> None:
    stream = io.StringIO()
    with Progress("loading", 1, stream, patience=0) as progress:
        time.sleep(0.3)
        progress.step()
    assert stream.getvalue() == ""


def test_is_silent_when_it_is_quick() -> None:
    stream = Terminal()
    with Progress("loading", 1, stream, patience=60) as progress:
        progress.step()
    assert stream.getvalue() == ""


def test_ends_its_thread_after_an_error() -> None:
    progress = Progress("loading", 1, Terminal(), patience=60)
    try:
        with progress:
            raise ValueError
    except ValueError:
        pass
    assert progress._painter is not None and not progress._painter.is_alive()


def test_tells_how_long_it_will_take() -> None:
    progress = Progress("rendering", 10, io.StringIO())
    begin = time.monotonic()
    progress.step(count=2)
    assert "left" in progress.line(begin + 3)
    assert progress.line(begin + 3).endswith("12 s left")
    progress.step(count=20)
    assert progress.line(begin + 3).endswith("100%")
