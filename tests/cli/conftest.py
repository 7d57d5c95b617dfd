from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.engine import Engine, load_engine
from stream.offline import EngineChoice


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    engine = load_engine("cpu", 256, 1)
    yield engine
    engine.close()


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Let commands that tests start be interrupted, also when the tests run in the background: a
    shell has its background jobs ignore Ctrl-C, and programs hand that on to those they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def loaded(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run on an engine that is loaded once for all tests: loading takes seconds."""

    def load(choice: EngineChoice) -> Engine:
        assert choice.size == engine.size
        return engine

    monkeypatch.setattr(EngineChoice, "load", load)
    monkeypatch.setattr(engine, "close", lambda: None)  # the next test needs it


@pytest.fixture(scope="session")
def person() -> NDArray[np.uint8]:
    """A real photograph: the public-domain portrait of Eileen Collins. RGB [512, 512, 3]"""
    from skimage.data import astronaut

    return np.asarray(astronaut(), np.uint8)


@pytest.fixture(scope="session")
def portrait(person: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("portrait") / "portrait.png"
    cv2.imwrite(str(path), person[:, :, ::-1])
    return path
