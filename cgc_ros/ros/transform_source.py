"""Where the camera is: "map from this frame at this stamp", answered by tf2_ros or by our own buffer.

`/tf`, `/tf_static` and pose messages are checked and fed here, the same for every buffer (`create_buffer`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped, TransformStamped
from nav_msgs.msg import Odometry
from tf2_msgs.msg import TFMessage

from cgc_ros.frame import FrameError
from cgc_ros.messages.frame_names import frame_name
from cgc_ros.messages.geometry import matrix_from_pose, matrix_from_transform, pose_of
from cgc_ros.messages.stamps import stamp_of
from cgc_ros.ros.conversions.geometry import transform_from_matrix
from cgc_ros.ros.conversions.stamps import time_message
from cgc_ros.ros.roles import CurrentParameters
from cgc_ros.transform_buffer import TransformBuffer, TransformError

#: Farther from the map's origin (metres) float32 resolves no millimetre.
MAX_DISTANCE_M = 1e4

POSE_TYPES = {"pose": PoseStamped, "pose_with_covariance": PoseWithCovarianceStamped, "odometry": Odometry}


class Buffer(Protocol):
    """What stores transforms: TransformBuffer or Tf2Buffer. Both raise TransformError with the same reasons."""

    def set_transform(
        self, parent: str, child: str, stamp_ns: int, matrix: np.ndarray, static: bool = False
    ) -> None: ...
    def lookup(self, target: str, source: str, stamp_ns: int | None = None) -> np.ndarray: ...
    def clear(self) -> None: ...


class Tf2Buffer:
    """tf2_ros.Buffer behind our buffer's signature: the same answers, the same reasons of errors."""

    def __init__(self, history_s: float = 10.0):
        import tf2_ros
        from rclpy.duration import Duration

        self._tf2 = tf2_ros
        self._buffer = tf2_ros.Buffer(cache_time=Duration(seconds=history_s))

    def set_transform(self, parent: str, child: str, stamp_ns: int, matrix: np.ndarray, static: bool = False) -> None:
        parent, child = frame_name(parent), frame_name(child)
        if not parent or not child or parent == child:
            raise TransformError(
                "bad_frame", f"transform {parent!r} -> {child!r}: frame ids must be two different names"
            )
        message = TransformStamped(child_frame_id=child)
        message.header.frame_id, message.header.stamp = parent, time_message(stamp_ns)
        message.transform = transform_from_matrix(matrix)
        (self._buffer.set_transform_static if static else self._buffer.set_transform)(message, "cgc_ros")

    def lookup(self, target: str, source: str, stamp_ns: int | None = None) -> np.ndarray:
        from rclpy.time import Time

        target, source = frame_name(target), frame_name(source)
        if not target or not source:
            raise TransformError("bad_frame", "a frame id is empty: set the frame_id of the header")
        if stamp_ns == 0:  # tf2 takes it for "the newest", which would hand an unstamped image a wrong pose
            raise TransformError(
                "extrapolation_past", f"the stamp of {source!r} is zero: stamp the images where they are published"
            )
        try:
            message = self._buffer.lookup_transform_core(target, source, Time(nanoseconds=stamp_ns or 0))
        except self._tf2.ConnectivityException as error:
            raise TransformError(
                "disconnected", f"{error}: start the node that publishes the link between the two"
            ) from error
        except self._tf2.LookupException as error:
            raise TransformError(
                "unknown_frame", f"{error} (frame {source!r} or {target!r} was never published)"
            ) from error
        except self._tf2.ExtrapolationException as error:
            reason = "extrapolation_future" if self._is_ahead(target, source, stamp_ns or 0) else "extrapolation_past"
            raise TransformError(reason, f"{error}: check that its publisher runs and that clocks agree") from error
        except self._tf2.TransformException as error:
            raise TransformError("bad_frame", str(error)) from error
        return matrix_from_transform(message.transform)

    def clear(self) -> None:
        self._buffer.clear()

    def _is_ahead(self, target: str, source: str, stamp_ns: int) -> bool:
        """Whether waiting may help. tf2's text does not tell where an edge has a single sample."""
        from rclpy.time import Time

        try:
            newest = self._buffer.lookup_transform_core(target, source, Time())
        except self._tf2.TransformException:
            return True
        return stamp_ns > stamp_of(newest.header.stamp)


def has_tf2_ros() -> bool:
    """Whether tf2_ros can be imported here, with what it needs."""
    try:
        import tf2_ros  # noqa: F401
    except ImportError:
        return False
    return True


def _check_stamp(stamp_ns: int, what: str) -> None:
    """tf2 cannot hold a stamp before 1970."""
    if stamp_ns < 0:
        raise TransformError("negative_stamp", f"{what} has the negative stamp {stamp_ns * 1e-9:.3f} s")


class TransformSource:
    """Feeds a buffer from transform and pose messages and answers lookups. The node subscribes and calls `on_*`.

    `clock_jump_ns`: a transform this much older than the newest of its edge means that the clock jumped back (a
    recording that starts again); dynamic transforms are then forgotten.
    `counts`: refused messages by reason (bad_pose, bad_transform, bad_frame, loop, old_data, negative_stamp), and
    `clock_jump`.
    """

    def __init__(
        self,
        buffer: Buffer,
        clock_jump_ns: int = 1_000_000_000,
        on_refused: Callable[[str, str], None] = lambda reason, message: None,
    ):
        self._buffer = buffer
        self._clock_jump_ns = clock_jump_ns
        self._on_refused = on_refused
        self._newest: dict[str, int] = {}
        self._pose_child: str | None = None
        self.counts: Counter[str] = Counter()

    def lookup(self, target: str, source: str, stamp_ns: int | None = None) -> np.ndarray:
        """target_from_source [4, 4] at a stamp (None: the newest). Never blocks; raises TransformError."""
        _check_stamp(stamp_ns or 0, f"transform {target!r} <- {source!r}")
        return self._buffer.lookup(target, source, stamp_ns)

    def on_tf(self, message: TFMessage) -> None:
        """Of /tf."""
        self._feed(message, static=False)

    def on_tf_static(self, message: TFMessage) -> None:
        """Of /tf_static."""
        self._feed(message, static=True)

    def on_pose(self, message, child_frame: str, default_parent: str) -> None:
        """Of a pose topic: header.frame_id (default_parent where empty) from `child_frame`, at the header's stamp.

        An Odometry names its child itself. Transforms of that child on /tf are ignored from then on: a frame has one
        parent.
        """
        child = getattr(message, "child_frame_id", "") or child_frame
        pose = pose_of(message)
        self._pose_child = frame_name(child)
        what = f"pose of {child!r}"
        self._store(
            lambda: matrix_from_pose(pose, what),
            message.header.frame_id or default_parent,
            child,
            stamp_of(message.header.stamp),
            False,
        )

    def _feed(self, message: TFMessage, static: bool) -> None:
        for each in message.transforms:
            parent, child = each.header.frame_id, each.child_frame_id
            if frame_name(child) == self._pose_child:
                continue
            what = f"transform {parent!r} -> {child!r}"
            self._store(
                partial(matrix_from_transform, each.transform, what),
                parent,
                child,
                stamp_of(each.header.stamp),
                static,
            )

    def _store(self, read: Callable[[], np.ndarray], parent: str, child: str, stamp_ns: int, static: bool) -> None:
        try:
            matrix = read()
            _check_stamp(stamp_ns, f"transform {parent!r} -> {child!r}")
            if not static:
                self._watch_clock(child, stamp_ns)
            self._buffer.set_transform(parent, child, stamp_ns, matrix, static)
        except (FrameError, TransformError) as error:
            self.counts[error.reason] += 1
            self._on_refused(error.reason, str(error))

    def _watch_clock(self, child: str, stamp_ns: int) -> None:
        newest = self._newest.get(child)
        if newest is not None and stamp_ns < newest - self._clock_jump_ns:
            self._buffer.clear()
            self._newest.clear()
            self.counts["clock_jump"] += 1
            self._on_refused(
                "clock_jump_back", f"transforms of {child!r} jumped back by {(newest - stamp_ns) * 1e-9:.1f} s"
            )
        self._newest[child] = max(stamp_ns, self._newest.get(child, stamp_ns))


@dataclass(frozen=True)
class CameraPoses:
    """Where a camera was in the map, by the node's current map_frame."""

    transforms: TransformSource
    parameters: CurrentParameters

    def map_from(self, frame_id: str, stamp_ns: int) -> np.ndarray:
        """map_from_frame [4, 4]. Never blocks; errors as `camera_pose`."""
        return camera_pose(self.transforms, self.parameters.current.map_frame, frame_id, stamp_ns)


def camera_pose(transforms: TransformSource, map_frame: str, frame_id: str, stamp_ns: int) -> np.ndarray:
    """map_from_frame [4, 4]. Raises TransformError, also where a map would lose its precision (far_from_origin)."""
    map_from_frame = transforms.lookup(map_frame, frame_id, stamp_ns)
    distance = float(np.abs(map_from_frame[:3, 3]).max())
    if distance > MAX_DISTANCE_M:
        step_mm = float(np.spacing(np.float32(distance))) * 1e3
        raise TransformError(
            "far_from_origin",
            f"{frame_id!r} is {distance:.4g} m from the origin of {map_frame!r}, where float32, in which maps and "
            f"clouds are kept, has steps of {step_mm:.2g} mm: set map_frame to a frame near the robot (map, odom)",
        )
    return map_from_frame


def create_buffer(kind: str = "auto", history_s: float = 10.0) -> Buffer:
    """`tf2`: tf2_ros.Buffer; `buffer`: our own; `auto`: tf2_ros where it is installed."""
    if kind == "tf2" and not has_tf2_ros():
        raise ValueError(
            "transform_buffer is 'tf2' and tf2_ros is not installed: install ros-jazzy-tf2-ros-py, or set it to "
            "'auto' or 'buffer'"
        )
    return Tf2Buffer(history_s) if kind == "tf2" or (kind == "auto" and has_tf2_ros()) else TransformBuffer(history_s)
