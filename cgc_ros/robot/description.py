"""What a URDF says of links, their shapes and the joints between them, read by yourdfpy (the extra `robot`)."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np

from cgc_ros.robot.errors import RobotError

#: Joints with one number for a position. Any other but `fixed` (floating, planar) has none in joint states.
SINGLE_AXIS = ("revolute", "continuous", "prismatic")


@dataclass(frozen=True)
class Shape:
    """One <visual> or <collision>: a mesh file or a primitive."""

    link_from_shape: np.ndarray  # [4, 4]
    kind: str  # mesh | box | cylinder | sphere
    size: tuple[float, ...]  # mesh: scale x, y, z; box: edges; cylinder: radius, length; sphere: radius
    uri: str = ""  # of a mesh, as the URDF has it


@dataclass(frozen=True)
class Link:
    """A rigid body."""

    name: str
    visual: tuple[Shape, ...]
    collision: tuple[Shape, ...]


@dataclass(frozen=True)
class Mimic:
    """A joint that follows another: multiplier * position + offset."""

    joint: str
    multiplier: float
    offset: float


@dataclass(frozen=True)
class Joint:
    """How a link hangs on its parent."""

    name: str
    kind: str
    parent: str
    child: str
    parent_from_joint: np.ndarray  # [4, 4] at position 0
    axis: np.ndarray  # [3] unit vector, in the joint's frame
    mimic: Mimic | None = None

    @property
    def is_fixed(self) -> bool:
        """Whether child and parent are one rigid body."""
        return self.kind == "fixed"


@dataclass(frozen=True)
class RobotModel:
    """A tree of links. `joints`: parents before their children."""

    name: str
    root: str
    links: dict[str, Link]
    joints: tuple[Joint, ...]
    urdf: str  # the text itself


def read_urdf(text: str) -> RobotModel:
    """A robot_description. RobotError (missing_package, bad_urdf) where it cannot be used, in one line."""
    try:
        import yourdfpy
    except ImportError as error:
        raise RobotError(
            "missing_package",
            f"masking the robot needs yourdfpy ({error}): pip install yourdfpy pycollada",
        ) from error
    data = text.encode()
    try:
        root = ElementTree.fromstring(data)  # yourdfpy would go on with a broken file's beginning
    except ElementTree.ParseError as error:
        raise RobotError("bad_urdf", f"the robot's URDF is no XML: {error}; is it xacro not yet expanded?") from error
    if root.tag != "robot":
        raise RobotError("bad_urdf", f"the robot's URDF begins with <{root.tag}>, not with <robot>")
    try:
        robot = yourdfpy.URDF.load(io.BytesIO(data), build_scene_graph=False, load_meshes=False).robot
        links = {each.name: _link(each) for each in robot.links}
        joints = [_joint(each) for each in robot.joints]
    except (ValueError, KeyError, AttributeError, IndexError, TypeError) as error:
        raise RobotError(
            "bad_urdf", f"the robot's URDF cannot be read ({type(error).__name__}: {error}): try check_urdf on it"
        ) from error
    base, ordered = _tree(links, joints)
    return RobotModel(robot.name, base, links, tuple(ordered), text)


def _tree(links: dict[str, Link], joints: list[Joint]) -> tuple[str, list[Joint]]:
    """The root, and the joints with parents before children. RobotError where they are no tree."""
    for joint in joints:
        for link in (joint.parent, joint.child):
            if link not in links:
                raise RobotError(
                    "bad_urdf", f"joint {joint.name!r} of the URDF names a link {link!r} that is not there"
                )
    children = [joint.child for joint in joints]
    if twice := [name for name in links if children.count(name) > 1]:
        raise RobotError("bad_urdf", f"link {twice[0]!r} of the URDF hangs on several joints")
    roots = [name for name in links if name not in children]
    if len(roots) != 1:
        raise RobotError(
            "bad_urdf", f"the URDF has {len(roots)} root links ({', '.join(roots[:4])}): joints must make one tree"
        )
    ordered: list[Joint] = []
    reached = [roots[0]]
    while reached:
        link = reached.pop(0)
        below = [joint for joint in joints if joint.parent == link]
        ordered += below
        reached += [joint.child for joint in below]
    return roots[0], ordered


def _link(link) -> Link:
    return Link(link.name, tuple(_shapes(link.visuals)), tuple(_shapes(link.collisions)))


def _shapes(elements) -> Iterable[Shape]:
    for element in elements:
        pose = np.eye(4) if element.origin is None else np.asarray(element.origin, np.float64)
        geometry = element.geometry
        if geometry.mesh is not None:
            scale = 1.0 if geometry.mesh.scale is None else geometry.mesh.scale
            size = tuple(float(value) for value in np.broadcast_to(np.asarray(scale, np.float64), 3))
            yield Shape(pose, "mesh", size, geometry.mesh.filename)
        elif geometry.box is not None:
            yield Shape(pose, "box", tuple(float(edge) for edge in geometry.box.size))
        elif geometry.cylinder is not None:
            yield Shape(pose, "cylinder", (float(geometry.cylinder.radius), float(geometry.cylinder.length)))
        elif geometry.sphere is not None:
            yield Shape(pose, "sphere", (float(geometry.sphere.radius),))


def _joint(joint) -> Joint:
    pose = np.eye(4) if joint.origin is None else np.asarray(joint.origin, np.float64)
    axis = np.array([1.0, 0.0, 0.0]) if joint.axis is None else np.asarray(joint.axis, np.float64)
    length = float(np.linalg.norm(axis))
    if joint.type in SINGLE_AXIS and not length > 0:
        raise RobotError("bad_urdf", f"joint {joint.name!r} of the URDF turns about the axis 0 0 0")
    mimic = joint.mimic and Mimic(joint.mimic.joint, float(joint.mimic.multiplier), float(joint.mimic.offset))
    return Joint(
        joint.name, joint.type, joint.parent, joint.child, pose, axis / length if length > 0 else axis, mimic or None
    )
