"""An arm of seven axes with a gripper: its procedural meshes and its URDF, as robot/ of a recording has them."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import trimesh
from scipy.spatial.transform import Rotation

#: Joint by joint: name, axis, how far it sits above the one before, metres. Links are called link_0 to link_7.
AXES = [
    ("shoulder_pan", (0, 0, 1), 0.14),
    ("shoulder_lift", (0, 1, 0), 0.17),
    ("upper_roll", (0, 0, 1), 0.17),
    ("elbow", (0, 1, 0), 0.17),
    ("fore_roll", (0, 0, 1), 0.16),
    ("wrist_lift", (0, 1, 0), 0.16),
    ("wrist_roll", (0, 0, 1), 0.09),
]
JOINTS = [name for name, _, _ in AXES] + ["finger_left"]
#: The links of a hand that a camera wears: six virtual joints carry it.
MOUNT_JOINTS = ["mount_x", "mount_y", "mount_z", "mount_yaw", "mount_pitch", "mount_roll"]
HAND_FROM_CAMERA = np.array(  # the camera sits beside the hand and looks along it, its gripper low in the image
    [[0, -1, 0, 0.0], [1, 0, 0, -0.085], [0, 0, 1, -0.06], [0, 0, 0, 1.0]], float
)
COLORS = {  # sRGB, 0..1
    "shell": (0.86, 0.87, 0.88),
    "joint": (0.16, 0.17, 0.19),
    "band": (0.90, 0.42, 0.10),
    "finger": (0.22, 0.24, 0.27),
}


def write_arm(folder: Path, world_from_base: np.ndarray) -> None:
    """robot.json, arm.urdf and its meshes of an arm on a fixed base."""
    robot = ElementTree.Element("robot", name="arm")
    _link(robot, folder, "link_0", _column(0.085, AXES[0][2]), "package://arm_description/meshes/link_0.stl")
    for index, (name, axis, height) in enumerate(AXES):
        length = AXES[index + 1][2] if index + 1 < len(AXES) else 0.05
        radius = 0.062 - 0.004 * index
        _joint(robot, name, "revolute", f"link_{index}", f"link_{index + 1}", (0, 0, height), axis=axis)
        shape = _segment(radius, length, across=axis == (0, 1, 0))
        uri = f"package://arm_description/meshes/link_{index + 1}.stl" if index % 2 else f"meshes/link_{index + 1}.obj"
        _link(robot, folder, f"link_{index + 1}", shape, uri)
    _hand(robot, folder, "link_7", (0, 0, 0.05))
    _write(robot, folder, world_from_base)


def write_wrist(folder: Path) -> None:
    """The same for the hand alone, on six virtual joints, as a camera on a wrist sees it."""
    robot = ElementTree.Element("robot", name="wrist")
    ElementTree.SubElement(robot, "link", name="world")
    parent = "world"
    axes = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    for index, (name, axis) in enumerate(zip(MOUNT_JOINTS, axes, strict=True)):
        child = "flange" if index == 5 else f"mount_{index}"
        _joint(robot, name, "prismatic" if index < 3 else "continuous", parent, child, axis=axis)
        if child == "flange":
            _link(robot, folder, child, _column(0.045, 0.05, below=0.12), "meshes/flange.stl")
        else:
            ElementTree.SubElement(robot, "link", name=child)
        parent = child
    _hand(robot, folder, "flange", (0, 0, 0.05))
    _write(robot, folder, np.eye(4))


def mount_positions(world_from_camera: np.ndarray) -> dict[str, float]:
    """Positions of the virtual joints that carry the hand where the camera [4, 4] is."""
    pose = world_from_camera @ np.linalg.inv(HAND_FROM_CAMERA)
    angles = Rotation.from_matrix(pose[:3, :3]).as_euler("ZYX")
    return dict(zip(MOUNT_JOINTS, (*pose[:3, 3], *angles), strict=True))


def _hand(robot: ElementTree.Element, folder: Path, parent: str, place: tuple) -> None:
    """A palm of a box, with two fingers: one that is driven, one that mimics it."""
    _joint(robot, "hand_mount", "fixed", parent, "hand", place)
    hand = ElementTree.SubElement(robot, "link", name="hand")
    visual = ElementTree.SubElement(hand, "visual")
    ElementTree.SubElement(visual, "origin", xyz="0 0 0.03")
    ElementTree.SubElement(ElementTree.SubElement(visual, "geometry"), "box", size="0.06 0.16 0.06")
    for name, side in (("finger_left", 1), ("finger_right", -1)):
        _joint(robot, name, "prismatic", "hand", f"{name}_link", (0, 0.012 * side, 0.06), axis=(0, side, 0))
        if side < 0:
            ElementTree.SubElement(robot[-1], "mimic", joint="finger_left", multiplier="1", offset="0")
        finger = trimesh.creation.box((0.022, 0.016, 0.075))
        finger.apply_translation((0, 0, 0.0375))
        _link(robot, folder, f"{name}_link", finger, f"meshes/{name}.stl")


def _column(radius: float, height: float, below: float = 0.0) -> trimesh.Trimesh:
    """A body of revolution around z from -below to height, with a rounded shoulder."""
    shoulder = np.linspace(0, np.pi / 2, 12)
    rounding = 0.25 * radius
    outline = [(0, -below), (1.15 * radius, -below), (1.15 * radius, 0.02 - below), (radius, 0.03 - below)]
    outline += [(radius - rounding * (1 - np.cos(a)), height - rounding * (1 - np.sin(a))) for a in shoulder]
    return trimesh.creation.revolve([*outline, (0, height)], sections=64)


def _segment(radius: float, length: float, *, across: bool) -> trimesh.Trimesh:
    """A link around its joint at the origin, up to the next joint: a drum on the axis and a barrel."""
    drum = trimesh.creation.cylinder(radius=1.12 * radius, height=2.3 * radius, sections=64)
    if across:
        drum.apply_transform(trimesh.transformations.rotation_matrix(np.pi / 2, (1, 0, 0)))
    barrel = trimesh.creation.capsule(height=length, radius=radius, count=[32, 32])
    return trimesh.util.concatenate([drum, barrel])


def _link(robot: ElementTree.Element, folder: Path, name: str, mesh: trimesh.Trimesh, uri: str) -> None:
    link = ElementTree.SubElement(robot, "link", name=name)
    geometry = ElementTree.SubElement(ElementTree.SubElement(link, "visual"), "geometry")
    ElementTree.SubElement(geometry, "mesh", filename=uri)
    path = folder / uri.removeprefix("package://")
    path.parent.mkdir(parents=True, exist_ok=True)
    mesh.export(path)


def _joint(
    robot: ElementTree.Element, name: str, kind: str, parent: str, child: str, place=(0, 0, 0), axis=(0, 0, 1)
) -> None:
    joint = ElementTree.SubElement(robot, "joint", name=name, type=kind)
    ElementTree.SubElement(joint, "parent", link=parent)
    ElementTree.SubElement(joint, "child", link=child)
    ElementTree.SubElement(joint, "origin", xyz=" ".join(map(str, place)))
    if kind != "fixed":
        ElementTree.SubElement(joint, "axis", xyz=" ".join(map(str, axis)))
    if kind in ("revolute", "prismatic"):
        ElementTree.SubElement(joint, "limit", lower="-10", upper="10", effort="1", velocity="3")


def _write(robot: ElementTree.Element, folder: Path, world_from_base: np.ndarray) -> None:
    ElementTree.indent(robot)
    ElementTree.ElementTree(robot).write(folder / "arm.urdf", encoding="utf-8", xml_declaration=True)
    document = {"urdf": "arm.urdf", "world_from_base": world_from_base.tolist()}
    (folder / "robot.json").write_text(json.dumps(document) + "\n")
