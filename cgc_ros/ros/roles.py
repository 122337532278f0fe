"""What the parts of the node are for one another. Who calls whom, and in whose thread:

inputs    Inputs ──> Intake ── map_from ──> CameraPoses
                       ├────── sight, mask > RobotMasking (with robot_mask)
                       ├────── on_view ───> LabelWorker, NamingWorker
                       └────── submit ────> MappingSession
labels    LabelWorker ── labels ──> MapLabels, then publish ──> LabelOutput
outputs   OutputWorker ── snapshot ──> MappingSession; ObjectCache, Publishers
services  Services ──> Answerer, MappingSession; clear ──> all that keep something of a map that was replaced
any       failed ──> OutputFailures ──> FaultBoard, MappingSession.relieve_memory
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from cgc_ros.frame import Frame
from cgc_ros.ros.parameters import NodeParameters

if TYPE_CHECKING:
    from cgc_ros.mapping import Failure, MapSnapshot
    from cgc_ros.ros.robot_sight import RobotSight
    from cgc_ros.ros.view import LabelledView, View


class CurrentParameters(Protocol):
    """The node's parameters as they are now."""

    @property
    def current(self) -> NodeParameters: ...


class SnapshotSource(Protocol):
    """Who has the newest map; None before there is one."""

    @property
    def snapshot(self) -> MapSnapshot | None: ...


class PoseSource(Protocol):
    """Where the camera was. Must not block."""

    def map_from(self, frame_id: str, stamp_ns: int) -> np.ndarray:
        """map_from_frame [4, 4]; raises TransformError."""
        ...


class RobotFinder(Protocol):
    """Who knows where the robot is in images. Must not block."""

    def sight(self, stamp_ns: int) -> RobotSight:
        """The robot's links; raises TransformError where waiting may help, FrameError where it will not."""
        ...

    def mask(self, view: View, sight: RobotSight, depth: np.ndarray | None) -> np.ndarray:
        """[H, W] bool, its pixels."""
        ...


class ViewSink(Protocol):
    """Who wants every image whose pose is known. Must not block."""

    def on_view(self, view: View) -> None: ...


class FrameSink(Protocol):
    """Who maps. Must not block."""

    def submit(self, frame: Frame) -> None: ...


class LabelRenderer(Protocol):
    """Who makes label images."""

    def labels(self, view: View) -> np.ndarray:
        """Object ids of a view, [H, W] uint16."""
        ...


class LabelSink(Protocol):
    """Where label images go."""

    def is_wanted(self) -> bool: ...
    def publish(self, labelled: LabelledView) -> None: ...


class FailureSink(Protocol):
    """Who is told of an unexpected error, outside of the `except`; the caller goes on."""

    def failed(self, failure: Failure) -> None: ...


class MapFollower(Protocol):
    """Who keeps something of the map in memory."""

    def clear(self) -> None:
        """Forget it: the map was replaced."""
        ...
