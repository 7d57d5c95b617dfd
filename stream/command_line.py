"""What may be written after `visavis`: commands, options and their limits. Nothing heavy is
imported here, so that `visavis --help` answers at once."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any, NoReturn

from models.errors import VisavisError
from models.viewpoint import PITCH_LIMIT, YAW_LIMIT, ZOOM_LIMITS
from stream import ice_servers
from stream.ice_servers import ICE_POLICIES, IceServer
from stream.settings import ADMISSIONS, AVATARS, DEVICES, ENCODERS, SIZES

PORTRAIT_HELP = 'a picture with one frontal face, or "demo" for the built-in person'


NUMBERS = (
    "--fps",
    "--pitch",
    "--port",
    "--receivers",
    "--roll",
    "--room-size",
    "--seconds",
    "--size",
    "--turn-lifetime",
    "--yaw",
    "--yaw-range",
    "--zoom",
)
"""Options that a number follows."""


class UsageError(VisavisError):
    """The command line cannot be understood."""

    default_code = "usage"


class Parser(argparse.ArgumentParser):
    """Raises `UsageError` where the standard one prints its whole usage and exits, and takes no
    abbreviations: what they mean changes with every new option."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message.removesuffix('.')}. See: {self.prog} --help")


def with_numbers_joined(arguments: Sequence[str]) -> Iterator[str]:
    """`--yaw -1e1` as `--yaw=-1e1`: argparse takes -10 for a number, but not -1e1, -10. or -inf."""
    rest = iter(arguments)
    for argument in rest:
        following = next(rest, None) if argument in NUMBERS else None
        if following is None:
            yield argument
        elif following.startswith("-") and _is_number(following):
            yield f"{argument}={following}"
        else:
            yield argument
            yield following


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Parser]  # it has no public name


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *unused: object) -> NoReturn:
        print(f"visavis {version()}")
        parser.exit()


def version() -> str:
    """Version of the installed package."""
    try:
        return metadata.version("visavis")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def make_parser() -> Parser:
    """The whole command line; the parsed options carry the command's name as `command`."""
    parser = Parser(
        prog="visavis",
        description="A video call in which every receiver chooses where to look from.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", dest="command", required=True, parser_class=Parser
    )
    _add_servers(commands)
    _add_render(commands)
    _add_orbit(commands)
    _add_export(commands)
    _add_doctor(commands)
    _add_bench(commands)
    return parser


def _command(commands: Commands, name: str, text: str) -> argparse.ArgumentParser:
    return commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")


def _add_servers(commands: Commands) -> None:
    for name, text in (
        ("serve", "serve calls to browsers"),
        ("demo", "serve, with a ready call of the built-in person"),
    ):
        parser = _command(commands, name, text)
        parser.add_argument(
            "--host",
            default="127.0.0.1",
            help="address to listen on; 0.0.0.0 lets other machines in (default: 127.0.0.1)",
        )
        parser.add_argument("--port", type=_whole(0, 65535), default=8080, help="(default: 8080)")
        parser.add_argument(
            "--ice-server",
            action="append",
            type=_ice_server,
            default=[],
            metavar="URL[,USER,PASSWORD]",
            help="STUN or TURN server, such as stun:stun.example.org:3478 or "
            "turns:turn.example.org?transport=tcp; may be repeated "
            f"(default: those in {ice_servers.SERVERS_VARIABLE}, with spaces between them)",
        )
        parser.add_argument(
            "--ice-policy",
            choices=ICE_POLICIES,
            default=ICE_POLICIES[0],
            help="relay lets media go through TURN servers only (default: all)",
        )
        parser.add_argument(
            "--turn-secret",
            metavar="SECRET",
            help="shared with the TURN servers named without a user: coturn's static-auth-secret. "
            "Other users of this machine can read it in the list of processes; "
            f"{ice_servers.SECRET_VARIABLE} hides it from them",
        )
        parser.add_argument(
            "--turn-lifetime",
            type=_within(ice_servers.LEAST_LIFETIME, 30 * 86400),
            default=3600.0,
            metavar="SECONDS",
            help="for which the passwords hold that are made from the secret (default: 3600)",
        )
        parser.add_argument(
            "--admission",
            choices=ADMISSIONS,
            default=ADMISSIONS[0],
            help="turn receivers away when raw (refined) pictures for one more would not be ready "
            "in time, or never (default: raw)",
        )
        parser.add_argument(
            "--avatar",
            choices=AVATARS,
            default=AVATARS[0],
            help="live follows the caller's face, once stays as it was built (default: live)",
        )
        parser.add_argument(
            "--room-size",
            type=_whole(1, 32),
            default=6,
            metavar="N",
            help="people with cameras in a room (default: 6)",
        )
        parser.add_argument(
            "--encoder",
            choices=ENCODERS,
            default=ENCODERS[0],
            help="of H.264: nvenc is an NVIDIA GPU's, auto takes it where it works (default: auto)",
        )
        parser.add_argument("--no-audio", action="store_true", help="hand on no sound")
        _add_engine(parser)


def _add_render(commands: Commands) -> None:
    parser = _command(commands, "render", "write one view of a person as a picture")
    _add_files(parser, "picture to write: .png, .jpg or .webp")
    parser.add_argument(
        "--yaw", type=float, default=0.0, help=f"degrees to the right, +-{YAW_LIMIT:.0f}"
    )
    parser.add_argument(
        "--pitch", type=float, default=0.0, help=f"degrees upwards, +-{PITCH_LIMIT:.0f}"
    )
    parser.add_argument(
        "--zoom", type=float, default=1.0, help="{:g}..{:g} (default: 1)".format(*ZOOM_LIMITS)
    )
    parser.add_argument("--roll", type=float, default=0.0, help="degrees, clockwise")
    parser.add_argument("--raw", action="store_true", help="leave the refiner out")
    _add_engine(parser)
    _add_json(parser)


def _add_orbit(commands: Commands) -> None:
    parser = _command(commands, "orbit", "write a movie that loops around a person")
    _add_files(parser, "movie to write: .mp4")
    parser.add_argument(
        "--seconds", type=_within(0.1, 120), default=4.0, help="of one turn (default: 4)"
    )
    parser.add_argument("--fps", type=_whole(1, 60), default=30, help="(default: 30)")
    parser.add_argument(
        "--yaw-range",
        type=_within(0, YAW_LIMIT),
        default=30.0,
        metavar="DEGREES",
        help=f"to either side, 0..{YAW_LIMIT:.0f} (default: 30)",
    )
    parser.add_argument(
        "--pitch",
        type=_within(-PITCH_LIMIT, PITCH_LIMIT),
        default=0.0,
        metavar="DEGREES",
        help=f"upwards, +-{PITCH_LIMIT:.0f} (default: 0)",
    )
    parser.add_argument("--raw", action="store_true", help="leave the refiner out")
    _add_engine(parser)
    _add_json(parser)


def _add_export(commands: Commands) -> None:
    text = "write a person's avatar as a PLY file for splat viewers"
    parser = _command(commands, "export", text)
    _add_files(parser, "file to write: .ply")
    _add_engine(parser)
    _add_json(parser)


def _add_doctor(commands: Commands) -> None:
    text = "say whether this machine can serve calls, and what is missing"
    parser = _command(commands, "doctor", text)
    parser.add_argument(
        "--port", type=_whole(1, 65535), default=8080, help="port to look at (default: 8080)"
    )
    _add_json(parser)


def _add_bench(commands: Commands) -> None:
    parser = _command(commands, "bench", "measure how fast this machine is, stage by stage")
    parser.add_argument(
        "--receivers", type=_whole(1, 64), default=1, metavar="N", help="at once (default: 1)"
    )
    parser.add_argument(
        "--seconds",
        type=_within(0.2, 600),
        default=5.0,
        help="to count frames per second for (default: 5)",
    )
    _add_engine(parser)
    _add_json(parser)


def _add_files(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("portrait", metavar="PORTRAIT", help=PORTRAIT_HELP)
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help=text)


def _add_engine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--size", type=int, choices=SIZES, default=SIZES[0], help=f"pixels (default: {SIZES[0]})"
    )
    parser.add_argument(
        "--device",
        choices=DEVICES,
        default=DEVICES[0],
        help="cuda is an NVIDIA GPU, auto one where there is one (default: auto)",
    )


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _within(low: float, high: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {low:g} to {high:g}")
        return value

    return read


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
        return value

    return read


def _ice_server(text: str) -> IceServer:
    try:
        return ice_servers.from_text(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
