"""The server of tests/stream, for clients that nobody here wrote."""

from __future__ import annotations

from tests.stream.conftest import start

__all__ = ["start"]
