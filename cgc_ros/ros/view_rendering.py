"""The map seen from an input image's camera, on that image's own pixels (distorted where the lens is)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cgc_ros.frame import UNLABELLED, Intrinsics
from cgc_ros.ignored_pixels import mark_ignored
from cgc_ros.rendering import Camera, device_of
from cgc_ros.ros.roles import CurrentParameters, SnapshotSource
from cgc_ros.view_grid import grid_for

if TYPE_CHECKING:
    from cgc_ros.mapping import MapSnapshot
    from cgc_ros.ros.view import View


@dataclass(frozen=True)
class MapLabels:
    """Label images of the newest map."""

    maps: SnapshotSource
    parameters: CurrentParameters

    def labels(self, view: View) -> np.ndarray:
        """Object ids of a view, [H, W] uint16; 65534 where the view's pixels are ignored."""
        width = self.parameters.current.max_image_width
        labels = render_labels(self.maps.snapshot, view.camera, view.map_from_camera, width)
        return mark_ignored(labels, view.ignore)


def render_labels(
    snapshot: MapSnapshot | None, camera: Intrinsics, map_from_camera: np.ndarray, max_width: int = 0
) -> np.ndarray:
    """Lasting object ids, [H, W] uint16, 65535 unlabelled; all unlabelled while there is no map.

    `max_width` bounds what is rendered (0: no bound); the result has the camera's own size.
    """
    if snapshot is None or snapshot.num_gaussians == 0:
        return np.full((camera.height, camera.width), UNLABELLED, dtype=np.uint16)
    grid = grid_for(camera, max_width)
    return grid.to_image(snapshot.segment(_camera(snapshot, grid.intrinsics, map_from_camera)), UNLABELLED)


def render_appearance(
    snapshot: MapSnapshot | None,
    camera: Intrinsics,
    map_from_camera: np.ndarray,
    stamp_ns: int | None = None,
    max_width: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Colour [H, W, 3] uint8 RGB and depth [H, W] float32, metres, NaN unknown; nothing while there is no map.

    With a stamp, in the exposure that the camera had then; `max_width` as for labels.
    """
    if snapshot is None or snapshot.num_gaussians == 0:
        shape = (camera.height, camera.width)
        return np.zeros((*shape, 3), dtype=np.uint8), np.full(shape, np.nan, dtype=np.float32)
    grid = grid_for(camera, max_width)
    render = snapshot.render(_camera(snapshot, grid.intrinsics, map_from_camera), stamp_ns)
    return grid.to_image(render.color, 0), grid.to_image(render.depth, np.nan)


def _camera(snapshot: MapSnapshot, intrinsics: Intrinsics, map_from_camera: np.ndarray) -> Camera:
    return Camera.from_intrinsics(intrinsics, map_from_camera, device_of(snapshot.backend))
