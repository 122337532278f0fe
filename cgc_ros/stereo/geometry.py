"""Where the points of one posed view land in another, by inverse depth along the first view's z."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cgc_ros.frame import Intrinsics


@dataclass(frozen=True)
class SourceProjection:
    """The point of the reference's pixel (x, y) at inverse depth `w` lands at `columns` (x, y, 1) + w `parallax`, in
    homogeneous pixels of the source: a homography at infinity and an epipole.
    """

    columns: np.ndarray  # [3, 3] float64
    parallax: np.ndarray  # [3] float64

    @staticmethod
    def between(reference: Intrinsics, source: Intrinsics, source_from_reference: np.ndarray) -> SourceProjection:
        k = source.matrix()
        columns = k @ source_from_reference[:3, :3] @ np.linalg.inv(reference.matrix())
        return SourceProjection(columns, k @ source_from_reference[:3, 3])

    def infinity(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Homogeneous pixels [3, h, w] of pixels x [w], y [h, 1] at infinity."""
        return self.columns[:, 0, None, None] * x + self.columns[:, 1, None, None] * y + self.columns[:, 2, None, None]

    def parallax_rate(self, width: int, height: int) -> float:
        """Pixels by which a point moves in the source per unit of inverse depth, at infinity; median over the
        reference's image of `width` x `height`, 0 where none of it lies before the source.
        """
        x, y = np.arange(0, width, max(1, width // 6)), np.arange(0, height, max(1, height // 6))[:, None]
        u, v, z = self.infinity(x, y).reshape(3, -1)
        ahead = z > 1e-6
        if not ahead.any():
            return 0.0
        u, v, z = u[ahead], v[ahead], z[ahead]
        bx, by, bz = self.parallax
        return float(np.median(np.hypot(bx * z - bz * u, by * z - bz * v) / z**2))


def typical_rate(projections: Sequence[SourceProjection], width: int, height: int) -> float:
    """`parallax_rate` of the source in the middle, 0 without one: planes spaced for the widest baseline alone would be
    too many, or reach too near a depth, for what the others see.
    """
    rates = sorted(projection.parallax_rate(width, height) for projection in projections)
    return rates[len(rates) // 2] if rates else 0.0
