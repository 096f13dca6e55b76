"""Write splats as the PLY that viewers of 3D Gaussian Splatting read (the layout of Kerbl et al.'s reference code)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import normalize

from zero1toa.avatar.rigged import SH0
from zero1toa.media import explain_writing, replacing
from zero1toa.types import Gaussians, InputError

PROPERTIES = (
    "x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity",
    "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3",
)  # fmt: skip
HALF_TURN = torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64)


def write_ply(path: str | Path, gaussians: Gaussians, *, comments: Sequence[str] = ()) -> Path:
    """Write the first pose of some splats, all at once or not at all.

    Binary, little endian, float32: means in metres, opacity as a logit, scales as logarithms, colours as the zeroth
    harmonic, quaternions (w, x, y, z) of length 1. Photogrammetry taught viewers that +y points down, so what is written
    is turned by half a turn about x: (x, -y, -z) of this program's axes.
    Raises InputError when the name or the place cannot be used.
    """
    path = Path(path)
    if path.suffix.lower() != ".ply":
        raise InputError(f"cannot write {path.name} as splats: use a name that ends in .ply")
    rows = _rows(gaussians)
    lines = ["ply", "format binary_little_endian 1.0"]
    lines += [f"comment {_plain(comment)}" for comment in comments]
    lines += [f"element vertex {len(rows)}", *(f"property float {name}" for name in PROPERTIES), "end_header", ""]
    with replacing(path) as partial, explain_writing(path):
        partial.write_bytes("\n".join(lines).encode("ascii") + rows.tobytes())
    return path


@torch.no_grad()
def _rows(gaussians: Gaussians) -> np.ndarray:
    means, quats, scales, opacities, colors = (
        getattr(gaussians, name)[0].detach().cpu().double() for name in Gaussians.__slots__
    )
    w, x, y, z = normalize(quats, dim=-1).unbind(-1)
    columns = [
        means * HALF_TURN,
        torch.zeros_like(means),
        (colors - 0.5) / SH0,
        # Just short of 0 and 1, where the logit would be infinite in float32.
        torch.logit(opacities, eps=1e-6)[:, None],
        scales.clamp_min(1e-12).log(),
        torch.stack([-x, w, -z, y], -1),  # (0, 1, 0, 0) times (w, x, y, z)
    ]
    return torch.cat(columns, 1).numpy().astype("<f4")


def _plain(text: str) -> str:
    """Keep a comment on one line of ASCII, as the format demands."""
    return " ".join(text.split()).encode("ascii", "replace").decode()
