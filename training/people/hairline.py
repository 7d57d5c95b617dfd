"""Where hair grows on the mean head: the same for the painted scalp and for the strands' roots."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Height (kit y) of the hairline along the profile (kit z), from the nape to the forehead.
PROFILE_Z = np.array([-10, -4, -1, 0.6, 2.2, 4, 6.5, 9, 12], np.float32)
PROFILE_Y = np.array([-5.5, -4.5, -1.5, 2.0, 3.6, 5.6, 8.6, 10.2, 10.9], np.float32)


@dataclass(frozen=True)
class Hairline:
    """One hairline: `shift` raises it, `temples` recedes it, `peak` lowers its middle."""

    shift: float
    temples: float
    peak: float
    nape: float

    def coverage(self, points: NDArray[np.float32], softness: float = 0.15) -> NDArray[np.float32]:
        """Share of hair in 0..1 at `points` [..., 3] on the mean head."""
        x, y, z = np.moveaxis(points, -1, 0)
        side = np.abs(x)
        line = np.interp(z, PROFILE_Z, PROFILE_Y).astype(np.float32) + self.shift
        line -= 0.06 * np.maximum(0, side - 3)
        line += self.temples * np.exp(-(((side - 4.8) / 1.6) ** 2)) * (z > 5.5)
        line -= self.peak * np.exp(-((x / 1.3) ** 2)) * (z > 6)
        line += self.nape * (z < -3)
        ear = np.clip((((z - 1.2) / 3.0) ** 2 + ((y - 2.2) / 3.4) ** 2 - 0.75) / 0.5, 0, 1)
        free = np.where(side < 6.3, 1, ear * ear * (3 - 2 * ear))
        grown = 1 / (1 + np.exp(np.clip(-(y - line) / softness, -30, 30)))
        return (free * grown).astype(np.float32)


def sample_hairline(rng: np.random.Generator) -> Hairline:
    """Most people have a full hairline; some a receding one."""
    receding = rng.uniform() < 0.3
    return Hairline(
        shift=float(rng.uniform(-0.6, 2.2) if receding else rng.uniform(-0.4, 0.4)),
        temples=float(rng.uniform(0.2, 2.2) if receding else rng.uniform(0, 0.5)),
        peak=float(max(0.0, rng.uniform(-0.6, 0.7))),
        nape=float(rng.uniform(-0.8, 1.0)),
    )
