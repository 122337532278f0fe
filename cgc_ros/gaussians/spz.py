"""Write maps as .spz, Niantic's compressed splats (https://github.com/nianticlabs/spz, "File Format"), version 3.

gzip of a header of 16 bytes and then, attribute by attribute: positions (3 x 24 bits, fixed point), alphas, colours,
scales (8 bits each), rotations (the smallest three of a unit quaternion, 3 x 10 bits, and which one is left out), and
the spherical harmonics above degree 0 (8 bits each). Little endian. Axes are right, up, back; those of a .ply count as
right, down, forward: so a viewer shows both alike.
"""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

import numpy as np

from cgc_ros.gaussians.model import GaussianModel

MAGIC, VERSION = 0x5053474E, 3
FRACTION_BITS = 12  # of positions: a quarter of a millimetre, out to 2,048 m
COLOR_SCALE = 0.15  # of the constant band, so that 8 bits reach beyond 0..1
SH_BITS = (5, 4)  # that count of the first band and of those above it: fewer compress better

#: Signs of harmonics of degree 1 to 3 where y and z are mirrored.
_MIRRORED = np.array([-1, -1, 1, -1, 1, 1, -1, 1, -1, 1, -1, -1, 1, -1, 1], np.float32)


def write_gaussian_spz(path: Path, model: GaussianModel, origin: np.ndarray | None = None) -> np.ndarray:
    """Write Gaussians; the offset [3] metres that was added to their positions.

    That is the map's `origin`, or zeros where positions with it would lie beyond what the format holds; those of
    Gaussians that lie beyond it even so are clipped.
    """
    values = {name: value.detach().cpu().numpy().astype(np.float64) for name, value in model.parameters.items()}
    offset = np.zeros(3) if origin is None else np.asarray(origin, np.float64)
    reach = 2.0 ** (23 - FRACTION_BITS)
    if len(model) and (np.abs(values["means"] + offset).max(axis=0) >= reach).any():
        offset = np.zeros(3)
    bands = values["sh"].shape[1]
    header = struct.pack("<IIIBBBB", MAGIC, VERSION, len(model), int(np.sqrt(bands)) - 1, FRACTION_BITS, 0, 0)
    alphas = 255.0 / (1.0 + np.exp(-values["logit_opacities"]))
    parts = [
        _positions((values["means"] + offset) * (1, -1, -1)),
        _bytes(alphas),
        _bytes(255.0 * (COLOR_SCALE * values["sh"][:, 0] + 0.5)),
        _bytes(16.0 * (values["log_scales"] + 10.0)),
        _rotations(values["quats"] * (1, 1, -1, -1)),
        _harmonics(values["sh"][:, 1:] * _MIRRORED[: bands - 1, None]),
    ]
    temporary = path.with_name(path.name + ".part")
    with gzip.GzipFile(temporary, "wb", mtime=0) as stream:
        stream.write(header + b"".join(part.tobytes() for part in parts))
    os.replace(temporary, path)
    return offset


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _positions(metres: np.ndarray) -> np.ndarray:
    """[N, 3, 3] uint8, the lowest byte first."""
    limit = 2**23
    fixed = np.clip(np.rint(metres * 2**FRACTION_BITS), -limit, limit - 1).astype("<i4")
    return fixed.view(np.uint8).reshape(*fixed.shape, 4)[..., :3]


def _rotations(quats: np.ndarray) -> np.ndarray:
    """[N] little-endian words of quaternions w x y z: two bits name the largest of x y z w, which is left out and
    positive; the others follow in that order, each by its sign and nine bits of its size over sqrt(1/2).
    """
    xyzw = quats[:, [1, 2, 3, 0]]
    lengths = np.linalg.norm(xyzw, axis=1, keepdims=True)
    xyzw = np.where(lengths > 0, xyzw / np.maximum(lengths, 1e-12), (0.0, 0.0, 0.0, 1.0))
    largest = np.abs(xyzw).argmax(axis=1)
    xyzw = xyzw * np.where(xyzw[np.arange(len(xyzw)), largest] < 0, -1.0, 1.0)[:, None]
    sizes = np.floor(511.0 * np.abs(xyzw) / np.sqrt(0.5) + 0.5).astype(np.uint32)
    words = largest.astype(np.uint32)
    for axis in range(4):
        word = (words << 10) | ((xyzw[:, axis] < 0).astype(np.uint32) << 9) | np.minimum(sizes[:, axis], 511)
        words = np.where(largest == axis, words, word)
    return words.astype("<u4")


def _harmonics(values: np.ndarray) -> np.ndarray:
    """[N, K, 3] uint8, 128 for none, in steps of which 0 is one."""
    bits = np.where(np.arange(values.shape[1]) < 3, *SH_BITS)[:, None]
    step = 2.0 ** (8 - bits)
    levels = np.rint(128.0 * values) + 128.0
    return _bytes(np.floor((levels + step / 2) / step) * step)
