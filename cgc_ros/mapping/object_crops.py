"""Pictures of one object, cut from the keyframes that show it best."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from cgc_ros.frame import Intrinsics
from cgc_ros.mapping.snapshot import MapSnapshot
from cgc_ros.rendering import Camera
from cgc_ros.segmentation.objects import MapObject

MIN_VISIBLE = 0.02  # share of the crop that must show the object
MIN_TURN = np.deg2rad(12)  # between the directions from which two crops look at the object
STRAY = 3.0  # times the median distance from the middle: points farther off do not count for the window
SAMPLE = 400  # points that stand for the cloud
BESIDE_THE_IMAGE = (233, 236, 239)  # colour of what lies outside the keyframe's image


class PosedImage(Protocol):
    """What of a keyframe is needed (mapping.Keyframe, viewer.CameraView)."""

    @property
    def intrinsics(self) -> Intrinsics: ...

    @property
    def world_from_camera(self) -> np.ndarray: ...  # [4, 4], metres

    @property
    def image(self) -> np.ndarray: ...  # [H, W, 3] uint8 RGB

    @property
    def ignore(self) -> np.ndarray | None: ...  # [H, W] bool, pixels that are no part of the world


@dataclass(frozen=True)
class ObjectCrop:
    """A square picture around an object in one view."""

    picture: np.ndarray  # [size, size, 3] uint8 RGB
    mask: np.ndarray  # [size, size] bool, the object in it


def object_crops(
    item: MapObject,
    views: Iterable[PosedImage],
    snapshot: MapSnapshot,
    *,
    count: int = 4,
    size: int = 132,
    margin: float = 0.25,
) -> list[ObjectCrop]:
    """At most `count` crops of `size` pixels from views that differ, best first; `margin` of the object's extent is
    left on each side.

    A view qualifies where the map, rendered from there, shows the object: it may be hidden behind others.
    """
    points = _main_body(item.points[:: max(1, len(item.points) // SAMPLE)].astype(np.float64))
    candidates = sorted(
        ((share, view, window) for view in views for share, window in [_window(points, view, margin)] if share > 0),
        key=lambda candidate: -candidate[0],
    )
    crops = []
    taken: list[np.ndarray] = []
    for _, view, window in candidates[: 4 * count]:
        direction = _direction(view, item)
        if any(direction @ other > np.cos(MIN_TURN) for other in taken):
            continue
        crop = _crop(item, view, window, snapshot, size)
        if crop is not None:
            crops.append(crop)
            taken.append(direction)
        if len(crops) == count:
            break
    return crops


def _main_body(points: np.ndarray) -> np.ndarray:
    """Points [P, 3] without those far from most: a stray patch must not make the object small in its picture."""
    distances = np.linalg.norm(points - np.median(points, axis=0), axis=1)
    return points[distances <= STRAY * np.median(distances)]


def _direction(view: PosedImage, item: MapObject) -> np.ndarray:
    offset = view.world_from_camera[:3, 3] - item.box.center
    return offset / max(np.linalg.norm(offset), 1e-9)


def _window(points_map: np.ndarray, view: PosedImage, margin: float) -> tuple[float, tuple[float, float, float]]:
    """How well a view shows the points, and the square (left, top, side; pixels) around them.

    The score is the share of points inside the image times the side of the square relative to the image's height, or 0.
    """
    k = view.intrinsics
    u, v, depth = k.project(points_map, view.world_from_camera)
    if depth.min() <= 0.01:
        return 0.0, (0.0, 0.0, 0.0)
    inside = ((u >= 0) & (u < k.width) & (v >= 0) & (v < k.height)).mean()
    side = (1 + 2 * margin) * max(np.ptp(u), np.ptp(v), 8.0)
    left, top = (u.min() + u.max() - side) / 2, (v.min() + v.max() - side) / 2
    return (float(inside * min(1.0, side / k.height)) if inside > 0.6 else 0.0), (left, top, side)


def _crop(
    item: MapObject, view: PosedImage, window: tuple[float, float, float], snapshot: MapSnapshot, size: int
) -> ObjectCrop | None:
    """The window of a view at `size` pixels; None where the map hides the object there."""
    left, top, side = window
    zoom, k = size / side, view.intrinsics
    pose = Camera.from_intrinsics(k, view.world_from_camera, snapshot.model.device)
    camera = Camera(
        size, size, k.fx * zoom, k.fy * zoom, (pose.cx - left) * zoom, (pose.cy - top) * zoom, pose.camera_from_world
    )
    # Beside the image, the map may know the object too: that is not in the picture.
    columns, rows = (np.arange(size) / zoom + start for start in (left, top))
    inside = ((rows >= 0) & (rows < k.height))[:, None] & ((columns >= 0) & (columns < k.width))[None, :]
    mask = (snapshot.segment(camera) == item.id) & inside
    if view.ignore is not None:
        at = np.ix_(
            *(np.clip(np.rint(each), 0, n - 1).astype(int) for each, n in ((rows, k.height), (columns, k.width)))
        )
        mask &= ~view.ignore[at]
    if mask.mean() < MIN_VISIBLE:
        return None
    picture = cv2.warpAffine(
        view.image,
        np.array([[1 / zoom, 0, left], [0, 1 / zoom, top]]),  # image_from_crop
        (size, size),
        flags=cv2.INTER_AREA | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=BESIDE_THE_IMAGE,
    )
    return ObjectCrop(picture, mask)
