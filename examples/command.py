"""What the examples have in common as commands."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from models.errors import VisavisError
from stream.command_line import Parser

USER_ERROR = 2
INTERRUPTED = 130
TERMINATED = 143


def parser_for(name: str, text: str) -> Parser:
    """A command line that begins with which call is meant."""
    parser = _parser(name, text, "the caller is not ready or the server is full")
    parser.add_argument("url", metavar="URL", help="of the server, or the link of an invitation")
    parser.add_argument("call", metavar="CALL", nargs="?", help="its name; not needed with a link")
    return parser


def opening_parser_for(name: str, text: str) -> Parser:
    """A command line that begins with where a call is to be opened."""
    parser = _parser(name, text, "the server is full")
    parser.add_argument(
        "url", metavar="URL", help="of the server, or the link of a room to sit down in"
    )
    return parser


def _parser(name: str, text: str, waits: str) -> Parser:
    parser = Parser(prog=f"python -m examples.{name}", description=text)
    parser.add_argument(
        "--wait",
        type=number_from(0, 3600),
        default=0.0,
        metavar="SECONDS",
        help=f"go on trying where {waits} (default: 0)",
    )
    return parser


def set_by_interrupts(stop: asyncio.Event) -> None:
    """Let Ctrl-C set an event from now on: before that it breaks off whatever is being opened."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # What asyncio raises on Windows, which has no such handlers: there Ctrl-C ends the program
        # by KeyboardInterrupt.
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)


def number_from(low: float, high: float) -> Callable[[str], float]:
    """Reads a number within limits."""

    def read(text: str) -> float:
        with contextlib.suppress(ValueError):
            if low <= float(text) <= high:
                return float(text)
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from {low:g} to {high:g}")

    return read


def whole_from(low: int, high: int) -> Callable[[str], int]:
    """Reads a whole number within limits."""

    def read(text: str) -> int:
        if text.isdecimal() and low <= int(text) <= high:
            return int(text)
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")

    return read


def run(name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Do the work of a command and return its exit code.

    What the user can mend is one line on standard error and exit code 2.
    """
    try:
        asyncio.run(_terminable(work()))
    except VisavisError as error:
        print(f"{name}: {error.reason}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output (head, less) has seen enough; nothing more can be flushed to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return INTERRUPTED
    except asyncio.CancelledError:
        return TERMINATED
    return 0


async def _terminable(work: Coroutine[Any, Any, None]) -> None:
    """A termination unwinds the stack, so that no half-written file stays."""
    task = asyncio.current_task()
    assert task is not None
    # Without the handler a termination only ends the process at once. Windows has no such handlers
    # (NotImplementedError), and only the main thread may install them (RuntimeError).
    with contextlib.suppress(NotImplementedError, RuntimeError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await work
