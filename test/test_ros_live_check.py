"""What is concluded from listening to a robot: each thing missing is named as the node's own fault, with its remedy."""

from collections import Counter

import numpy as np
import pytest

from cgc_ros.frame import FrameError, Intrinsics
from cgc_ros.messages.camera_info import CameraCalibration
from cgc_ros.ros.faults import FAULTS
from cgc_ros.ros.live_check import Observations, Stream, judge, would_map

CAMERA = Intrinsics(640, 480, 500.0, 500.0, 319.5, 239.5)
STAMPS = [1_000_000_000 * 100 + index * 33_333_333 for index in range(300)]


def stream(topic, stamps=STAMPS, age_s=0.02, **how):
    return Stream(topic, 1, stamps_ns=list(stamps), ages_s=[age_s] * len(stamps), **how)


def picture(topic, kind="rgb8", **how):
    return stream(topic, **({"kind": kind, "width": 640, "height": 480, "frame_id": "optical"} | how))


def robot(**changes):
    """A robot on which everything is there."""
    seen = Observations(
        10.0,
        picture("/image"),
        stream("/camera_info"),
        picture("/depth", "16UC1"),
        {"/tf": stream("/tf"), "/tf_static": stream("/tf_static", STAMPS[:1])},
        "map",
        "optical",
        CameraCalibration(CAMERA),
        depth_median_m=1.5,
        pose_delays_s=[0.01] * 280,
        large_buffers=True,
        load=0.2,
        cores=4,
    )
    for name, value in changes.items():
        setattr(seen, name, value)
    return seen


def finding(seen, name):
    return next(each for each in judge(seen) if each.name == name)


def test_a_complete_robot_is_green_and_says_what_was_heard():
    findings = judge(robot())
    assert {each.state for each in findings} == {"ok"} and would_map(findings)
    assert finding(robot(), "image").detail == "30.0 Hz, 640x480 rgb8 on /image, 0 of 300 lost"
    assert "fx 500" in finding(robot(), "camera_info").detail
    assert "median 1.50 m" in finding(robot(), "depth").detail
    assert "10 ms" in finding(robot(), "map -> optical").detail


def test_lost_images_are_counted_by_the_gaps_of_their_stamps():
    kept = [stamp for index, stamp in enumerate(STAMPS) if index % 10 != 5]
    assert stream("/image", kept).lost() == 30
    assert (
        stream("/image", STAMPS[:60:1] + STAMPS[60::4]).lost() == 3 * 60 - 1 - 2
    )  # after the last one nothing is known


SILENT = Stream("/topic")
THROUGH = np.random.default_rng(0).choice(STAMPS, 20, replace=False).tolist()
LATE = [0.01] * 100 + [0.5] * 180
#: What is wrong -> the line, the fault, whether the node maps all the same.
CASES = {
    "no image": ({"image": Stream("/image", 1)}, "image", "images_lost", False),
    "neither image nor calibration": (
        {"image": SILENT, "camera_info": SILENT, "calibration": None},
        "image",
        "no_images",
        False,
    ),
    "most images lost": ({"image": picture("/image", stamps=THROUGH)}, "image", "images_lost", True),
    "unknown encoding": (
        {"image": picture("/image", error=FrameError("unknown_encoding", "rgb5"))},
        "image",
        "unknown_encoding",
        False,
    ),
    "no calibration": ({"camera_info": SILENT, "calibration": None}, "camera_info", "no_camera_info", False),
    "uncalibrated": (
        {"camera_info": stream("/i", error=FrameError("bad_intrinsics", "fx 0"))},
        "camera_info",
        "bad_intrinsics",
        False,
    ),
    "calibration of another size": (
        {"calibration": CameraCalibration(CAMERA.scaled_to(320, 200))},
        "camera_info",
        "camera_info_mismatch",
        False,
    ),
    "calibration of twice the size": (
        {"calibration": CameraCalibration(CAMERA.scaled_to(1280, 960))},
        "camera_info",
        "camera_info_adapted",
        True,
    ),
    "depth of its own camera": (
        {"depth": picture("/depth", "16UC1", frame_id="depth_optical")},
        "depth",
        "depth_mismatch",
        True,
    ),
    "depth of another size": ({"depth": picture("/depth", "16UC1", width=848)}, "depth", "depth_mismatch", True),
    "depth with stamps of its own": (
        {"depth": picture("/depth", stamps=[each + 5_000_000 for each in STAMPS])},
        "depth",
        "depth_lost",
        True,
    ),
    "no transforms": ({"poses": {"/tf": SILENT}, "pose_delays_s": []}, "map -> optical", "no_transform", False),
    "broken chain": (
        {"pose_delays_s": [], "pose_errors": Counter(broken_chain=200)},
        "map -> optical",
        "broken_chain",
        False,
    ),
    "late transforms": ({"pose_delays_s": LATE}, "map -> optical", "late_transform", False),
    "a few late transforms": ({"pose_delays_s": LATE[80:120]}, "map -> optical", "late_transform", True),
    "another clock": ({"image": picture("/image", age_s=1e6)}, "clock", "foreign_clock", True),
}


@pytest.mark.parametrize("what", CASES)
def test_what_is_wrong_is_named_with_its_remedy(what):
    changes, line, fault, maps = CASES[what]
    changes = {name: Stream("/topic") if value is SILENT else value for name, value in changes.items()}
    seen = robot(**changes)
    found = finding(seen, line)
    assert (found.fault, found.state != "missing") == (fault, maps)
    assert found.remedy == FAULTS[fault].remedy
    assert would_map(judge(seen)) == maps


def test_depth_that_does_not_come_costs_nothing_but_depth():
    assert finding(robot(depth=Stream("/depth")), "depth").state == "optional"
    assert would_map(judge(robot(depth=Stream("/depth"))))


def test_transforms_elsewhere_are_named():
    seen = robot(poses={"/tf": Stream("/tf")}, pose_delays_s=[], other_tf_topics=("/robot1/tf",))
    assert "/robot1/tf" in finding(seen, "map -> optical").detail


def test_a_publisher_whose_qos_keeps_its_messages_back_is_named():
    silent = Stream("/image", 1, ("camera offers best_effort, the node asks for reliable",))
    found = finding(robot(image=silent), "QoS")
    assert found.state == "missing" and "/image: camera offers best_effort" in found.detail
    assert "image_reliability" in found.remedy


def test_small_buffers_of_the_camera_and_a_busy_machine_are_named():
    seen = robot(large_buffers=False, profile="/share/cgc_ros/config/fastdds.xml", load=0.97)
    assert "FASTRTPS_DEFAULT_PROFILES_FILE=/share/cgc_ros/config/fastdds.xml" in finding(seen, "profile").remedy
    assert finding(seen, "load").state == "optional" and would_map(judge(seen))


def test_sim_time_without_a_clock_is_named():
    found = finding(robot(use_sim_time=True), "clock")
    assert found.state == "optional" and "/clock" in found.detail
