"""Every fault the node knows by name, what to do about it, and the board that says which of them are active. Free of
ROS.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

WARN, ERROR = "warn", "error"


@dataclass(frozen=True)
class FaultKind:
    """One named fault. `remedy` is what a user can do; docs/ros_interface.md is checked against this table."""

    level: str
    remedy: str
    lasts_s: float = 5.0  # active until so long after it last happened (unless it is cleared earlier)


_IMAGE_REMEDY = "check the camera driver and its settings"
_PROFILE_REMEDY = "start the camera driver with FASTRTPS_DEFAULT_PROFILES_FILE set to config/fastdds.xml"

FAULTS: dict[str, FaultKind] = {
    # input streams
    "no_images": FaultKind(
        ERROR,
        "check that the camera runs and that `image` is remapped to its topic; set image_transport and "
        f"image_reliability to match it; where raw images get lost on the way, {_PROFILE_REMEDY}",
    ),
    "images_lost": FaultKind(
        ERROR,
        f"{_PROFILE_REMEDY} (docs/robot.md), or use compressed images: default buffers are smaller than one raw image",
    ),
    "no_camera_info": FaultKind(
        ERROR, "remap `camera_info` to the topic that belongs to the image; an uncalibrated driver may not publish it"
    ),
    "camera_info_mismatch": FaultKind(
        ERROR,
        "camera_info must describe this very image: same driver, same resolution; check the remapping of `camera_info`",
    ),
    "camera_info_adapted": FaultKind(
        WARN,
        "images are mapped as the message says; correct what it names in the calibration or the driver, then restart "
        "the driver",
        10.0,
    ),
    "bad_intrinsics": FaultKind(
        ERROR, "calibrate the camera (camera_calibration) or load its calibration in the driver"
    ),
    "bad_distortion": FaultKind(
        ERROR, "calibrate the camera again, or feed image_proc's rectified image and set rectified to 'true'"
    ),
    "unknown_distortion": FaultKind(
        ERROR,
        "use plumb_bob, rational_polynomial or equidistant, or feed image_proc's rectified image and set rectified to "
        "'true'",
    ),
    "unknown_encoding": FaultKind(
        ERROR,
        "set the driver to rgb8, bgr8, mono8, a Bayer encoding, YUV 4:2:2 or nv12, or to jpeg and png when compressed; "
        "depth to 16UC1, 32FC1, png or compressedDepth: without it mapping goes on",
    ),
    "few_bits": FaultKind(
        WARN, "nothing to do where images look right; if they are too bright, let the driver send 8 bits"
    ),
    "encoding_changed": FaultKind(WARN, "the node follows; if it was not meant, check the driver"),
    "resolution_changed": FaultKind(WARN, "the node follows; if it was not meant, check the driver"),
    "truncated_image": FaultKind(
        ERROR,
        "fragments are lost or the driver is wrong: check the network, raise net.core.rmem_max, or use compressed "
        "images",
    ),
    "bad_image": FaultKind(ERROR, _IMAGE_REMEDY),
    "black_frames": FaultKind(WARN, "take the lens cap off, switch on light, raise exposure"),
    "white_frames": FaultKind(WARN, "lower exposure or gain"),
    "blurred_frames": FaultKind(WARN, "move slower, shorten exposure, focus the lens"),
    "frozen_frames": FaultKind(WARN, "the camera sends the same picture while it moves: restart the driver"),
    "depth_mismatch": FaultKind(
        WARN,
        "use depth registered to the colour camera, in the same proportions of width to height; mapping goes on "
        "without depth",
    ),
    "depth_unit": FaultKind(
        WARN,
        "16UC1 must be in units of depth_unit metres, 32FC1 in metres: set depth_unit; mapping goes on without depth",
    ),
    "depth_invalid": FaultKind(WARN, "check the depth camera (emitter, range); mapping goes on without depth"),
    "depth_lost": FaultKind(
        WARN,
        "depth stopped or its stamps do not match the images: check the depth driver, raise sync_tolerance; mapping "
        "goes on without it",
    ),
    "masks_mismatch": FaultKind(WARN, "`masks` must have the size of the image they were made from"),
    "ignore_mismatch": FaultKind(
        WARN, "`ignore` must have the size of the image it was made from, which is not mapped"
    ),
    "ignore_lost": FaultKind(
        WARN,
        "`ignore` stopped or its stamps do not match the images, which are not mapped without: publish it with the "
        "image's stamp, raise ignore_wait",
    ),
    # the robot itself, with robot_mask
    "no_robot_description": FaultKind(
        ERROR,
        "start robot_state_publisher, or remap `robot_description`; images are not mapped without, unless robot_mask "
        "is false",
    ),
    "bad_robot_description": FaultKind(
        ERROR, "correct what the message names; images are not mapped without the robot's mask, or set it to false"
    ),
    "robot_mesh_missing": FaultKind(
        WARN,
        "source the workspace that holds the robot's description; what the message names is not masked, all else is",
        1e9,
    ),
    "robot_unposed": FaultKind(
        ERROR,
        "start robot_state_publisher and what publishes joint_states; map_frame and the robot's links must be in one "
        "tree of transforms; images are not mapped without",
    ),
    "robot_link_lost": FaultKind(
        WARN,
        "publish the joint's state (robot_state_publisher turns it into a transform); the rest of the robot is masked, "
        "this link where it was last, if it ever was",
    ),
    "robot_late": FaultKind(
        WARN,
        "transforms of the robot's links come later than transform_timeout after their image, which is not mapped: "
        "raise it, or publish joint states faster",
    ),
    "masks_lost": FaultKind(
        WARN,
        "masks stopped or their stamps do not match the images: publish them with the image's stamp, raise masks_wait",
    ),
    "detections_unmatched": FaultKind(
        WARN,
        "stamp detections_2d with the stamp of the image they were made from, one of `image`; they may be half "
        "a minute late, not more",
    ),
    "input_failed": FaultKind(ERROR, "a message could not be handled; please report it with the log"),
    # poses and time
    "no_transform": FaultKind(
        ERROR,
        "start the localisation; map_frame and the image's frame_id must both exist on /tf (tf2_tools "
        "view_frames); transforms in a namespace: tf:=/NAMESPACE/tf",
    ),
    "broken_chain": FaultKind(ERROR, "start the node that publishes the missing link between map_frame and the camera"),
    "late_transform": FaultKind(
        WARN,
        "transforms come later than transform_timeout after their image: raise it, or publish transforms faster; where "
        f"they get lost beside raw images, {_PROFILE_REMEDY}",
    ),
    "old_transform": FaultKind(
        WARN, "images are older than the transforms kept: check that clocks agree, raise transform_history"
    ),
    "before_transforms": FaultKind(
        WARN,
        "nothing to do where it passes: images from before the first transform have no pose; if it lasts, the camera's "
        "clock is behind that of the transforms",
    ),
    "bad_pose": FaultKind(ERROR, "the localisation sends poses that are not finite or not normalised: check it"),
    "far_from_origin": FaultKind(
        ERROR, "set map_frame to a frame near the robot (map or odom, not utm or earth), then configure the node again"
    ),
    "transform_loop": FaultKind(ERROR, "two nodes publish the same chain in opposite directions: stop one of them"),
    "pose_jump": FaultKind(
        WARN, "the localisation jumped; what was mapped before may not fit any more: call ~/reset if it does not", 10.0
    ),
    "clock_jump_back": FaultKind(
        WARN, "a recording started again or a clock was set: buffers were cleared, mapping goes on", 10.0
    ),
    "zero_stamp": FaultKind(ERROR, "stamp the images in the driver"),
    "negative_stamp": FaultKind(ERROR, "stamps begin at zero (1970, or the simulation's start): check who makes them"),
    "foreign_clock": FaultKind(
        WARN, "image stamps are far from the node's clock: set use_sim_time for a recording, or synchronise the clocks"
    ),
    # mapping
    "mapping_failed": FaultKind(ERROR, "please report it with the log; mapping goes on with the next frame"),
    "gpu_lost": FaultKind(
        ERROR,
        "restart the node: nothing runs on a GPU after such an error, and ~/save_map may fail, too; if it comes back, "
        "check the driver (dmesg), power and temperature",
        1e9,
    ),
    # The session tells of these six anew for as long as they last.
    "object_ids_low": FaultKind(
        WARN,
        "save the map, call ~/reset and map what is needed now; new objects get ids only as others are forgotten",
        1.0,
    ),
    "no_parallax": FaultKind(
        WARN,
        "there is no depth image, so depth must come from the camera's motion: move it sideways by a tenth of the "
        "distance to what it sees; if it did move, check its calibration and its poses",
        1.0,
    ),
    "depth_guessed": FaultKind(
        WARN,
        "images look alright, distances and object clouds do not yet: move the camera sideways; if it lasts, check "
        "calibration and poses",
        1.0,
    ),
    "depth_scale": FaultKind(
        WARN,
        "set depth_unit (a recording's: --read depth_unit) to metres per count of the depth images, as the message "
        "says; if it is right, the poses are not in metres, or the calibration is wrong",
        1.0,
    ),
    "mask_source_failed": FaultKind(
        WARN, "mapping goes on without new masks; see the log for the mask source's error", 1.0
    ),
    "mask_source_hung": FaultKind(
        WARN, "mapping goes on without new masks; use a faster mask source or smaller images", 1.0
    ),
    "out_of_memory": FaultKind(
        WARN, "work was made smaller or moved to the CPU; lower mapper.density.max_gaussians or free the GPU", 60.0
    ),
    "mapping_starved": FaultKind(
        WARN,
        "other programs leave the mapper no processor time: give the node cores of its own (taskset), lower "
        "training_niceness, lower label_rate or the images' size and rate",
    ),
    "late_labels": FaultKind(
        WARN, "the machine is too slow: use smaller images, set label_rate or max_steps_per_second"
    ),
    "naming_failed": FaultKind(WARN, "detections could not be used; please report it with the log"),
    "label_failed": FaultKind(ERROR, "rendering for topics failed; please report it with the log"),
    # the node itself
    "configure_failed": FaultKind(
        ERROR, "correct the parameter that the message names, then configure the node again", 1e9
    ),
    "name_taken": FaultKind(
        ERROR,
        "stop one of the two, or give each a namespace or a name of its own: nobody can tell whose topics and services "
        "these are",
    ),
    "viewer_failed": FaultKind(
        WARN, "everything else goes on; choose another viewer_port, or install viser (pip install viser)", 1e9
    ),
    # storage and requests
    "save_failed": FaultKind(
        ERROR, "free disk space, make map_directory writable, call ~/save_map again; the map in memory is intact", 60.0
    ),
    "load_failed": FaultKind(
        WARN, "the file is not a map, is damaged, or comes from a newer version; the map in memory is intact", 30.0
    ),
    "bad_request": FaultKind(WARN, "a service request was refused; its reply says why"),
    "request_failed": FaultKind(ERROR, "a service failed; please report it with the log"),
}


@dataclass(frozen=True)
class ActiveFault:
    """A fault as it stands: what happened last, how often since it became active, when (monotonic ns)."""

    name: str
    level: str
    message: str
    remedy: str
    count: int
    first_ns: int
    last_ns: int


class FaultListener(Protocol):
    """Who is told when a fault appears and when it is over, in the thread that noticed."""

    def fault_appeared(self, fault: ActiveFault) -> None: ...
    def fault_gone(self, fault: ActiveFault) -> None: ...


class FaultBoard:
    """Which faults are active. Thread-safe; `listeners` are called outside the lock."""

    def __init__(self, now_ns: Callable[[], int]):
        self._now_ns = now_ns
        self.listeners: list[FaultListener] = []
        self._active: dict[str, ActiveFault] = {}
        self._lock = threading.Lock()

    def report(self, name: str, message: str) -> None:
        """A fault happened (again)."""
        kind, now = FAULTS[name], self._now_ns()
        with self._lock:
            known = self._active.get(name)
            first_ns, count = (known.first_ns, known.count) if known else (now, 0)
            fault = ActiveFault(name, kind.level, message, kind.remedy, count + 1, first_ns, now)
            self._active[name] = fault
        if known is None:
            for each in self.listeners:
                each.fault_appeared(fault)

    def clear(self, *names: str) -> None:
        """These faults are over, as far as they were active."""
        with self._lock:
            gone = [self._active.pop(name) for name in names if name in self._active]
        self._tell_gone(gone)

    def active(self) -> list[ActiveFault]:
        """The faults active now, oldest first; those that did not happen again in time have gone."""
        now = self._now_ns()
        with self._lock:
            expired = [each for each in self._active.values() if now - each.last_ns > FAULTS[each.name].lasts_s * 1e9]
            for fault in expired:
                del self._active[fault.name]
            active = sorted(self._active.values(), key=lambda fault: fault.first_ns)
        self._tell_gone(expired)
        return active

    def _tell_gone(self, faults: list[ActiveFault]) -> None:
        for fault in faults:
            for each in self.listeners:
                each.fault_gone(fault)


def markdown_text() -> str:
    """The table of faults of docs/ros_interface.md: python -m cgc_ros.ros.faults."""
    rows = [f"| `{name}` | {kind.level} | {kind.remedy} |" for name, kind in FAULTS.items()]
    return "\n".join(["| fault | level | what to do |", "|---|---|---|", *rows]) + "\n"


if __name__ == "__main__":
    print(markdown_text(), end="")
