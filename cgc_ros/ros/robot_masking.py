"""The robot in the camera's images: its description as it comes, its links by tf at an image's stamp, its pixels."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from std_msgs.msg import String

from cgc_ros.frame import FrameError
from cgc_ros.robot.errors import RobotError
from cgc_ros.robot.poses import MOTION_NS, LinkPoses, TransformTree
from cgc_ros.ros.faults import FaultBoard
from cgc_ros.ros.robot_sight import RobotSight
from cgc_ros.ros.roles import CurrentParameters
from cgc_ros.ros.transform_source import TransformSource
from cgc_ros.ros.view import View
from cgc_ros.transform_buffer import TransformError

if TYPE_CHECKING:
    from cgc_ros.robot.mask import RobotMask

log = logging.getLogger(__name__)

#: A link without transforms for so long is not waited for: it stays where it was seen last, or is not masked.
GIVEN_UP_NS = 2_000_000_000
_WAITING_HELPS = "extrapolation_future"


class _Robot(NamedTuple):
    mask: RobotMask
    tree: TransformTree


class RobotMasking:
    """Takes descriptions, and finds the robot in views. Meshes are read in a thread of their own.

    What is missing is a fault that names it, and the rest is masked. Thread-safe.
    """

    def __init__(self, transforms: TransformSource, parameters: CurrentParameters, faults: FaultBoard):
        self._transforms, self._parameters, self._faults = transforms, parameters, faults
        self._lock = threading.Lock()  # guards what follows
        self._text = ""
        self._robot: _Robot | None = None
        self._refusal = FrameError("no_robot_description", "no `robot_description` has come yet")  # without a robot
        self._is_refused = False  # the newest description cannot be used
        self._seen_ns: dict[str, int] = {}  # by leading link, the newest stamp it had a transform for
        self._asked_ns: int | None = None  # the first stamp asked for

    @property
    def is_reading(self) -> bool:
        """Whether a description has come whose meshes are not read yet."""
        with self._lock:
            return bool(self._text) and self._robot is None and not self._is_refused

    def on_description(self, message: String) -> None:
        """A robot_description; one that is the same as before changes nothing."""
        with self._lock:
            if message.data == self._text:
                return
            self._text = message.data
            self._robot, self._is_refused = None, False
            self._refusal = FrameError("no_robot_description", "the robot's meshes are being read")
        threading.Thread(target=self._load, args=(message.data,), name="robot", daemon=True).start()

    def world_from_link(self, link: str, stamp_ns: int | None) -> np.ndarray | None:
        """[4, 4] in map_frame, or None where it is not known; without a stamp the newest."""
        parameters = self._parameters.current
        try:
            return self._transforms.lookup(parameters.map_frame, parameters.robot_frame_prefix + link, stamp_ns)
        except TransformError:
            return None

    def sight(self, stamp_ns: int) -> RobotSight:
        """The robot's links at a stamp.

        Raises TransformError where waiting may help, FrameError where there is no robot to be masked.
        """
        with self._lock:
            robot, refusal = self._robot, self._refusal
        if robot is None:
            raise refusal
        map_frame = self._parameters.current.map_frame
        now = robot.tree.at(map_frame, stamp_ns)
        self._look_after(robot, now, map_frame, stamp_ns)
        if not any(link in now.poses for link in robot.mask.shapes.links):
            reasons = "; ".join(str(error) for error in list(now.lost.values())[:1])
            raise FrameError("robot_unposed", f"none of the robot's links has a transform: {reasons}")
        before = robot.tree.at(map_frame, stamp_ns - MOTION_NS).poses
        return RobotSight(robot.mask, now.poses, robot.mask.displacements(now.poses, before))

    def mask(self, view: View, sight: RobotSight, depth: np.ndarray | None) -> np.ndarray:
        """[H, W] bool, the robot's pixels in a view; `depth` [H, W] float32 metres tells what stands before it."""
        sight.mask.padding = self._parameters.current.robot_padding
        camera_from_map = np.linalg.inv(view.map_from_camera)
        poses = {link: camera_from_map @ pose for link, pose in sight.map_from_link.items()}
        return sight.mask.mask(view.camera, poses, depth, sight.moved)

    def _look_after(self, robot: _Robot, now: LinkPoses, map_frame: str, stamp_ns: int) -> None:
        """Put links that are not to be waited for where they were last, and name those that are not there at all.

        Raises the TransformError of one that is worth waiting for.
        """
        self._asked_ns = stamp_ns if self._asked_ns is None else min(self._asked_ns, stamp_ns)
        given_up: list[str] = []
        for link, error in now.lost.items():
            since_ns = stamp_ns - self._seen_ns.get(link, self._asked_ns)
            if since_ns < GIVEN_UP_NS:
                raise error if error.reason == _WAITING_HELPS else _to_be_waited_for(error)
            given_up.append(str(error))
            robot.tree.place(now.poses, link, self.world_from_link(link, None))
        for link in robot.tree.leaders - now.lost.keys():
            self._seen_ns[link] = stamp_ns
        if given_up:
            self._faults.report("robot_link_lost", "; ".join(given_up))
        else:
            self._faults.clear("robot_link_lost")

    def _load(self, text: str) -> None:
        from cgc_ros.robot.description import read_urdf  # with the rasteriser: slow to import
        from cgc_ros.robot.mask import RobotMask
        from cgc_ros.robot.meshes import load_shapes

        robot, refusal = None, None
        try:
            model = read_urdf(text)
            shapes = load_shapes(model, [Path.cwd()])
            prefix = self._parameters.current.robot_frame_prefix

            def lookup(target: str, source: str, stamp_ns: int) -> np.ndarray:
                target, source = (f"{prefix}{each}" if each in model.links else each for each in (target, source))
                return self._transforms.lookup(target, source, stamp_ns)

            tree = TransformTree(model, lookup)
            robot = _Robot(RobotMask(shapes, self._parameters.current.robot_padding), tree)
        except RobotError as error:
            refusal = FrameError("bad_robot_description", str(error))
        except Exception as error:  # of a library: named, and images wait for a description that can be used
            log.exception("robot_description")
            refusal = FrameError("bad_robot_description", f"{type(error).__name__}: {error}")
        with self._lock:
            if text != self._text:
                return  # a newer one is being read
            self._robot, self._is_refused = robot, robot is None
            self._refusal = refusal or self._refusal
            self._seen_ns, self._asked_ns = {}, None
        self._faults.clear("no_robot_description", "bad_robot_description", "robot_mesh_missing", "robot_link_lost")
        if robot is not None and robot.mask.shapes.problems:
            self._faults.report("robot_mesh_missing", "; ".join(robot.mask.shapes.problems))


def _to_be_waited_for(error: TransformError) -> TransformError:
    return TransformError(_WAITING_HELPS, str(error))
