"""A recording played as a camera, in its own process: images, calibration, depth, masks, transforms, stamped now.

python -m cgc_ros.demo.player RECORDING [--rate HZ] [--advance HZ] [--hold SECONDS] [--raw] [--masks] [--loop]
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from array import array
from dataclasses import dataclass

import cv2
import numpy as np
import rclpy
from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from cgc_ros.frame import Frame
from cgc_ros.ros.conversions.camera_info import camera_info_from_intrinsics
from cgc_ros.ros.conversions.geometry import transform_from_matrix
from cgc_ros.ros.conversions.images import encode_image
from cgc_ros.ros.dds import prepare_transports
from cgc_ros.sequences import SequenceError, open_sequence

MAP, BODY, CAMERA = "map", "camera_link", "camera_optical_frame"
_JPEG_QUALITY = 95
_DISCOVERY_TIMEOUT_S = 60.0

#: body (x forward, y left, z up) from optical frame (x right, y down, z forward), REP-103.
_BODY_FROM_OPTICAL = np.array(
    [[0.0, 0.0, 1.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
)


@dataclass(frozen=True)
class PlayerOptions:
    """What is played, and how."""

    rate: float = 5.0  # images per second
    advance: float = 0.0  # frames of the recording per second, each as several images; 0: every image is another frame
    hold: float = 0.0  # seconds the camera stands still at the end, still publishing
    raw: bool = False  # Image instead of CompressedImage
    depth: bool = True
    masks: bool = False  # publish the recording's given masks
    loop: bool = False  # start again at the end, until stopped


class CameraPlayer(Node):
    """Publishes frames on /camera/... as camera drivers do, and their poses on /tf."""

    def __init__(self, options: PlayerOptions):
        super().__init__("camera")
        self._options = options
        color = "/camera/color/image_raw"
        self._image = (
            self.create_publisher(Image, color, qos_profile_sensor_data)
            if options.raw
            else self.create_publisher(CompressedImage, f"{color}/compressed", qos_profile_sensor_data)
        )
        self._info = self.create_publisher(CameraInfo, "/camera/color/camera_info", qos_profile_sensor_data)
        self._depth = self.create_publisher(Image, "/camera/depth/image_raw", qos_profile_sensor_data)
        self._masks = self.create_publisher(Image, "/camera/masks", qos_profile_sensor_data)
        self._tf = self.create_publisher(TFMessage, "/tf", QoSProfile(depth=100))
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._tf_static = self.create_publisher(TFMessage, "/tf_static", latched)
        self._tf_static.publish(TFMessage(transforms=[self._transform(BODY, CAMERA, _BODY_FROM_OPTICAL)]))

    def has_listener(self) -> bool:
        """Whether somebody subscribed to both images and transforms."""
        return self._image.get_subscription_count() > 0 and self._tf.get_subscription_count() > 0

    def publish(self, frame: Frame) -> None:
        """One frame, stamped now."""
        header = Header(frame_id=CAMERA, stamp=self.get_clock().now().to_msg())
        map_from_body = frame.world_from_camera @ np.linalg.inv(_BODY_FROM_OPTICAL)
        self._tf.publish(TFMessage(transforms=[self._transform(MAP, BODY, map_from_body, header.stamp)]))
        self._info.publish(camera_info_from_intrinsics(frame.intrinsics, header))
        if frame.depth is not None and self._options.depth:
            millimetres = np.clip(np.rint(frame.depth * 1000.0), 0, 65535).astype(np.uint16)
            self._depth.publish(encode_image(millimetres, "16UC1", header))
        if frame.masks is not None and self._options.masks:
            self._masks.publish(encode_image(frame.masks.astype(np.int32), "32SC1", header))
        self._image.publish(
            encode_image(frame.image, "rgb8", header) if self._options.raw else _jpeg(frame.image, header)
        )

    def _transform(self, parent: str, child: str, matrix: np.ndarray, stamp=None) -> TransformStamped:
        message = TransformStamped(header=Header(frame_id=parent), child_frame_id=child)
        message.header.stamp = stamp or self.get_clock().now().to_msg()
        message.transform = transform_from_matrix(matrix)
        return message


def _jpeg(image: np.ndarray, header: Header) -> CompressedImage:
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return CompressedImage(header=header, format="rgb8; jpeg compressed bgr8", data=array("B", data.tobytes()))


def play(recording: str, options: PlayerOptions, stop: threading.Event) -> int:
    """Play until the end (and the hold), or until `stop`; the number of frames published."""
    sequence = open_sequence(recording)
    player = CameraPlayer(options)
    deadline = time.monotonic() + _DISCOVERY_TIMEOUT_S
    while not player.has_listener() and not stop.is_set():
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"nobody subscribed to the camera within {_DISCOVERY_TIMEOUT_S:.0f} s: is the node running in this "
                "ROS_DOMAIN_ID?"
            )
        stop.wait(0.1)
    player.get_logger().info(f"playing {sequence.name}: {len(sequence)} frames at {options.rate:g} Hz")
    count, due = 0, time.monotonic()
    repeats = max(1, round(options.rate / options.advance)) if options.advance > 0 else 1
    while not stop.is_set():
        for index in range(len(sequence)):
            frame = sequence[index]
            for _ in range(repeats):
                due = max(due + 1.0 / options.rate, time.monotonic())
                if stop.wait(max(0.0, due - time.monotonic())):
                    break
                player.publish(frame)
                count += 1
        if not options.loop:
            break
    player.get_logger().info(f"played {count} frames; standing still for {options.hold:g} s")
    end = time.monotonic() + options.hold
    while time.monotonic() < end and not stop.wait(1.0 / options.rate):
        player.publish(frame)
    player.destroy_node()
    return count


def main(arguments: list[str] | None = None) -> int:
    """Play the recording that the command line names, until its end or Ctrl-C."""
    parser = argparse.ArgumentParser(description="Play a recorded sequence as a ROS 2 camera.")
    parser.add_argument("recording", help="a recording of any format in docs/sequences.md")
    parser.add_argument("--rate", type=float, default=5.0, help="images per second (default: 5)")
    parser.add_argument(
        "--advance", type=float, default=0.0, help="frames of the recording per second (default: as many as images)"
    )
    parser.add_argument(
        "--hold", type=float, default=0.0, metavar="S", help="seconds the camera stands still at the end"
    )
    parser.add_argument("--raw", action="store_true", help="uncompressed images")
    parser.add_argument("--masks", action="store_true", help="publish the recording's given masks on /camera/masks")
    parser.add_argument("--no-depth", dest="depth", action="store_false", help="no depth images")
    parser.add_argument("--loop", action="store_true", help="start again at the end, until stopped")
    options = vars(parser.parse_args(arguments))
    recording = options.pop("recording")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    prepare_transports()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        play(recording, PlayerOptions(**options), stop)
    except (SequenceError, TimeoutError, OSError) as error:
        print(f"player: {error}", file=sys.stderr)
        return 1
    finally:
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
