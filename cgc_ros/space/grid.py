"""A box of the map in voxels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cgc_ros.errors import ReasonError

MAX_VOXELS = 200_000_000  # 1.4 GB with what is known of them: half a room of 10 x 8 x 2.5 m at 1 cm


class SpaceError(ReasonError):
    """A grid that cannot be made: `reason` is `bad_box`, `bad_voxel_size`, `too_many_voxels`, `nothing_there` or
    `unknown_object`.
    """


@dataclass(frozen=True)
class VoxelGrid:
    """Cubes side by side; the one at (0, 0, 0) has its least corner at `origin`."""

    origin: np.ndarray  # [3] float64, map frame, metres
    voxel_size: float  # metres
    shape: tuple[int, int, int]  # along x, y, z

    @staticmethod
    def over(least: np.ndarray, most: np.ndarray, voxel_size: float) -> VoxelGrid:
        """The smallest grid that covers a box, its corners [3] in metres; its voxels lie on multiples of their size, so
        that grids of one size share theirs. Raises SpaceError.
        """
        least, most = np.asarray(least, np.float64).reshape(3), np.asarray(most, np.float64).reshape(3)
        if not (np.isfinite(voxel_size) and voxel_size > 0):
            raise SpaceError("bad_voxel_size", f"a voxel's size must be a positive number of metres, not {voxel_size}")
        if not np.isfinite([least, most]).all() or not (most > least).all():
            raise SpaceError(
                "bad_box", f"a box needs x0 < x1, y0 < y1, z0 < z1 in metres, not {least.tolist()} to {most.tolist()}"
            )
        first = np.floor(least / voxel_size + 1e-6)
        shape = np.maximum(np.ceil(most / voxel_size - 1e-6) - first, 1.0)
        if shape.prod() > MAX_VOXELS:
            raise SpaceError(
                "too_many_voxels",
                f"{' x '.join(f'{each:.0f}' for each in shape)} voxels of {voxel_size} m are more than "
                f"{MAX_VOXELS:,}: take a smaller box or larger voxels",
            )
        nx, ny, nz = shape.astype(int).tolist()
        return VoxelGrid(first * voxel_size, float(voxel_size), (nx, ny, nz))

    @property
    def size(self) -> int:
        """Number of voxels."""
        return int(np.prod(self.shape))

    def centers(self, voxels: np.ndarray) -> np.ndarray:
        """Middles [P, 3] of voxels, given by their indices [P, 3]; map frame, metres."""
        return self.origin + (np.asarray(voxels) + 0.5) * self.voxel_size

    def voxels_of(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Indices [P, 3] int64 of the voxels that points [P, 3] lie in, and which of them lie in the grid, [P] bool."""
        voxels = np.floor((points - self.origin) / self.voxel_size).astype(np.int64)
        return voxels, ((voxels >= 0) & (voxels < self.shape)).all(axis=1)
