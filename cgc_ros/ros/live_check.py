"""What a few seconds of listening to a robot mean: there, or missing and what to do. Free of ROS.

`live_observer.py` listens; `cgc check --live` prints. The findings are the node's own faults, with their remedies.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from cgc_ros.frame import FrameError
from cgc_ros.image_size import same_aspect
from cgc_ros.messages.camera_info import CameraCalibration
from cgc_ros.messages.frame_names import frame_name
from cgc_ros.ros.faults import ERROR, FAULTS
from cgc_ros.ros.image_stream import images_are_lost

#: Stamps farther than this from the clock belong to another clock.
_FOREIGN_CLOCK_S = 10.0
_LOST_SHARE = 0.05  # of the images: more is worth a word
_BUSY_SHARE = 0.85  # of all cores


@dataclass(frozen=True)
class Finding:
    """One line of the screen. `state`: ok, optional (mapping goes on, worse or without it) or missing (nothing can be
    mapped). `fault`: the name that the node reports it by; empty where it has none.
    """

    group: str
    name: str
    state: str
    detail: str
    remedy: str = ""
    fault: str = ""


@dataclass
class Stream:
    """What was heard of one topic. `mismatches`: what of a publisher's QoS keeps its messages from the node."""

    topic: str
    publishers: int = 0
    mismatches: tuple[str, ...] = ()
    stamps_ns: list[int] = field(default_factory=list)
    ages_s: list[float] = field(default_factory=list)  # the node's clock at arrival minus the stamp
    kind: str = ""  # encoding or format
    width: int = 0
    height: int = 0
    frame_id: str = ""
    error: FrameError | None = None  # why the newest message cannot be used

    def rate_hz(self) -> float:
        """Messages per second of their stamps; 0 with fewer than two."""
        gaps = np.diff(np.sort(self.stamps_ns))
        return float(1e9 / gaps.mean()) if gaps.size and gaps.mean() > 0 else 0.0

    def lost(self) -> int:
        """Messages missing between those that came, by the gaps of their stamps.

        The period is a low quantile of the gaps, so that it holds where many are missing.
        """
        gaps = np.diff(np.sort(self.stamps_ns))
        gaps = gaps[gaps > 0]
        if gaps.size < 3:
            return 0
        period = np.quantile(gaps, 0.2, method="lower")
        return int((np.rint(gaps / period) - 1).sum())


@dataclass
class Observations:
    """Everything that was heard in `seconds`."""

    seconds: float
    image: Stream
    camera_info: Stream
    depth: Stream | None  # None: not asked for
    poses: dict[str, Stream]  # /tf and /tf_static, or the pose topic
    map_frame: str
    camera_frame: str = ""  # of the image, or as the parameter says
    calibration: CameraCalibration | None = None
    depth_median_m: float = 0.0
    pose_delays_s: list[float] = field(default_factory=list)  # from an image's arrival until its pose was known
    pose_errors: Counter[str] = field(default_factory=Counter)  # images without a pose, by fault
    pose_error_text: str = ""  # of the newest
    pose_timeout_s: float = 0.3
    other_tf_topics: tuple[str, ...] = ()
    use_sim_time: bool = False
    clock_publishers: int = 0
    dds: str = ""  # what this process's transports are
    large_buffers: bool | None = None  # of the camera's process; None: cannot be known
    profile: str = ""  # path of config/fastdds.xml
    load: float = 0.0  # share of all cores that was in use
    cores: int = 1


def would_map(findings: list[Finding]) -> bool:
    """Whether the node would map what was heard."""
    return all(finding.state != "missing" for finding in findings)


def judge(seen: Observations) -> list[Finding]:
    """All findings, in the order of the screen."""
    findings = [_image(seen), *_camera_info(seen), *_depth(seen), *_pose(seen), _clock(seen)]
    return [*findings, _qos(seen), _dds(seen), _load(seen)]


def _fault(group: str, name: str, fault: str, detail: str, state: str = "") -> Finding:
    kind = FAULTS[fault]
    return Finding(group, name, state or ("missing" if kind.level == ERROR else "optional"), detail, kind.remedy, fault)


def _silent(stream: Stream) -> str:
    if not stream.publishers:
        return f"nothing on {stream.topic}: it has no publisher"
    return f"nothing on {stream.topic}, which has {stream.publishers} publisher(s)"


def _image(seen: Observations) -> Finding:
    image = seen.image
    if not image.stamps_ns:
        return _fault("camera", "image", "images_lost" if _is_lost(seen) else "no_images", _silent(image), "missing")
    if image.error is not None:
        return _fault("camera", "image", image.error.reason, f"{image.topic}: {image.error}")
    lost, count = image.lost(), len(image.stamps_ns)
    detail = f"{image.rate_hz():.1f} Hz, {image.width}x{image.height} {image.kind} on {image.topic}"
    if _is_lost(seen) or lost > _LOST_SHARE * (lost + count):
        lost = max(lost, len(seen.camera_info.stamps_ns) - count)
        return _fault("camera", "image", "images_lost", f"{detail}, {lost} of {lost + count} lost", "optional")
    return Finding("camera", "image", "ok", f"{detail}, {lost} of {lost + count} lost")


def _is_lost(seen: Observations) -> bool:
    return seen.image.publishers > 0 and images_are_lost(seen.image.stamps_ns, len(seen.camera_info.stamps_ns))


def _camera_info(seen: Observations) -> list[Finding]:
    info, calibration = seen.camera_info, seen.calibration
    if info.error is not None:
        return [_fault("camera", "camera_info", info.error.reason, f"{info.topic}: {info.error}")]
    if calibration is None:
        return [_fault("camera", "camera_info", "no_camera_info", _silent(info))]
    camera, notes = calibration.delivered, calibration.notes
    if seen.image.width:
        try:
            camera, scaled = calibration.for_image(seen.image.width, seen.image.height)
        except FrameError as error:
            return [_fault("camera", "camera_info", error.reason, str(error))]
        notes += (scaled,) if scaled else ()
    if notes:
        return [_fault("camera", "camera_info", "camera_info_adapted", "; ".join(notes))]
    size = f"{camera.width}x{camera.height}"
    lens = "no distortion" if camera.distortion_model == "none" else camera.distortion_model
    detail = f"calibrated for {size}: fx {camera.fx:.0f}, fy {camera.fy:.0f}, {lens}, on {info.topic}"
    return [Finding("camera", "camera_info", "ok", detail)]


def _depth(seen: Observations) -> list[Finding]:
    depth, image = seen.depth, seen.image
    if depth is None:
        return [Finding("camera", "depth", "optional", "use_depth is false: mapped from the camera's motion alone")]
    if not depth.stamps_ns:
        remedy = "none needed; a depth camera makes maps better and sooner: give depth:=TOPIC"
        return [Finding("camera", "depth", "optional", f"{_silent(depth)}: mapping goes on without", remedy)]
    if depth.error is not None:
        return [_fault("camera", "depth", depth.error.reason, f"{depth.topic}: {depth.error}")]
    if image.width and not same_aspect((depth.width, depth.height), (image.width, image.height)):
        detail = f"{depth.width}x{depth.height}, the image is {image.width}x{image.height}: not registered"
        return [_fault("camera", "depth", "depth_mismatch", detail)]
    if image.frame_id and frame_name(depth.frame_id) != frame_name(image.frame_id):
        detail = f"in frame {depth.frame_id!r}, the image in {image.frame_id!r}: not registered?"
        return [_fault("camera", "depth", "depth_mismatch", detail)]
    if seen.image.stamps_ns and not set(depth.stamps_ns) & set(image.stamps_ns):
        closest_ns = np.abs(np.subtract.outer(depth.stamps_ns, image.stamps_ns)).min()
        detail = f"no stamp equals an image's, the closest is {closest_ns * 1e-6:.1f} ms off"
        return [_fault("camera", "depth", "depth_lost", detail)]
    detail = f"{depth.rate_hz():.1f} Hz, registered, {depth.kind}, median {seen.depth_median_m:.2f} m, on {depth.topic}"
    return [Finding("camera", "depth", "ok", detail)]


def _pose(seen: Observations) -> list[Finding]:
    chain = f"{seen.map_frame} -> {seen.camera_frame or 'the camera'}"
    heard = ", ".join(stream.topic for stream in seen.poses.values() if stream.stamps_ns)
    silent = "; ".join(_silent(stream) for stream in seen.poses.values() if not stream.stamps_ns)
    elsewhere = f"; others exist: {', '.join(seen.other_tf_topics)}" if seen.other_tf_topics else ""
    delays, lost = np.array(seen.pose_delays_s), sum(seen.pose_errors.values())
    if not delays.size and not lost:
        if not heard:
            return [_fault("pose", chain, "no_transform", silent + elsewhere)]
        return [
            Finding("pose", chain, "missing", f"{heard} heard; there is no image to ask for", "mend the images first")
        ]
    late = int((delays > seen.pose_timeout_s).sum())
    if lost > delays.size:
        fault = seen.pose_errors.most_common(1)[0][0]
        where = elsewhere if fault in ("no_transform", "broken_chain") else ""
        return [_fault("pose", chain, fault, f"{seen.pose_error_text}{where}", "missing")]
    middle, slow = np.quantile(delays, (0.5, 0.95)) * 1e3
    detail = f"known {middle:.0f} ms (95%: {slow:.0f} ms) after the image's arrival"
    if lost or late:
        missed = f"{lost + late} of {lost + delays.size} images without a pose in {seen.pose_timeout_s:g} s"
        state = "missing" if lost + late > 0.5 * (lost + delays.size) else "optional"
        fault = "late_transform" if late >= lost else seen.pose_errors.most_common(1)[0][0]
        return [_fault("pose", chain, fault, f"{detail}; {missed}", state)]
    return [Finding("pose", chain, "ok", f"{detail}, by {heard}")]


def _clock(seen: Observations) -> Finding:
    if seen.use_sim_time and not seen.clock_publishers:
        remedy = "start what publishes /clock (simulation, ros2 bag play --clock), or set use_sim_time to false"
        return Finding("time", "clock", "optional", "use_sim_time is true and nobody publishes /clock", remedy)
    name = "/clock" if seen.use_sim_time else "system time"
    if not seen.image.ages_s:
        return Finding("time", "clock", "ok", name)
    if 0 in seen.image.stamps_ns:
        return _fault("time", "clock", "zero_stamp", "images are stamped zero")
    age = float(np.median(seen.image.ages_s))
    detail = f"{name}; images arrive {age * 1e3:.0f} ms after their stamp"
    if abs(age) > _FOREIGN_CLOCK_S:
        published = ", and /clock is published" if seen.clock_publishers and not seen.use_sim_time else ""
        return _fault("time", "clock", "foreign_clock", f"image stamps are {-age:+.0f} s from {name}{published}")
    if age < -0.005:
        remedy = "synchronise the clocks (chrony), or check the driver's stamps"
        return Finding("time", "clock", "optional", f"{name}; images are stamped {-age * 1e3:.0f} ms ahead", remedy)
    return Finding("time", "clock", "ok", detail)


def _qos(seen: Observations) -> Finding:
    sensors = [seen.image, seen.camera_info, *([seen.depth] if seen.depth else [])]
    wrong = [stream for stream in (*sensors, *seen.poses.values()) if stream.mismatches]
    if not wrong:
        return Finding("DDS", "QoS", "ok", "every publisher fits the node's subscriptions")
    is_needed = any(not stream.stamps_ns and stream is not seen.depth for stream in wrong)
    of_sensor = any(stream in sensors for stream in wrong)
    return Finding(
        "DDS",
        "QoS",
        "missing" if is_needed else "optional",
        "; ".join(f"{stream.topic}: {mismatch}" for stream in wrong for mismatch in stream.mismatches),
        f"{'set image_reliability to best_effort, or ' if of_sensor else ''}let the publisher offer reliable",
    )


def _dds(seen: Observations) -> Finding:
    remedy = f"export FASTRTPS_DEFAULT_PROFILES_FILE={seen.profile} in the shell that starts the camera driver"
    if seen.large_buffers is None:
        if not seen.image.publishers:
            return Finding("DDS", "profile", "ok", seen.dds)
        detail = "the camera's process cannot be looked into from here; on default buffers it loses raw images"
        return Finding("DDS", "profile", "optional", detail, remedy)
    if seen.large_buffers:
        return Finding("DDS", "profile", "ok", "the camera's process has room for images in shared memory")
    detail = "the camera's process has Fast DDS' default buffers, smaller than one raw image of 640x480"
    return Finding("DDS", "profile", "optional", detail, remedy)


def _load(seen: Observations) -> Finding:
    detail = f"{seen.load:.0%} of {seen.cores} core{'s' if seen.cores > 1 else ''} in use"
    if seen.load > _BUSY_SHARE:
        return Finding("machine", "load", "optional", detail, FAULTS["mapping_starved"].remedy)
    return Finding("machine", "load", "ok", detail)
