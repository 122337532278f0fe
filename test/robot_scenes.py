"""Small robots, and recordings of one that moves before a wall, for the tests."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cgc_ros.frame import Frame, Intrinsics
from cgc_ros.sequences.base import FrameInfo, Sequence

pytest.importorskip("yourdfpy", reason="requirements/robot.txt is not installed")
trimesh = pytest.importorskip("trimesh", reason="requirements/robot.txt is not installed")
sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

CAMERA = Intrinsics(160, 120, 146.0, 146.0, 79.5, 59.5)
RATE_HZ = 5.0

#: A box, a cylinder, a ball and a mesh on a turning and a sliding joint, one that mimics, one that is fixed.
URDF = """<?xml version="1.0"?>
<robot name="small">
  <link name="base"><visual><geometry><box size="0.2 0.2 0.1"/></geometry></visual></link>
  <joint name="turn" type="revolute"><parent link="base"/><child link="arm"/>
    <origin xyz="0 0 0.1" rpy="0 0 0.3"/><axis xyz="0 1 0"/>
    <limit lower="-2" upper="2" effort="1" velocity="1"/></joint>
  <link name="arm"><visual><origin xyz="0 0 0.15"/><geometry><cylinder radius="0.05" length="0.3"/></geometry></visual>
    <collision><origin xyz="0 0 0.15"/><geometry><box size="0.1 0.1 0.3"/></geometry></collision></link>
  <joint name="slide" type="prismatic"><parent link="arm"/><child link="hand"/>
    <origin xyz="0 0 0.3"/><axis xyz="0 0 2"/><limit lower="0" upper="1" effort="1" velocity="1"/></joint>
  <link name="hand"><visual><geometry><mesh filename="package://small_description/hand.stl" scale="0.001 0.001 0.001"/>
    </geometry></visual></link>
  <joint name="follow" type="continuous"><parent link="hand"/><child link="tip"/>
    <origin xyz="0 0 0.1"/><axis xyz="1 0 0"/><mimic joint="turn" multiplier="-2" offset="0.1"/></joint>
  <link name="tip"><visual><origin xyz="0 0 0.03"/><geometry><sphere radius="0.04"/></geometry></visual></link>
  <joint name="screw" type="fixed"><parent link="tip"/><child link="plate"/><origin xyz="0 0 0.08"/></joint>
  <link name="plate"/>
</robot>
"""
LINKS = ("base", "arm", "hand", "tip", "plate")


def write_hand(folder: Path) -> Path:
    """The mesh of URDF's hand, in millimetres, where its package:// finds it below a folder."""
    path = folder / "small_description" / "hand.stl"
    path.parent.mkdir(parents=True, exist_ok=True)
    trimesh.creation.box((120, 60, 80)).export(path)
    return path


class WallSequence(Sequence):
    """A patterned wall at z = 1.4 m, seen by a camera at the origin that moves sideways."""

    def __init__(self, count: int = 8, depth: bool = True, camera: Intrinsics = CAMERA):
        frames = []
        for index in range(count):
            pose = np.eye(4)
            pose[0, 3] = 0.02 * index
            stamp = 1_000_000_000_000 + round(index / RATE_HZ * 1e9)
            frames.append(FrameInfo(f"{index:04d}", stamp, pose, camera, held_out=index % 8 == 7))
        super().__init__("wall", frames, has_depth=depth, metric_scale=True)

    def load_image(self, index: int) -> np.ndarray:
        camera = self.frames[index].intrinsics
        rows, columns = np.mgrid[: camera.height, : camera.width]
        return np.stack([rows % 256, columns % 256, (rows // 8 + columns // 8) % 2 * 200], -1).astype(np.uint8)

    def load_depth(self, index: int) -> np.ndarray | None:
        camera = self.frames[index].intrinsics
        return np.full((camera.height, camera.width), 1.4, np.float32)


def arm_base() -> np.ndarray:
    """world_from_base of an arm that hangs from above at 0.9 m before the camera (z forward, y down)."""
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("x", 90, degrees=True).as_matrix()  # its z points up in the image
    pose[:3, 3] = 0.0, 0.42, 0.9
    return pose


def write_arm_recording(folder: Path, count: int = 8, on_wrist: bool = False) -> Path:
    """The wall with the generator's arm before it (make_recording.add_arm)."""
    from make_recording.add_arm import add_arm

    add_arm(WallSequence(count), folder, arm_base(), on_wrist=on_wrist)
    return folder


def truth_of(folder: Path, frame: Frame) -> np.ndarray:
    """[H, W] bool, where the generator shows the arm."""
    return cv2.imread(str(folder / "truth_robot" / f"{frame.name}.png"), cv2.IMREAD_GRAYSCALE) > 0


def write_robot(folder: Path, urdf: str = URDF, rows: str = "") -> Path:
    """robot/ of URDF in a recording's folder, with joints.csv."""
    robot = folder / "robot"
    write_hand(robot)
    (robot / "small.urdf").write_text(urdf)
    (robot / "robot.json").write_text('{"urdf": "small.urdf", "world_from_base": ' + str(np.eye(4).tolist()) + "}")
    (robot / "joints.csv").write_text(rows or "stamp,turn,slide\n999,0,0\n1010,0.5,0.1\n")
    return robot
