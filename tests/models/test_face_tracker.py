"""Following a face while the size of the pictures changes, as browsers change it in a call."""

from __future__ import annotations

import cv2
import numpy as np

from models.face_tracker import FaceTracker, Track
from models.portrait import PortraitFinder
from tests.browser.fake_camera import person


def test_size_of_the_pictures_may_change_at_any_moment() -> None:
    tracker = FaceTracker(PortraitFinder(), 256)
    whole = person()
    places = []
    for i, width in enumerate((640, 640, 480, 480, 320, 480, 640)):
        size = (width, width * 3 // 4)
        track = tracker.update(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), i / 15)
        assert isinstance(track, Track), f"lost at {width} pixels: {track}"
        points = np.c_[track.mesh.points[:, :2], np.ones(len(track.mesh.points))] @ track.crop.T
        points = points[:, :2] / points[:, 2:]
        places.append([*points.mean(0), np.ptp(points[:, 0])])
    assert np.ptp(places, axis=0).max() < 2, "the face moved in the portrait"
