"""What the viewer shows beside the map itself: posed pictures, keyframes and the newest frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import Protocol, TypeVar

import cv2
import numpy as np

from cgc_ros.frame import UNLABELLED, Intrinsics
from cgc_ros.ignored_pixels import mark_ignored, touched_resized
from cgc_ros.mapping import Mapper, MapSnapshot
from cgc_ros.mapping.object_editing import EditOutcome, EditRequest, edit_objects
from cgc_ros.palette import overlay_picture
from cgc_ros.rendering import Camera

Result = TypeVar("Result")

CALL_TIMEOUT = 30.0  # seconds to wait for the mapper's thread


class MapSource(Protocol):
    """Where the map comes from: a MappingSession, or a SavedMap. `status()` is optional (no curves without it).

    `ask` runs a function that reads the mapper, `change` one after which there is a new snapshot.
    """

    @property
    def snapshot(self) -> MapSnapshot | None: ...

    def ask(self, function: Callable[[Mapper], Result], timeout: float = ...) -> Result: ...
    def change(self, function: Callable[[Mapper], Result], timeout: float = ...) -> Result: ...


@dataclass(frozen=True)
class CameraView:
    """A picture and where it was taken."""

    id: int  # of the keyframe; -1 for a frame that is none
    name: str
    stamp_ns: int
    intrinsics: Intrinsics
    world_from_camera: np.ndarray  # [4, 4] float64, optical frame, metres
    image: np.ndarray  # [H, W, 3] uint8 RGB, never written to
    ignore: np.ndarray | None = None  # [H, W] bool, pixels that are no part of the world

    @property
    def vertical_fov(self) -> float:
        """Radians."""
        return 2 * math.atan2(self.intrinsics.height, 2 * self.intrinsics.fy)

    def camera(self, width: int, snapshot: MapSnapshot) -> Camera:
        """This view at `width` pixels across, on the map's device."""
        camera = Camera.from_intrinsics(self.intrinsics, self.world_from_camera, snapshot.model.device)
        return camera.scaled_to(width, max(1, round(camera.height * width / camera.width)))


@dataclass(frozen=True)
class CameraViews:
    """The keyframes in order of arrival, and the newest frame; where that is None the newest keyframe stands in."""

    keyframes: tuple[CameraView, ...] = ()
    newest: CameraView | None = None

    @property
    def current(self) -> CameraView | None:
        return self.newest or (self.keyframes[-1] if self.keyframes else None)


def view_pictures(
    view: CameraView, snapshot: MapSnapshot, width: int, hidden: Set[int] = frozenset()
) -> list[np.ndarray]:
    """Image, render, and image tinted by the map's objects, [h, width, 3] uint8 RGB each; hidden ones stay untinted."""
    camera = view.camera(width, snapshot)
    image = cv2.resize(view.image, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
    labels = snapshot.segment(camera)
    if hidden:
        labels = np.where(np.isin(labels, list(hidden)), UNLABELLED, labels)
    if view.ignore is not None:
        labels = mark_ignored(labels, touched_resized(view.ignore, camera.width, camera.height))
    return [image, snapshot.render(camera, view.stamp_ns).color, overlay_picture(image, labels)]


def session_views(source: MapSource) -> CameraViews:
    """The keyframes of a session's mapper. Raises TimeoutError where its thread does not answer."""
    return source.ask(_keyframe_views, CALL_TIMEOUT)


def edit_in_session(source: MapSource, request: EditRequest) -> EditOutcome:
    """Edit the objects of a map; raises EditError and TimeoutError."""
    return source.change(lambda mapper: edit_objects(mapper, request), CALL_TIMEOUT)


def _keyframe_views(mapper: Mapper) -> CameraViews:
    return CameraViews(
        tuple(
            CameraView(
                each.id, each.name, each.stamp_ns, each.intrinsics, each.world_from_camera, each.image, each.ignore
            )
            for each in mapper.keyframes
        )
    )
