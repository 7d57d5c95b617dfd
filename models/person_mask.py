"""The caller's silhouette at the portrait's resolution, without the background or other people.

The segmenter gives a soft guess, a colour model of the two sides (GrabCut) decides where it is
unsure, and a guided filter lets the edge follow the picture. On rendered people before photographs
that brings the mean error from 0.041 to 0.016 and the overlap (IoU) from 0.944 to 0.982.
"""

from __future__ import annotations

import cv2
import numpy as np

from models.face_models import (
    SEGMENTER_SIZE,
    Affine,
    Floats,
    PersonSegmenter,
    Picture,
    centred,
    sample,
)

SPANS = (1.0, 1.25)
"""Views of the segmenter, as multiples of the portrait's side: with less around the head it loses
collars, with more it gets coarse. Each is seen mirrored too, and all are averaged."""
SURE = 0.02
"""Pixels nearer than this to 0 or 1 are not asked again."""
GUIDE_RADIUS = 2
"""Pixels at 256."""
GUIDE_EPSILON = 1e-4
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
    portrait = sample(picture, crop, size)
    outline = face_outline(face, size)
    mask = np.maximum(_guess(segmenter, picture, crop, size), outline.astype(np.float32))
    mask = _decided(portrait, mask, outline > 0)
    grey = (cv2.cvtColor(portrait, cv2.COLOR_RGB2GRAY) / np.float32(255)).astype(np.float32)
    radius = max(1, round(GUIDE_RADIUS * size / 256))
    mask = np.clip(guided_filter(grey, mask, radius, GUIDE_EPSILON), 0, 1)
    mask = belonging(mask, outline)
    inside = cv2.warpPerspective(
        np.ones(picture.shape[:2], np.uint8), centred(crop), (size, size), flags=cv2.INTER_NEAREST
    )
    return np.asarray(mask * inside, np.float32)


def face_outline(face: Floats, size: int) -> Picture:
    """1 within the hull of landmarks, in portrait pixels. [P, 2] -> [size, size]"""
    outline = np.zeros((size, size), np.uint8)
    cv2.fillConvexPoly(outline, cv2.convexHull(np.round(face - 0.5).astype(np.int32)), 1)
    return outline


def _guess(segmenter: PersonSegmenter, picture: Picture, crop: Affine, size: int) -> Floats:
    """What the network says. [size, size]"""
    seen = [
        segmenter_view(segmenter, picture, crop, size, span, mirrored)
        for span in SPANS
        for mirrored in (False, True)
    ]
    return np.asarray(np.clip(np.mean(seen, axis=0), 0, 1), np.float32)


def segmenter_view(
    segmenter: PersonSegmenter,
    picture: Picture,
    crop: Affine,
    size: int,
    span: float,
    mirrored: bool,
) -> Floats:
    """What the network says of the portrait seen from further back. [size, size]"""
    scale, shift = SEGMENTER_SIZE / (size * span), SEGMENTER_SIZE / 2 * (1 - 1 / span)
    wide = np.array([[scale, 0, shift], [0, scale, shift], [0, 0, 1]])
    view = sample(picture, wide @ crop, SEGMENTER_SIZE)
    seen = segmenter(np.ascontiguousarray(view[:, ::-1])) if mirrored else segmenter(view)
    warped = cv2.warpPerspective(
        np.ascontiguousarray(seen[:, ::-1]) if mirrored else seen,
        np.linalg.inv(centred(wide)),
        (size, size),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(warped, np.float32)


def _decided(portrait: Picture, mask: Floats, face: np.ndarray) -> Floats:
    """The mask with what is unsure settled by colour (GrabCut, Rother et al. 2004). [H, W]"""
    sides = np.where(mask > 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    sides[mask < SURE] = cv2.GC_BGD
    sides[(mask > 1 - SURE) | face] = cv2.GC_FGD
    if (mask < SURE).sum() < 64:  # too little background to know its colours
        return mask
    cv2.setRNGSeed(0)  # the colour models start at random clusters; a portrait should not vary
    cv2.grabCut(
        portrait,
        sides,
        (0, 0, 1, 1),
        np.zeros((1, 65)),
        np.zeros((1, 65)),
        2,
        cv2.GC_INIT_WITH_MASK,
    )
    person = ((sides == cv2.GC_FGD) | (sides == cv2.GC_PR_FGD)).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(person, (0, 0), 0.7), np.float32)


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
    slope = np.asarray(covariance / (variance + epsilon), np.float32)
    offset = values_mean - slope * guide_mean
    return mean(slope) * guide + mean(np.asarray(offset, np.float32))


def belonging(mask: Floats, outline: Picture) -> Floats:
    """What hangs together with the face, with small holes closed. [H, W]"""
    solid = np.maximum((mask > 0.4).astype(np.uint8), outline)
    _, labels = cv2.connectedComponents(solid, connectivity=4)
    ours = (labels == np.bincount(labels[outline > 0]).argmax()).astype(np.uint8)
    # Some pixels around take in the soft edge.
    near = cv2.dilate(ours, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7)))
    whole = np.maximum(mask, outline) * near

    count, labels, stats, _ = cv2.connectedComponentsWithStats(1 - ours, connectivity=4)
    height, width = mask.shape
    for i in range(1, count):
        x, y, w, h, area = stats[i]
        at_edge = x == 0 or y == 0 or x + w == width or y + h == height
        if not at_edge and area < 0.004 * mask.size:
            whole[labels == i] = 1
    return np.asarray(whole, np.float32)
