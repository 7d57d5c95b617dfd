"""The command `visavis`.

Exit codes: 0 done; 1 `doctor` found that no call can be served; 2 something the user can mend (one
line on standard error); 130 interrupted; 129 and 143 hung up on and terminated.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from models.errors import VisavisError
from models.viewpoint import Viewpoint
from stream import ice_servers
from stream.command_line import UsageError, make_parser, with_numbers_joined

if TYPE_CHECKING:
    from stream.offline import EngineChoice

NOT_READY = 1
USER_ERROR = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        arguments: without the program's name; those of the process by default.
    """
    if arguments is None:
        arguments = sys.argv[1:]
    _mend_streams()
    try:
        with _terminating():
            return _run(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output (head, less) has seen enough.
        _give_up(sys.stdout)
        return INTERRUPTED


def _run(arguments: Sequence[str]) -> int:
    try:
        try:
            options = make_parser().parse_args(list(with_numbers_joined(arguments)))
            return COMMANDS[options.command](options)
        except VisavisError as error:
            if "--json" in arguments:
                _print(json.dumps({"error": {"code": error.code, "reason": error.reason}}))
            _warn(error.reason)
            return USER_ERROR
        finally:
            _flush()  # what --help and --version printed, too
    except UnusableOutput as error:
        _warn(error.reason)
        return USER_ERROR


class UnusableOutput(VisavisError):
    """Standard output cannot be written to."""

    default_code = "bad_output"


def _mend_streams() -> None:
    """Let a command do its work whatever its standard streams are.

    Closed ones lead to nowhere; letters that an encoding lacks are written as escapes.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # the next file opened would take its place, and be written to
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    # Python has None for streams that were closed when it started.
    sys.stdout = sys.stdout or open(os.devnull, "w")
    sys.stderr = sys.stderr or open(os.devnull, "w")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _print(text: str) -> None:
    _flush(text + "\n")


def _flush(text: str = "") -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _give_up(sys.stdout)
        reason = (error.strerror or str(error)).lower()
        raise UnusableOutput(
            f"Cannot write to standard output: {reason}. Send it elsewhere."
        ) from error


def _warn(text: str) -> None:
    try:
        print(f"visavis: {text}", file=sys.stderr, flush=True)
    except OSError:  # there is nobody left to tell
        _give_up(sys.stderr)


def _give_up(stream: TextIO) -> None:
    """Send what a stream still holds to nowhere: Python would fail once more when it exits."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


@contextlib.contextmanager
def _terminating() -> Iterator[None]:
    """Let a termination unwind the stack, so that no half-written file stays."""

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before: dict[signal.Signals, Any] = {}
    for name in ("SIGTERM", "SIGHUP"):  # the latter when the terminal is closed
        number = getattr(signal, name, None)
        # nohup has hang-ups ignored, and that is to stay so.
        if number is None or signal.getsignal(number) is signal.SIG_IGN:
            continue
        with contextlib.suppress(ValueError):  # not the main thread: signals are somebody else's
            before[number] = signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _serve(options: argparse.Namespace) -> int:
    from stream.serving import run
    from stream.settings import Settings

    try:
        settings = Settings(
            host=options.host,
            port=options.port,
            size=options.size,
            device=options.device,
            ice_servers=ice_servers.chosen(options.ice_server, os.environ),
            ice_policy=options.ice_policy,
            turn_secret=ice_servers.chosen_secret(options.turn_secret, os.environ),
            turn_lifetime=options.turn_lifetime,
            admission=options.admission,
            avatar=options.avatar,
            room_size=options.room_size,
            encoder=options.encoder,
            audio=not options.no_audio,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    run(settings, demo=options.command == "demo")
    return 0


def _render(options: argparse.Namespace) -> int:
    from stream.offline import render

    viewpoint = Viewpoint(options.yaw, options.pitch, options.zoom, options.roll)
    result = render(
        options.portrait, options.output, viewpoint, not options.raw, _engine_choice(options)
    )
    code = _report(options, result)
    for name in ("yaw", "pitch", "zoom"):
        asked, used = getattr(options, name), getattr(viewpoint, name)
        if asked != used:
            _warn(f"{name} {asked:g} is beyond the limit; {used:g} is used.")
    return code


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
    _print(json.dumps(findings.as_dict()) if options.json else findings.in_words())
    return 0 if findings.ready else NOT_READY


def _bench(options: argparse.Namespace) -> int:
    from stream.bench import measure

    result = measure(_engine_choice(options), options.receivers, options.seconds)
    _print(json.dumps(result.as_dict()) if options.json else result.in_words())
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
    _print(json.dumps(result) if options.json else str(result["output"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
