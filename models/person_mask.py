"""The caller's silhouette at the portrait's resolution, without the background or other people."""

from __future__ import annotations

import cv2
import numpy as np

from models.face_models import Affine, Floats, PersonSegmenter, Picture, sample

SPANS = (1.25, 1.6)
"""Views of the segmenter, as multiples of the portrait's side. It was made for head and shoulders:
with less around the head it loses collars, with more it gets coarse. Two views are averaged."""
GUIDE_RADIUS = 4
"""Pixels at 256."""
GUIDE_EPSILON = 4e-4
"""Variance of luminance (0..1) from which an edge of the picture shapes the edge of the mask."""


def person_mask(
    segmenter: PersonSegmenter, picture: Picture, crop: Affine, size: int, face: Floats
) -> Floats:
    """Soft mask of the person whose face it is.

    Args:
        segmenter: network.
        picture: [H, W, 3]
        crop: picture pixels to portrait pixels. [3, 3]
        size: side of the portrait, pixels.
        face: outline of the face in portrait pixels; the mask keeps what hangs together with it.
            [P, 2]

    Returns:
        0..1; 0 where the portrait reaches beyond the picture. [size, size]
    """
    mask = np.zeros((size, size), np.float32)
    for span in SPANS:
        # The portrait seen from further back, about the same middle.
        scale, shift = 256 / (size * span), 128 * (1 - 1 / span)
        wide = np.array([[scale, 0, shift], [0, scale, shift], [0, 0, 1]])
        seen = segmenter(sample(picture, wide @ crop, 256))
        back = np.linalg.inv(_centred(wide))
        mask += cv2.warpPerspective(
            seen, back, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )
    mask = np.clip(mask / len(SPANS), 0, 1)

    guide = cv2.cvtColor(sample(picture, crop, size), cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    radius = max(1, round(GUIDE_RADIUS * size / 256))
    mask = np.clip(guided_filter(guide, mask, radius, GUIDE_EPSILON), 0, 1)
    # The filter leaves a faint haze over the background and pinholes in the person.
    mask = np.clip((mask - 0.06) / 0.88, 0, 1)
    mask = _belonging(mask, face)
    inside = cv2.warpPerspective(
        np.ones(picture.shape[:2], np.uint8), _centred(crop), (size, size), flags=cv2.INTER_NEAREST
    )
    return np.asarray(mask * inside, np.float32)


def guided_filter(guide: Floats, values: Floats, radius: int, epsilon: float) -> Floats:
    """Edge-preserving smoothing: values follow the edges of the guide (He, Sun, Tang 2010).

    Args:
        guide: grey picture, 0..1. [H, W]
        values: what is smoothed. [H, W]
        radius: pixels of the box filters' half side.
        epsilon: variance of the guide below which it is taken for flat.
    """

    def mean(a: Floats) -> Floats:
        side = 2 * radius + 1
        return np.asarray(cv2.blur(a, (side, side), borderType=cv2.BORDER_REFLECT_101), np.float32)

    guide_mean, values_mean = mean(guide), mean(values)
    covariance = mean(guide * values) - guide_mean * values_mean
    variance = mean(guide * guide) - guide_mean * guide_mean
    slope = covariance / (variance + np.float32(epsilon))
    offset = values_mean - slope * guide_mean
    return mean(slope) * guide + mean(offset)


def _belonging(mask: Floats, face: Floats) -> Floats:
    """What hangs together with the face, with small holes closed. [H, W]"""
    outline = np.zeros(mask.shape, np.uint8)
    cv2.fillConvexPoly(outline, cv2.convexHull(np.round(face - 0.5).astype(np.int32)), 1)
    solid = np.maximum((mask > 0.4).astype(np.uint8), outline)
    _, labels = cv2.connectedComponents(solid, connectivity=4)
    ours = (labels == np.bincount(labels[outline > 0]).argmax()).astype(np.uint8)
    # Two more pixels take in the soft edge.
    near = cv2.dilate(ours, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7)))
    mask = np.maximum(mask, outline) * near

    count, labels, stats, _ = cv2.connectedComponentsWithStats(1 - ours, connectivity=4)
    height, width = mask.shape
    for i in range(1, count):
        x, y, w, h, area = stats[i]
        at_edge = x == 0 or y == 0 or x + w == width or y + h == height
        if not at_edge and area < 0.004 * mask.size:
            mask[labels == i] = 1
    return mask


def _centred(homography: Affine) -> Affine:
    """The same map for cv2, which counts pixel centres from 0."""
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    return np.asarray(np.linalg.inv(half) @ homography @ half)
