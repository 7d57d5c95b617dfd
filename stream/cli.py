"""The command `visavis`.

Exit codes: 0 done; 1 `doctor` found that no call can be served; 2 something the user can mend (one
line on standard error); 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from models.errors import VisavisError
from models.viewpoint import Viewpoint
from stream.command_line import make_parser

if TYPE_CHECKING:
    from stream.offline import EngineChoice

NOT_READY = 1
USER_ERROR = 2
INTERRUPTED = 130
TERMINATED = 143


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        arguments: without the program's name; those of the process by default.
    """
    if arguments is None:
        arguments = sys.argv[1:]
    try:
        with _terminating():
            options = make_parser().parse_args(arguments)
            code = COMMANDS[options.command](options)
            sys.stdout.flush()
            return code
    except VisavisError as error:
        if "--json" in arguments:
            print(json.dumps({"error": {"code": error.code, "reason": error.reason}}))
        print(f"visavis: {error.reason}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output (head, less) has seen enough. Python would complain once more
        # when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return INTERRUPTED


@contextlib.contextmanager
def _terminating() -> Iterator[None]:
    """Let a termination unwind the stack, so that no half-written file stays."""

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(TERMINATED)

    try:
        before = signal.signal(signal.SIGTERM, leave)
    except ValueError:  # not the main thread: signals are somebody else's
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _serve(options: argparse.Namespace) -> int:
    from stream.serving import run
    from stream.settings import Settings

    settings = Settings(
        host=options.host,
        port=options.port,
        size=options.size,
        device=options.device,
        ice_servers=tuple(options.ice_server),
    )
    run(settings, demo=options.command == "demo")
    return 0


def _render(options: argparse.Namespace) -> int:
    from stream.offline import render

    viewpoint = Viewpoint(options.yaw, options.pitch, options.zoom, options.roll)
    for name in ("yaw", "pitch", "zoom"):
        asked, used = getattr(options, name), getattr(viewpoint, name)
        if asked != used:
            print(
                f"visavis: {name} {asked:g} is beyond the limit; {used:g} is used.", file=sys.stderr
            )
    result = render(
        options.portrait, options.output, viewpoint, not options.raw, _engine_choice(options)
    )
    return _report(options, result)


def _orbit(options: argparse.Namespace) -> int:
    from stream.offline import orbit

    result = orbit(
        options.portrait,
        options.output,
        options.seconds,
        options.fps,
        options.yaw_range,
        options.pitch,
        not options.raw,
        _engine_choice(options),
    )
    return _report(options, result)


def _export(options: argparse.Namespace) -> int:
    from stream.offline import export

    return _report(options, export(options.portrait, options.output, _engine_choice(options)))


def _doctor(options: argparse.Namespace) -> int:
    from stream.doctor import examine

    findings = examine(options.port)
    print(json.dumps(findings.as_dict()) if options.json else findings.in_words())
    return 0 if findings.ready else NOT_READY


def _bench(options: argparse.Namespace) -> int:
    from stream.bench import measure

    result = measure(_engine_choice(options), options.receivers, options.seconds)
    print(json.dumps(result.as_dict()) if options.json else result.in_words())
    return 0


COMMANDS = {
    "serve": _serve,
    "demo": _serve,
    "render": _render,
    "orbit": _orbit,
    "export": _export,
    "doctor": _doctor,
    "bench": _bench,
}


def _engine_choice(options: argparse.Namespace) -> EngineChoice:
    from stream.offline import EngineChoice

    return EngineChoice(options.device, options.size)


def _report(options: argparse.Namespace, result: Mapping[str, object]) -> int:
    print(json.dumps(result) if options.json else result["output"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
