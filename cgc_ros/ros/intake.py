"""From sensor messages to posed frames: decode, join by stamp, find the pose, check, hand on.

Messages go in by `on_image` and its like; `poll` hands on what has become complete.

    image + camera_info ──> pose at its stamp ──> + ignore ──> on_view (label image: never waits for masks)
                                                          └──> + depth + masks ──> checks ──> submit (the mapper)

Where the robot is masked, it is found at the image's stamp, too, and depth is waited for before: it tells what stands
in front of the robot.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass, replace

import numpy as np
from std_msgs.msg import Header

from cgc_ros.frame import Frame, FrameError
from cgc_ros.image_size import scaled_frame
from cgc_ros.messages.camera_info import CameraCalibration, calibration_of
from cgc_ros.messages.stamps import stamp_of
from cgc_ros.ros.faults import FAULTS, FaultBoard
from cgc_ros.ros.frame_guard import FrameGuard
from cgc_ros.ros.image_stream import ImageStreamWatch
from cgc_ros.ros.input_decoder import InputDecoder
from cgc_ros.ros.intake_settings import IntakeSettings
from cgc_ros.ros.pose_queue import PoseQueue
from cgc_ros.ros.robot_sight import RobotSight
from cgc_ros.ros.roles import FrameSink, PoseSource, RobotFinder, ViewSink
from cgc_ros.ros.synchronizer import PartnerPolicy, StampSynchronizer
from cgc_ros.ros.view import View
from cgc_ros.transform_buffer import TransformError
from cgc_ros.undistortion import undistorter_for

#: Stamps farther than this from the node's clock belong to another clock.
FOREIGN_CLOCK_NS = 10_000_000_000

#: TransformError.reason -> the fault it is.
TRANSFORM_FAULTS = {
    "unknown_frame": "no_transform",
    "empty": "no_transform",
    "bad_frame": "no_transform",
    "disconnected": "broken_chain",
    "extrapolation_future": "late_transform",
    "queue_full": "late_transform",
    "extrapolation_past": "old_transform",
    "loop": "transform_loop",
    "far_from_origin": "far_from_origin",
}


@dataclass(frozen=True)
class _Arrival:
    header: Header
    stamp_ns: int
    image: np.ndarray
    arrived_ns: int


@dataclass(frozen=True)
class _Placed:
    """A view whose pose is known, and the robot in it where that is masked."""

    view: View
    robot: RobotSight | None = None
    lost: FrameError | None = None  # why the robot is not known: the view is labelled, not mapped


@dataclass(frozen=True)
class _Shown:
    """A view on its way to the mapper, and its depth message where that was waited for before."""

    view: View
    depth: object | None


@dataclass(frozen=True)
class IntakeCounts:
    """What has come in, and what became of it."""

    received: int  # images
    dropped: dict[str, int]  # images that never reached the mapper, by reason
    partners: dict[str, int]  # lost, late and approximate partners


class Intake:
    """Thread-safe.

    Images whose pose is known go to `views`, frames to be mapped to `frames`. `clock_ns` is the node's,
    `wait_clock_ns` measures how long messages wait for each other (WaitClock). `stream` watches how images arrive.
    """

    def __init__(
        self,
        settings: IntakeSettings,
        poses: PoseSource,
        faults: FaultBoard,
        views: Sequence[ViewSink],
        frames: FrameSink,
        clock_ns: Callable[[], int],
        wait_clock_ns: Callable[[], int] = time.monotonic_ns,
        robot: RobotFinder | None = None,
    ):
        """`robot`: who knows the robot's pixels, where those are to be ignored."""
        self._robot = robot
        self._robots = PoseQueue(self._sighted, self._robot_found, self._robot_late, max_wait_ns=0)
        self._faults, self._views, self._frames, self._clock_ns = faults, tuple(views), frames, clock_ns
        self._wait_clock_ns = wait_clock_ns
        self.stream = ImageStreamWatch()
        self._decoder = InputDecoder(faults)
        self._received = 0
        self._dropped: Counter[str] = Counter()
        self.last_image_ns: int | None = None  # monotonic time of the newest image's arrival
        self.image_frame = ""  # frame_id of the newest image
        self._poses = PoseQueue(poses.map_from, self._posed, self._pose_lost, max_wait_ns=0)
        self._guard = FrameGuard(settings.guard)
        self._newest_stamp: int | None = None
        self._has_poses = False  # whether an image got its pose since the start, or since the clock jumped
        self._mapped_until_ns = 0
        self._format: tuple[str, tuple[int, ...]] | None = None
        self._reported_lost: dict[str, int] = {}
        self._lock = threading.Lock()  # held while anything comes in or is asked for
        self._apply(settings)

    def configure(self, settings: IntakeSettings) -> None:
        """Apply new settings; what waits for partners is dropped, counts stay."""
        with self._lock:
            earlier = self._infos.counts + self._ignored.counts + self._extras.counts
            self._drop_waiting()
            self._apply(settings)
            self._extras.counts.update(earlier)

    def _apply(self, settings: IntakeSettings) -> None:
        self._settings = settings
        tolerance, wait = round(settings.sync_tolerance * 1e9), round(settings.sync_wait * 1e9)
        self._infos = StampSynchronizer({"camera_info": PartnerPolicy(tolerance, wait, reuse_newest=True, fits=_fits)})
        before = {"ignore": PartnerPolicy(tolerance, round(settings.ignore_wait * 1e9))}
        extras: dict[str, PartnerPolicy] = {}
        (extras if self._robot is None else before)["depth"] = PartnerPolicy(tolerance, wait)
        self._ignored = StampSynchronizer(before)
        if settings.use_masks:
            extras["masks"] = PartnerPolicy(tolerance, round(settings.masks_wait * 1e9))
        self._extras = StampSynchronizer(extras, queue_size=64)
        self._poses.max_wait_ns = self._robots.max_wait_ns = round(settings.transform_timeout * 1e9)
        self._guard.settings = settings.guard

    def counts(self) -> IntakeCounts:
        """The counts so far, a copy."""
        with self._lock:
            partners = self._infos.counts + self._ignored.counts + self._extras.counts
            return IntakeCounts(self._received, dict(self._dropped), dict(partners))

    @property
    def is_waiting(self) -> bool:
        """Whether `poll` has anything to do."""
        queues: tuple[Sized, ...] = (self._infos, self._poses, self._robots, self._ignored, self._extras)
        return any(len(queue) > 0 for queue in queues)

    def clear(self) -> None:
        """Forget everything that waits; counts stay."""
        with self._lock:
            self._clear()

    def on_image(self, message) -> None:
        """An Image or CompressedImage."""
        with self._lock:
            self._take_image(message)

    def on_camera_info(self, message) -> None:
        """A CameraInfo of the stream."""
        self.stream.on_camera_info(time.monotonic_ns())
        self.on_kept_camera_info(message)

    def on_kept_camera_info(self, message) -> None:
        """A CameraInfo that may have been sent before anybody listened, or comes a second time."""
        with self._lock:
            self._take_camera_info(message)

    def on_depth(self, message) -> None:
        """A depth Image or CompressedImage."""
        with self._lock:
            queue = self._extras if self._robot is None else self._ignored
            queue.add_partner("depth", stamp_of(message.header.stamp), message, self._wait_clock_ns())

    def on_masks(self, message) -> None:
        """A mask Image or CompressedImage."""
        with self._lock:
            self._extras.add_partner("masks", stamp_of(message.header.stamp), message, self._wait_clock_ns())

    def on_ignore(self, message) -> None:
        """An Image or CompressedImage of what is no part of the world: nonzero pixels."""
        with self._lock:
            self._ignored.add_partner("ignore", stamp_of(message.header.stamp), message, self._wait_clock_ns())

    @property
    def images_waiting(self) -> int:
        """Images that wait for their pose."""
        return len(self._poses)

    def poll(self) -> None:
        """Hand on what is complete or has waited long enough: call it after each message, and every few ms while
        `is_waiting`.
        """
        with self._lock:
            now = self._wait_clock_ns()
            for _, arrival, partners in self._infos.poll(now):
                self._join_camera(arrival, partners["camera_info"], now)
            self._poses.poll(now)
            self._robots.poll(now)
            now = self._wait_clock_ns()
            for _, placed, partners in self._ignored.poll(now):
                is_expected = self._ignored.is_alive("ignore", now)
                self._show(placed, partners["ignore"], is_expected, partners.get("depth"))
            for _, shown, partners in self._extras.poll(self._wait_clock_ns()):
                self._hand_on(shown.view, partners.get("depth", shown.depth), partners.get("masks"))

    def _clear(self) -> None:
        self._drop_waiting()
        self._guard.clear()

    def _take_image(self, message) -> None:
        now = time.monotonic_ns()
        self._received += 1
        self.last_image_ns = now
        self.image_frame = message.header.frame_id
        self._faults.clear("no_images")
        stamp_ns = stamp_of(message.header.stamp)
        self.stream.on_image(stamp_ns, now)
        try:
            self._check_clock(stamp_ns)
            image = self._decoder.image(message)
        except FrameError as error:
            self._drop(error.reason, str(error))
            return
        self._watch_format(getattr(message, "encoding", None) or message.format, image.shape)
        self._queue(self._infos, stamp_ns, _Arrival(message.header, stamp_ns, image, now), self._wait_clock_ns())

    def _take_camera_info(self, message) -> None:
        try:
            calibration = calibration_of(message, self._settings.rectified)
        except FrameError as error:
            self._faults.report(error.reason, str(error))
            return
        self._faults.clear("no_camera_info", "bad_intrinsics", "bad_distortion", "unknown_distortion")
        for note in calibration.notes:
            self._faults.report("camera_info_adapted", note)
        self._infos.add_partner("camera_info", stamp_of(message.header.stamp), calibration, self._wait_clock_ns())

    def _drop_waiting(self) -> None:
        lost = len(self._infos) + len(self._ignored) + len(self._extras) + self._poses.clear() + self._robots.clear()
        if lost:
            self._dropped["cleared"] += lost
        self._infos.clear()
        self._ignored.clear()
        self._extras.clear()

    def _queue(self, queue: StampSynchronizer, stamp_ns: int, item: _Arrival | _Placed | _Shown, now_ns: int) -> None:
        overflow = queue.counts["overflow"]
        queue.add_primary(stamp_ns, item, now_ns)
        if queue.counts["overflow"] > overflow:
            self._dropped["overflow"] += 1

    def _check_clock(self, stamp_ns: int) -> None:
        if stamp_ns == 0:
            raise FrameError("zero_stamp", "the image's stamp is zero")
        if stamp_ns < 0:
            raise FrameError("negative_stamp", f"the image's stamp is {stamp_ns * 1e-9:.3f} s")
        newest = stamp_ns if self._newest_stamp is None else self._newest_stamp
        back_ns = newest - stamp_ns
        if back_ns > self._settings.clock_jump * 1e9:
            self._faults.report("clock_jump_back", f"image stamps jumped back by {back_ns * 1e-9:.1f} s")
            self._clear()
            newest, self._has_poses = stamp_ns, False
        self._newest_stamp = max(newest, stamp_ns)
        offset_ns = stamp_ns - self._clock_ns()
        if abs(offset_ns) > FOREIGN_CLOCK_NS:
            self._faults.report("foreign_clock", f"image stamps are {offset_ns * 1e-9:+.0f} s from the node's clock")

    def _watch_format(self, encoding: str, shape: tuple[int, ...]) -> None:
        if self._format is not None:
            if encoding != self._format[0]:
                self._faults.report(
                    "encoding_changed", f"the image's encoding changed from {self._format[0]!r} to {encoding[:40]!r}"
                )
            if shape != self._format[1]:
                (old_height, old_width), (height, width) = self._format[1][:2], shape[:2]
                self._faults.report(
                    "resolution_changed", f"the image changed from {old_width}x{old_height} to {width}x{height}"
                )
        self._format = (encoding, shape)

    def _join_camera(self, arrival: _Arrival, calibration: CameraCalibration | None, now_ns: int) -> None:
        if calibration is None:
            self._drop("no_camera_info", "images come, and no camera_info with them")
            return
        height, width = arrival.image.shape[:2]
        try:
            camera, note = calibration.for_image(width, height)
        except FrameError as error:
            self._drop(error.reason, str(error))
            return
        if note:
            self._faults.report("camera_info_adapted", note)
        frame_id = self._settings.camera_frame or arrival.header.frame_id
        view = View(arrival.header, arrival.stamp_ns, arrival.image, camera, np.eye(4), arrival.arrived_ns)
        self._poses.add(view, frame_id, arrival.stamp_ns, now_ns)

    def _posed(self, view: View, map_from_camera: np.ndarray) -> None:
        self._has_poses = True
        view = replace(view, map_from_camera=map_from_camera)
        if self._robot is None:
            self._place(_Placed(view))
        else:
            self._robots.add(view, "", view.stamp_ns, self._wait_clock_ns())

    def _sighted(self, _: str, stamp_ns: int) -> RobotSight | FrameError:
        try:
            return self._robot.sight(stamp_ns) if self._robot else FrameError("robot_late", "no robot is looked for")
        except FrameError as error:
            return error

    def _robot_found(self, view: View, found: RobotSight | FrameError) -> None:
        self._place(_Placed(view, lost=found) if isinstance(found, FrameError) else _Placed(view, found))

    def _robot_late(self, view: View, error: TransformError) -> None:
        self._place(_Placed(view, lost=FrameError("robot_late", str(error))))

    def _place(self, placed: _Placed) -> None:
        self._queue(self._ignored, placed.view.stamp_ns, placed, self._wait_clock_ns())

    def _show(self, placed: _Placed, ignore_message, is_expected: bool, depth_message) -> None:
        """Have the view labelled, and mapped where nothing in it is there by mistake: a frame that is lost is less than
        a hand in the map.
        """
        view, ignore, lost = placed.view, None, placed.lost
        if ignore_message is not None:
            try:
                ignore = self._decoder.ignore(ignore_message, view.image.shape[:2])
            except FrameError as error:
                lost = error
        elif is_expected:
            lost = FrameError(
                "ignore_lost", f"no `ignore` of the image of {view.stamp_ns * 1e-9:.3f} s within its wait"
            )
        if placed.robot is not None and self._robot is not None:
            depth = self._decoded("depth", depth_message, lambda: self._depth_pixels(view, depth_message))
            robot = self._robot.mask(view, placed.robot, depth)
            ignore = robot if ignore is None else ignore | robot
        view = replace(view, ignore=ignore)
        for each in self._views:
            each.on_view(view)
        if lost is not None:
            self._drop(lost.reason, str(lost))
        elif not self._is_mapped(view.stamp_ns):
            self._dropped["mapping_rate"] += 1
        else:
            self._queue(self._extras, view.stamp_ns, _Shown(view, depth_message), self._wait_clock_ns())

    def _is_mapped(self, stamp_ns: int) -> bool:
        """Whether mapping_rate leaves room for a frame of this stamp; half a period of jitter is forgiven."""
        if self._settings.mapping_rate <= 0:
            return True
        period_ns = round(1e9 / self._settings.mapping_rate)
        if abs(stamp_ns - self._mapped_until_ns) > 2 * period_ns:  # the first frame, a pause, or a jump of the clock
            self._mapped_until_ns = stamp_ns
        if stamp_ns < self._mapped_until_ns - period_ns // 2:
            return False
        self._mapped_until_ns += period_ns
        return True

    def _pose_lost(self, view: View, error: TransformError) -> None:
        fault = TRANSFORM_FAULTS.get(error.reason, "no_transform")
        if fault == "old_transform" and not self._has_poses:
            text = f"the image of {view.stamp_ns * 1e-9:.3f} s is older than the first transforms that were heard"
            self._drop("before_transforms", text)
            return
        self._drop(fault, str(error))

    def _hand_on(self, view: View, depth_message, masks_message) -> None:
        self._report_lost_partners()
        depth = self._decoded("depth", depth_message, lambda: self._decode_depth(view, depth_message))
        masks = self._decoded("masks", masks_message, lambda: self._decoder.masks(masks_message, view.image.shape[:2]))
        frame = Frame(view.stamp_ns, view.image, view.map_from_camera, view.camera, depth, masks, ignore=view.ignore)
        try:
            frame.check()
            frame = scaled_frame(frame, self._settings.max_image_width)
            self._guard.check(frame)
            frame = undistorter_for(frame.intrinsics).frame(frame)
        except FrameError as error:
            self._drop(error.reason, str(error))
            return
        self._frames.submit(frame)

    def _decoded(self, name: str, message, decode: Callable[[], np.ndarray]) -> np.ndarray | None:
        """A partner's pixels; None where there is no message, or where it cannot be used (which is then reported)."""
        if message is None:
            return None
        try:
            return decode()
        except FrameError as error:
            self._faults.report(error.reason, f"{name}: {error}")
            return None

    def _decode_depth(self, view: View, message) -> np.ndarray:
        depth = self._depth_pixels(view, message)
        self._guard.check_depth(depth, view.image.shape[:2], view.ignore)
        return depth

    def _depth_pixels(self, view: View, message) -> np.ndarray:
        return self._decoder.depth(message, self._settings.depth_unit, view.image.shape[:2])

    def _report_lost_partners(self) -> None:
        for name in ("depth", "masks"):
            lost = self._ignored.counts[f"{name}_lost"] + self._extras.counts[f"{name}_lost"]
            if lost > self._reported_lost.get(name, 0):
                self._reported_lost[name] = lost
                self._faults.report(f"{name}_lost", f"{lost} images so far got no {name} within their wait")

    def _drop(self, reason: str, message: str) -> None:
        self._dropped[reason] += 1
        if reason in FAULTS:
            self._faults.report(reason, message)


def _fits(arrival: _Arrival, calibration: CameraCalibration) -> bool:
    height, width = arrival.image.shape[:2]
    return calibration.fits(width, height)
