"""An object's surface as keyframes measured it: sharper than young Gaussians, in shape and colour."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from cgc_ros.gaussians.model import GaussianModel
from cgc_ros.mapping.change_config import ChangeConfig
from cgc_ros.mapping.keyframes import Keyframe
from cgc_ros.mapping.object_matter import matter_in_view
from cgc_ros.mapping.relocation import ColoredCloud
from cgc_ros.segmentation.objects import MapObject

_VIEWS = 10  # that are looked at
_BORDER = np.ones((3, 3), np.uint8)  # pixels there mix colours
_LEVEL = 2  # of the margins within which a pixel is the object's
_VOXEL = 0.025  # of the object's length
_LEAST_POINTS = 60


def measured_cloud(
    matter: GaussianModel, keyframes: Sequence[Keyframe], shape: MapObject | None, config: ChangeConfig, backend: str
) -> ColoredCloud:
    """Points that keyframes with depth measured where they show `matter`, in their images' colours; `shape`'s own cloud
    where they measured too few.
    """
    chosen = (
        [keyframes[k] for k in np.unique(np.linspace(0, len(keyframes) - 1, _VIEWS).round().astype(int))]
        if keyframes
        else []
    )
    points, colors = [np.zeros((0, 3))], [np.zeros((0, 3))]
    for keyframe in chosen:
        found = matter_in_view(
            matter, keyframe, config.silhouette_width, 0.5, config.comparison, backend, keyframe.world_depth()
        )
        shown = found.silhouette & (found.levels >= 0) & (found.levels <= _LEVEL)
        shown &= cv2.erode(found.silhouette.astype(np.uint8), _BORDER) > 0
        if shown.any():
            one, other = _lifted(keyframe, shown)
            points.append(one)
            colors.append(other)
    cloud = _voxels(np.concatenate(points), np.concatenate(colors))
    if len(cloud.points) < _LEAST_POINTS and shape is not None:
        return ColoredCloud(shape.points.astype(np.float64), shape.colors / 255.0)
    return cloud


def _lifted(keyframe: Keyframe, shown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points [P, 3] and colours 0..1 of a keyframe's pixels, one for each of a small mask's."""
    height, width = keyframe.image.shape[:2]
    rows, columns = np.nonzero(shown)
    rows = ((rows + 0.5) * height / shown.shape[0]).astype(int)
    columns = ((columns + 0.5) * width / shown.shape[1]).astype(int)
    depth = np.zeros(len(rows)) if keyframe.depth is None else keyframe.depth[rows, columns].astype(np.float64)
    rows, columns, depth = rows[depth > 0], columns[depth > 0], depth[depth > 0]
    points = keyframe.intrinsics.lift(columns, rows, depth, keyframe.world_from_camera)
    small = cv2.blur(keyframe.image, (3, 3))
    return points, small[rows, columns] / 255.0


def _voxels(points: np.ndarray, colors: np.ndarray) -> ColoredCloud:
    """One mean for every voxel; what lies far from the rest left out."""
    if len(points) < _LEAST_POINTS:
        return ColoredCloud(points, colors)
    low, high = np.percentile(points, [2, 98], axis=0)
    kept = ((points >= low - 0.2 * (high - low)) & (points <= high + 0.2 * (high - low))).all(axis=1)
    points, colors = points[kept], colors[kept]
    size = max(_VOXEL * float(np.linalg.norm(high - low)), 1e-6)
    _, voxel, counts = np.unique(
        np.floor(points / size).astype(np.int64), axis=0, return_inverse=True, return_counts=True
    )
    sums = np.zeros((len(counts), 6))
    np.add.at(sums, voxel.reshape(-1), np.concatenate([points, colors], axis=1))
    means = sums / counts[:, None]
    return ColoredCloud(means[:, :3], means[:, 3:])
