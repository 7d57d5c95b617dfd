"""Fixtures that need ICT-FaceKit (environment variable VISAVIS_FACEKIT) and an EGL device."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def facekit_path() -> Path:
    path = os.environ.get("VISAVIS_FACEKIT", "")
    if not Path(path).is_file():
        pytest.skip("set VISAVIS_FACEKIT to ict_facekit.npz to test the synthetic people")
    return Path(path)


@pytest.fixture(scope="session")
def kit(facekit_path):
    from training.people.facekit import FaceKit

    return FaceKit.load(facekit_path)


@pytest.fixture(scope="session")
def renderer(kit):
    pytest.importorskip(
        "moderngl", reason="moderngl is not installed (pip install 'visavis[train]')"
    )
    from training.people.renderer import Renderer

    try:
        return Renderer(kit)
    except RuntimeError as error:
        pytest.skip(str(error))
