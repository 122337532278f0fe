"""A frame's view as the camera that a map's snapshot renders."""

from __future__ import annotations

from typing import Protocol

from cgc_ros.frame import Frame
from cgc_ros.gaussians.model import GaussianModel
from cgc_ros.rendering import Camera


class OnDevice(Protocol):
    """What of a MapSnapshot is needed."""

    @property
    def model(self) -> GaussianModel: ...


def frame_camera(frame: Frame, snapshot: OnDevice) -> Camera:
    """The frame's camera, on the map's device."""
    return Camera.from_intrinsics(frame.intrinsics, frame.world_from_camera, snapshot.model.device)
