"""Gaussians as the PLY file of 3D Gaussian splatting (Kerbl et al. 2023), which ordinary splat
viewers open."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np
import torch

from models.gaussians import Gaussians

SH_C0 = 0.28209479177387814
"""The constant spherical harmonic, 1 / (2 sqrt(pi))."""


def write_ply(path: str | PathLike[str], gaussians: Gaussians, sh_degree: int = 0) -> None:
    """Write Gaussians as binary little-endian PLY, float32, one vertex per Gaussian.

    Properties: x y z (metres), nx ny nz (the disc's normal), f_dc_0..2 (colour as the constant
    spherical harmonic), f_rest_* (none at degree 0), opacity (logit), scale_0..2 (log of metres),
    rot_0..3 (wxyz). Axes are those of head space, x right, y down, z away from the viewer: the same
    as a scene trained from COLMAP cameras, which viewers expect. The uncertainty has no place in
    this format and is left out.

    Args:
        path: file to write; an existing one is replaced.
        gaussians: what to write.
        sh_degree: 0..3. Colours here do not depend on the view; 1..3 only append zeros, for the few
            viewers that insist on them.

    Raises:
        OSError: the file cannot be written.
    """
    if sh_degree not in range(4):
        raise ValueError(f"sh_degree must be 0..3, got {sh_degree}")
    quats, scales = gaussians.quats_scales()
    w, x, y, z = quats.unbind(-1)
    normals = torch.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], -1)
    rest = 3 * ((sh_degree + 1) ** 2 - 1)
    columns = {
        ("x", "y", "z"): gaussians.means,
        ("nx", "ny", "nz"): normals,
        tuple(f"f_dc_{i}" for i in range(3)): (gaussians.colors[:, :3] - 0.5) / SH_C0,
        tuple(f"f_rest_{i}" for i in range(rest)): torch.zeros(len(gaussians), rest),
        # Finite at 0 and 1: a viewer that meets an infinity draws nothing at all.
        ("opacity",): torch.logit(gaussians.opacities.double(), eps=1e-6)[:, None],
        tuple(f"scale_{i}" for i in range(3)): scales.clamp(min=1e-9).log(),
        tuple(f"rot_{i}" for i in range(4)): quats,
    }
    names = [name for group in columns for name in group]
    rows = torch.cat([c.detach().float().cpu() for c in columns.values()], 1).numpy().astype("<f4")
    header = "\n".join(
        [
            "ply",
            "format binary_little_endian 1.0",
            "comment visavis avatar; metres; x right, y down, z away from the viewer",
            f"element vertex {len(gaussians)}",
            *(f"property float {name}" for name in names),
            "end_header\n",
        ]
    )
    Path(path).write_bytes(header.encode("ascii") + np.ascontiguousarray(rows).tobytes())
