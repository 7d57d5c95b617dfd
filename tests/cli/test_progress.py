from __future__ import annotations

import io
import time

import pytest

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
    with Progress("loading", 2, stream, patience=0) as progress:
        wait_for(stream, "loading (1 of 2)")
        progress.step("rendering", 4)
        wait_for(stream, "rendering            [............................]   0%")
        progress.advance()
        wait_for(stream, "rendering            [#######.....................]  25%")
    assert stream.getvalue().endswith(CLEAR)


def test_is_silent_where_nobody_watches() -> None:
    stream = io.StringIO()
    with Progress("loading", 1, stream, patience=0):
        time.sleep(0.3)
    assert stream.getvalue() == ""


def test_is_silent_when_it_is_quick() -> None:
    stream = Terminal()
    with Progress("loading", 1, stream, patience=60):
        pass
    assert stream.getvalue() == ""


def test_ends_its_thread_after_an_error() -> None:
    progress = Progress("loading", 1, Terminal(), patience=60)
    try:
        with progress:
            raise ValueError
    except ValueError:
        pass
    assert progress._painter is not None and not progress._painter.is_alive()


def test_a_stage_is_a_label_and_a_sign_of_life() -> None:
    begin = time.monotonic()
    progress = Progress("loading", 1, io.StringIO())
    lines = [progress.line(begin + seconds) for seconds in (1.05, 1.15, 1.25, 1.35)]
    assert {line[1:] for line in lines} == {" loading"}  # nobody knows how long it takes
    assert len({line[0] for line in lines}) > 1


def test_tells_how_long_equal_steps_will_take(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    progress = Progress("loading", 3, io.StringIO())
    now += 60  # the stages before say nothing about the steps
    progress.step("rendering", 10)
    assert progress.line(now).endswith("  0%")
    now += 2
    progress.advance()
    now += 2
    progress.advance()
    assert progress.line(now).endswith(" 20%  16 s left")
    assert progress.line(now + 1).endswith("15 s left")
    assert progress.line(now + 100).endswith(" 0 s left")
    for _ in range(8):
        progress.advance()
    assert progress.line(now).endswith("100%")
    progress.step("writing")
    assert progress.line(now)[1:] == " writing (3 of 3)"


@pytest.mark.parametrize("columns", [1, 10, 40, 80])
def test_a_line_never_wraps(columns: int) -> None:
    progress = Progress("loading", 4, io.StringIO())
    assert len(progress.line(time.monotonic(), columns)) < columns
    progress.step("rendering", 1000)
    progress.advance()
    assert len(progress.line(time.monotonic(), columns)) < columns


def test_a_terminal_that_goes_away_is_no_error() -> None:
    class Gone(Terminal):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

    with Progress("loading", 1, Gone(), patience=0) as progress:
        assert progress._painter is not None
        progress._painter.join(10)
        assert not progress._painter.is_alive()
