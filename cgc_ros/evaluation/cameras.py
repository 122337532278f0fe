"""A frame's view as the camera that a map's snapshot renders."""

from __future__ import annotations

from cgc_ros.frame import Frame
from cgc_ros.mapping import MapSnapshot
from cgc_ros.rendering import Camera


def frame_camera(frame: Frame, snapshot: MapSnapshot) -> Camera:
    """The frame's camera, on the map's device."""
    return Camera.from_intrinsics(frame.intrinsics, frame.world_from_camera, snapshot.model.device)
