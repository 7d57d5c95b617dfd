"""`visavis serve` and `visavis demo`: take the port, load, tell the address once it answers."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping

import numpy as np
import uvicorn
from numpy.typing import NDArray

from models.errors import VisavisError
from stream.settings import Settings

DEMO_CALL = "demo"
EVERYWHERE = ("0.0.0.0", "::")
LOCAL = ("127.0.0.1", "::1", "localhost")
BACKLOG = 128


class PortError(VisavisError):
    """The server cannot listen where it was told to."""

    default_code = "port"


def run(settings: Settings, demo: bool = False) -> None:
    """Serve until interrupted.

    Args:
        settings: where to listen and how to work; port 0 takes a free one.
        demo: offer a ready call of the built-in person.

    Raises:
        PortError: the port is taken, or the address is not this machine's.
        SetupError: something that the engine needs is missing.
        EncoderUnavailable: NVENC is asked for and does not open.
    """
    with contextlib.ExitStack() as closing:
        # Before the seconds of loading, so that a taken port shows at once.
        listener = closing.enter_context(listen(settings.host, settings.port))
        from models.engine import load_engine
        from stream import nvenc
        from stream.progress import Progress
        from stream.server import create_app, server

        nvenc.coder(settings.encoder)  # asked for and absent: said before the seconds of loading
        ready_calls: Mapping[str, NDArray[np.uint8]] = {}
        with Progress("loading", 1) as progress:
            if demo:
                from stream.offline import read_portrait

                ready_calls = {DEMO_CALL: read_portrait("demo")}
            engine = load_engine(settings.device, settings.size, progress=progress.step)
            closing.callback(engine.close)
            app = create_app(engine, settings, ready_calls)
        address = address_of(settings.host, listener.getsockname()[1])
        text = greeting(address, settings.host, engine.name, demo)
        _announcing(server(app, settings), text).run(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket.

    Raises:
        PortError: the port is taken, or the address is not this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:  # the latter for names that can be none, as "a..b"
        raise PortError(f"{host!r} is no address to listen on. Give --host 127.0.0.1.") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        reason = (error.strerror or str(error)).lower()
        raise PortError(
            f"Cannot listen on {host} port {port}: {reason}. Choose another with --port or --host."
        ) from error
    return listener


def address_of(host: str, port: int) -> str:
    """What to open in a browser on this machine. Browsers give a page the camera only over https
    or on localhost, so that name is preferred to any number."""
    if host in LOCAL or host in EVERYWHERE:
        return f"http://localhost:{port}"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def greeting(address: str, host: str, engine: str, demo: bool) -> str:
    """What is printed once calls can be made."""
    lines = [f"Visavis is ready ({engine}). Open", "", f"    {address}", ""]
    if demo:
        lines[2:3] = [f"    {address}/c/{DEMO_CALL}    the built-in person", f"    {address}"]
    if host not in LOCAL:
        lines += ["Browsers open a camera only on localhost or behind https.", ""]
    return "\n".join([*lines, "Ctrl-C stops it."])


def _announcing(server: uvicorn.Server, text: str) -> uvicorn.Server:
    """Print a text when the server has started; uvicorn has no hook for that moment."""
    start = server.startup

    async def startup(sockets: list[socket.socket] | None = None) -> None:
        await start(sockets=sockets)
        if server.started:
            print(text, flush=True)

    server.startup = startup  # type: ignore[method-assign]
    return server
