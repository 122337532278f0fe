"""Pictures of one object, cut from the keyframes that show it best."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

from cgc_ros.mapping import MapObject, MapSnapshot
from cgc_ros.palette import id_color
from cgc_ros.rendering import Camera
from cgc_ros.viewer.views import CameraView

TILE = 132  # pixels, width and height of one crop
MARGIN = 0.25  # of the object's extent in the image, on each side
MIN_VISIBLE = 0.02  # share of the crop that must show the object
SAMPLE = 400  # points that stand for the cloud


def object_crops(
    item: MapObject, views: Iterable[CameraView], snapshot: MapSnapshot, count: int = 4
) -> list[np.ndarray]:
    """At most `count` crops [TILE, TILE, 3] uint8 RGB with the object outlined, from views that differ; best first.

    A view qualifies where the map, rendered from there, shows the object: it may be hidden behind others.
    """
    points = item.points[:: max(1, len(item.points) // SAMPLE)].astype(np.float64)
    candidates = sorted(
        ((share, view, window) for view in views for share, window in [_window(points, view)] if share > 0),
        key=lambda candidate: -candidate[0],
    )
    crops, taken = [], []
    for _, view, window in candidates[: 4 * count]:
        direction = _direction(view, item)
        if any(direction @ other > np.cos(np.deg2rad(12)) for other in taken):
            continue
        crop = _outlined(item, view, window, snapshot)
        if crop is not None:
            crops.append(crop)
            taken.append(direction)
        if len(crops) == count:
            break
    return crops


def contact_sheet(crops: list[np.ndarray], columns: int = 2, gap: int = 4) -> np.ndarray:
    """Crops of one size in rows on white."""
    rows = -(-len(crops) // columns)
    size = crops[0].shape[0]
    sheet = np.full((rows * (size + gap) - gap, columns * (size + gap) - gap, 3), 255, np.uint8)
    for index, crop in enumerate(crops):
        top, left = (index // columns) * (size + gap), (index % columns) * (size + gap)
        sheet[top : top + size, left : left + size] = crop
    return sheet


def _direction(view: CameraView, item: MapObject) -> np.ndarray:
    offset = view.world_from_camera[:3, 3] - item.box.center
    return offset / max(np.linalg.norm(offset), 1e-9)


def _window(points_map: np.ndarray, view: CameraView) -> tuple[float, tuple[float, float, float]]:
    """How well a view shows the points, and the square (left, top, side; pixels) around them.

    The score is the share of points inside the image times the side of the square relative to the image's height, or 0.
    """
    rotation, position = view.world_from_camera[:3, :3], view.world_from_camera[:3, 3]
    local = (points_map - position) @ rotation
    if local[:, 2].min() <= 0.01:
        return 0.0, (0.0, 0.0, 0.0)
    k = view.intrinsics
    u, v = k.fx * local[:, 0] / local[:, 2] + k.cx, k.fy * local[:, 1] / local[:, 2] + k.cy
    inside = ((u >= 0) & (u < k.width) & (v >= 0) & (v < k.height)).mean()
    side = (1 + 2 * MARGIN) * max(np.ptp(u), np.ptp(v), 8.0)
    left, top = (u.min() + u.max() - side) / 2, (v.min() + v.max() - side) / 2
    return (float(inside * min(1.0, side / k.height)) if inside > 0.6 else 0.0), (left, top, side)


def _outlined(
    item: MapObject, view: CameraView, window: tuple[float, float, float], snapshot: MapSnapshot
) -> np.ndarray | None:
    """The window of a view at TILE pixels with the object's outline; None where the map hides the object there."""
    left, top, side = window
    zoom, k = TILE / side, view.intrinsics
    pose = Camera.from_intrinsics(k, view.world_from_camera, snapshot.model.device)
    camera = Camera(
        TILE, TILE, k.fx * zoom, k.fy * zoom, (pose.cx - left) * zoom, (pose.cy - top) * zoom, pose.camera_from_world
    )
    mask = snapshot.segment(camera) == item.id
    if mask.mean() < MIN_VISIBLE:
        return None
    image_from_crop = np.array([[1 / zoom, 0, left], [0, 1 / zoom, top]])
    crop = cv2.warpAffine(
        view.image,
        image_from_crop,
        (TILE, TILE),
        flags=cv2.INTER_AREA | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(233, 236, 239),
    )
    contours = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    return cv2.drawContours(crop, contours, -1, id_color(item.id), 2)
