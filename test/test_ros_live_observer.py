"""`cgc check --live` beside a camera over real DDS: green with everything there, red with one thing missing."""

import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import rclpy
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from ros_rig import CAMERA, LATCHED, shifted_transform
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from cgc_ros.ros.conversions.camera_info import camera_info_from_intrinsics
from cgc_ros.ros.conversions.images import encode_image
from cgc_ros.ros.live_check import judge
from cgc_ros.ros.live_observer import listen

pytestmark = pytest.mark.e2e
SECONDS = 3.0
PICTURE = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)
TOPICS = ("image:=/live/image", "camera_info:=/live/camera_info", "depth:=/live/depth")


@pytest.fixture
def robot():
    """Starts a camera whose publishers, by topic, are all there but the ones left out."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = Node("robot", context=context)
    stop, threads = threading.Event(), []

    def start(*left_out):
        kinds = {
            "/live/image": (Image, qos_profile_sensor_data),
            "/live/depth": (Image, qos_profile_sensor_data),
            "/live/camera_info": (CameraInfo, qos_profile_sensor_data),
            "/tf": (TFMessage, 100),
            "/tf_static": (TFMessage, LATCHED),
        }
        publishers = {name: node.create_publisher(kind, name, qos) for name, (kind, qos) in kinds.items()}
        static = shifted_transform(node.get_clock().now().to_msg(), parent="body", child="camera")
        publishers["/tf_static"].publish(TFMessage(transforms=[static]))

        def play():
            while not stop.wait(0.05):
                header = Header(stamp=node.get_clock().now().to_msg(), frame_id="camera")
                messages = {
                    "/tf": TFMessage(transforms=[shifted_transform(header.stamp, child="body")]),
                    "/live/camera_info": camera_info_from_intrinsics(CAMERA, header),
                    "/live/depth": encode_image(np.full((48, 64), 1.5, np.float32), "32FC1", header),
                    "/live/image": encode_image(PICTURE, "rgb8", header),
                }
                for name in messages.keys() - set(left_out):
                    publishers[name].publish(messages[name])

        threads.append(threading.Thread(target=play, daemon=True))
        threads[-1].start()

    yield start
    stop.set()
    for thread in threads:
        thread.join(5.0)
    node.destroy_node()
    rclpy.shutdown(context=context)


def hear(*arguments):
    """The findings by line, after listening in this process."""
    remaps = [part for topic in TOPICS for part in ("-r", topic)]
    return {finding.name.split(" ->")[0]: finding for finding in judge(listen(SECONDS, [*remaps, *arguments]))}


def test_a_complete_robot_is_green(robot):
    robot()
    command = [sys.executable, "-m", "cgc_ros.cli", "check", "--live", "--json", "--seconds", str(2 * SECONDS), *TOPICS]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    answer = json.loads(done.stdout)
    lines = {each["name"]: each for each in answer["findings"]}
    assert done.returncode == 0 and answer["would_map"], done.stdout
    for name in ("image", "camera_info", "depth", "map -> camera", "clock", "QoS"):
        assert lines[name]["state"] == "ok", lines[name]
    assert "64x48 rgb8" in lines["image"]["detail"] and "median 1.50 m" in lines["depth"]["detail"]


def test_silent_transforms_are_named(robot):
    robot("/tf")
    found = hear()["map"]
    assert (found.state, found.fault) == ("missing", "no_transform")


def test_a_camera_without_calibration_is_named(robot):
    robot("/live/camera_info")
    found = hear()
    assert (found["camera_info"].state, found["camera_info"].fault) == ("missing", "no_camera_info")
    assert found["image"].state == "ok"


def test_a_subscription_that_no_publisher_fits_is_named(robot):
    robot()
    found = hear("-p", "image_reliability:=reliable")
    assert found["image"].state == "missing"
    assert found["QoS"].state == "missing" and "robot offers best_effort" in found["QoS"].detail


def test_the_buffers_of_the_cameras_process_are_seen(robot):
    robot()
    found = hear()["profile"]  # this process has the profile, where /dev/shm has room
    assert found.state == "ok" or "FASTRTPS_DEFAULT_PROFILES_FILE" in found.remedy


def test_transforms_on_another_topic_are_named(robot):
    robot()
    found = hear("-r", "/tf:=/robot1/tf")["map"]
    assert found.state == "missing" and "/tf" in found.detail.partition("others exist:")[2]
