"""An intake of images whose transforms and clock are what a test says."""

import time

import cv2
import numpy as np
from ros_fakes import Taken
from std_msgs.msg import Header

from cgc_ros.frame import Intrinsics
from cgc_ros.ros.conversions.camera_info import camera_info_from_intrinsics
from cgc_ros.ros.conversions.images import encode_image
from cgc_ros.ros.conversions.stamps import time_message
from cgc_ros.ros.faults import FaultBoard
from cgc_ros.ros.intake import Intake
from cgc_ros.ros.intake_settings import IntakeSettings
from cgc_ros.transform_buffer import TransformError

SECOND = 1_000_000_000
CAMERA = Intrinsics(64, 48, 50.0, 50.0, 31.5, 23.5)
T0 = 1000 * SECOND


def picture(seed=0, size=(48, 64)):
    """A textured picture, another one for each seed."""
    noise = np.random.default_rng(seed).integers(0, 255, (*size, 3)).astype(np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 0.7)


def posed(x=0.0):
    matrix = np.eye(4)
    matrix[0, 3] = x
    return matrix


class Rig:
    """An intake whose transforms are what the test says."""

    def __init__(self, robot=None, **settings):
        """`robot`: a function of the rig's fault board that makes what finds the robot."""
        self.views, self.frames, self.pose = Taken(), Taken(), posed()
        self.faults = FaultBoard(time.monotonic_ns)
        self.clock_ns = T0
        self.intake = Intake(
            IntakeSettings(**settings),
            self,
            self.faults,
            [self.views],
            self.frames,
            lambda: self.clock_ns,
            robot=None if robot is None else robot(self.faults),
        )
        self.info()

    def map_from(self, frame_id, stamp_ns):
        if isinstance(self.pose, str):
            raise TransformError(self.pose, f"no transform of {frame_id!r}: {self.pose}")
        return self.pose

    def info(self, camera=CAMERA, stamp_ns=T0, **changes):
        message = camera_info_from_intrinsics(camera, Header(stamp=time_message(stamp_ns)))
        for name, value in changes.items():
            setattr(message, name, value)
        self.intake.on_camera_info(message)
        self.intake.poll()

    def image(self, stamp_ns=T0, pixels=None, encoding="rgb8", frame_id="camera"):
        header = Header(stamp=time_message(stamp_ns), frame_id=frame_id)
        self.intake.on_image(encode_image(picture(stamp_ns % 1000) if pixels is None else pixels, encoding, header))
        self.intake.poll()
        return header

    def depth(self, depth, stamp_ns=T0):
        self.intake.on_depth(encode_image(depth.astype(np.float32), "32FC1", Header(stamp=time_message(stamp_ns))))
        self.intake.poll()

    def names(self):
        return [fault.name for fault in self.faults.active()]
