"""What views say of voxels: seen through, or a surface there. What no view says anything of stays unknown."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from cgc_ros.rendering import Camera
from cgc_ros.rendering.kernels import WHY_UNAVAILABLE, kernels, num_threads
from cgc_ros.space.grid import VoxelGrid

_NEAR = 1e-3  # metres before the camera from which on anything is seen
_HALF_DIAGONAL = float(np.sqrt(3.0)) / 2  # of a voxel: all of it lies before what its middle is this far before
_ERROR = 0.01  # of depth: what a depth camera or a rendered map may be off by
_BAND = 0.6  # voxels on both sides of a surface: more than half, so that it has no holes, and less than a whole one
_BORDER = 2  # pixels that borders may be out of place
_MAX_REACH = 24  # pixels
_EVERY = 8  # pixel is asked how near things are


@dataclass(frozen=True)
class DepthView:
    """Depth as a camera saw it, or as the map knows it for sure."""

    camera: Camera  # at the depth's size
    depth: np.ndarray  # [H, W] float32, metres along the optical axis, 0 = unknown


class SpaceEvidence:
    """Counts of views for each voxel of a grid; one thread at a time."""

    def __init__(self, grid: VoxelGrid):
        self.grid = grid
        self.free = np.zeros(grid.shape, np.uint8)  # views that see all of the voxel to be empty, at most 255
        self.hit = np.zeros(grid.shape, np.uint8)  # views that see a surface in it, at most 255

    def look(self, view: DepthView) -> None:
        """Count what a view says."""
        count = count_plainly if WHY_UNAVAILABLE else _count
        count(self, view)

    @property
    def is_occupied(self) -> np.ndarray:
        """[X, Y, Z] bool: a surface, seen by one view of four or more of those that say anything. Few are enough: what
        is thin or shiny is missed by most.
        """
        return (self.hit > 0) & (self.hit >= self.free // 3)

    @property
    def is_free(self) -> np.ndarray:
        """[X, Y, Z] bool: seen through, and no surface."""
        return (self.free > 0) & ~self.is_occupied


def _count(evidence: SpaceEvidence, view: DepthView) -> None:
    camera, voxel = view.camera, evidence.grid.voxel_size
    surface = np.ascontiguousarray(view.depth, np.float32)
    kernels.carve(
        evidence.free,
        evidence.hit,
        _camera_from_voxels(evidence.grid, camera).astype(np.float32),
        surface,
        _nearest_around(view, voxel),
        fx=camera.fx,
        fy=camera.fy,
        cx=camera.cx,
        cy=camera.cy,
        clearance=_HALF_DIAGONAL * voxel,
        clearance_share=_ERROR,
        band=_BAND * voxel,
        band_share=0.0,
        threads=num_threads(),
    )


def count_plainly(evidence: SpaceEvidence, view: DepthView) -> None:
    """The same without the kernels; the tests' oracle."""
    camera, voxel = view.camera, evidence.grid.voxel_size
    from_voxels = _camera_from_voxels(evidence.grid, camera)
    x, y, z = from_voxels[:, :3] @ np.indices(evidence.grid.shape).reshape(3, -1) + from_voxels[:, 3:]
    ahead = np.maximum(z, _NEAR)
    columns = np.floor(camera.fx * x / ahead + camera.cx)
    rows = np.floor(camera.fy * y / ahead + camera.cy)
    seen = (z > _NEAR) & (columns >= 0) & (columns < camera.width) & (rows >= 0) & (rows < camera.height)
    at = (np.where(seen, rows, 0).astype(int), np.where(seen, columns, 0).astype(int))
    surface, nearest = view.depth[at], _nearest_around(view, voxel)[at]
    is_hit = seen & (surface > 0) & (np.abs(z - surface) <= _BAND * voxel)
    is_free = seen & ~is_hit & (z < (1 - _ERROR) * nearest - _HALF_DIAGONAL * voxel)
    for counts, more in ((evidence.free, is_free), (evidence.hit, is_hit)):
        counts += more.reshape(counts.shape) & (counts < 255)


def _nearest_around(view: DepthView, voxel_size: float) -> np.ndarray:
    """Depth [H, W] of the nearest surface within a voxel's breadth around each pixel, 0 where part of that is unknown;
    metres.
    """
    sample = view.depth[::_EVERY, ::_EVERY]
    known = sample[sample > 0]
    near = float(np.percentile(known, 5)) if len(known) else 1.0
    reach = min(_BORDER + int(np.ceil(_HALF_DIAGONAL * voxel_size * view.camera.fx / near)), _MAX_REACH)
    return cv2.erode(view.depth.astype(np.float32, copy=False), np.ones((2 * reach + 1,) * 2, np.uint8))


def _camera_from_voxels(grid: VoxelGrid, camera: Camera) -> np.ndarray:
    """[3, 4] float64: camera coordinates of the middle of the voxel at indices (i, j, k, 1)."""
    camera_from_map = camera.camera_from_world.detach().cpu().numpy().astype(np.float64)
    rotation = camera_from_map[:3, :3]
    first = rotation @ (grid.origin + 0.5 * grid.voxel_size) + camera_from_map[:3, 3]
    return np.column_stack([grid.voxel_size * rotation, first])
