"""The robot of a recording: robot/robot.json with its URDF, meshes and joint states (docs/sequences.md), or a bag's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cgc_ros.frame import Frame, FrameError, check_rigid
from cgc_ros.robot.description import RobotModel, read_urdf
from cgc_ros.robot.errors import RobotError
from cgc_ros.robot.joints import JointTable, read_joints
from cgc_ros.robot.kinematics import joints_without_position
from cgc_ros.robot.layout import DEFAULT_PADDING, DESCRIPTION, FOLDER, JOINTS
from cgc_ros.robot.mask import RobotMask
from cgc_ros.robot.meshes import load_shapes
from cgc_ros.robot.poses import MOTION_NS, TransformTree, posed_links

_TRIED = 20  # images of a bag for which links are looked up to tell what is lost
_MAX_GAP_S = 0.1  # images farther from the joint states are told

#: world_from_link [4, 4] by link at a stamp, of all links that are known.
Links = Callable[[int], dict[str, np.ndarray]]


class RecordedRobot:
    """Where a recording's robot is, and which pixels show it. `problems`: what is not masked, and why, in words."""

    def __init__(
        self,
        model: RobotModel,
        mask: RobotMask,
        links: Links,
        problems: tuple[str, ...] = (),
        joints: JointTable | None = None,
    ):
        """`joints`: what `links` takes the joints' positions from, where it does."""
        self.model, self.joints = model, joints
        self._mask, self._links = mask, links
        self.problems = (*mask.shapes.problems, *problems)

    def gaps(self, stamps_ns: list[int]) -> list[str]:
        """What is to be said of stamps that the joint states do not reach, in words."""
        gaps = [] if self.joints is None else [self.joints.gap_s(stamp_ns) for stamp_ns in stamps_ns]
        far = [gap for gap in gaps if gap > _MAX_GAP_S]
        if not far:
            return []
        return [
            f"{len(far)} of {len(gaps)} images are up to {max(far):.2f} s before the first or after the last joint "
            "states, which hold for them: record joints as long as images, with one clock"
        ]

    def links_at(self, stamp_ns: int) -> dict[str, np.ndarray]:
        """world_from_link [4, 4] by link, of all that are known, in the recording's own world."""
        return self._links(stamp_ns)

    def world_from_link(self, link: str, stamp_ns: int) -> np.ndarray | None:
        """[4, 4] in the recording's own world, or None where the link or its place is not known."""
        return self._links(stamp_ns).get(link)

    def mask(self, frame: Frame, origin: np.ndarray | None = None) -> np.ndarray:
        """[H, W] bool, True where the frame's image, with its lens distortion, shows the robot.

        `origin` [3]: what the frame's pose is about, in the recording's world.
        """
        world_from_camera = frame.world_from_camera.copy()
        if origin is not None:
            world_from_camera[:3, 3] += origin
        camera_from_world = np.linalg.inv(world_from_camera)
        now = self._links(frame.stamp_ns)
        moved = self._mask.displacements(now, self._links(frame.stamp_ns - MOTION_NS))
        return self._mask.mask(
            frame.intrinsics, {link: camera_from_world @ pose for link, pose in now.items()}, frame.depth, moved
        )


def read_robot(recording: Path, padding: float = DEFAULT_PADDING) -> RecordedRobot:
    """The robot of a folder. RobotError names the file, the value and what to do."""
    folder = recording / FOLDER
    urdf, world_from_base = _read_description(folder / DESCRIPTION)
    try:
        text = urdf.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RobotError("bad_robot", f"{urdf}, named in {folder / DESCRIPTION}, cannot be read: {error}") from error
    model = read_urdf(text)
    joints = read_joints(folder / JOINTS)
    mask = RobotMask(load_shapes(model, [folder, urdf.parent]), padding)
    return jointed_robot(model, mask, joints, lambda stamp_ns: world_from_base, str(folder / JOINTS))


def jointed_robot(
    model: RobotModel, mask: RobotMask, joints: JointTable, base: Callable[[int], np.ndarray], where: str
) -> RecordedRobot:
    """A robot by its joint states. `base`: world_from_root [4, 4] at a stamp; `where` they are from, for people."""
    known = {name for name, column in zip(joints.names, joints.positions.T, strict=True) if np.isfinite(column).all()}
    problems = [
        f"joint {name!r} has no positions in {where}: it and all links beyond are not masked"
        for name in joints_without_position(model, known)
    ]

    def links(stamp_ns: int) -> dict[str, np.ndarray]:
        return posed_links(model, base(stamp_ns), joints.at(stamp_ns))

    return RecordedRobot(model, mask, links, tuple(problems), joints)


def transformed_robot(
    model: RobotModel,
    mask: RobotMask,
    tree: TransformTree,
    map_frame: str,
    joints: JointTable | None,
    stamps_ns: list[int],
) -> RecordedRobot:
    """A robot by its links' transforms and, for links that have none, by joint states. `stamps_ns`: of the images."""

    def links(stamp_ns: int) -> dict[str, np.ndarray]:
        poses = tree.at(map_frame, stamp_ns).poses
        if joints is None or model.root not in poses:
            return poses
        return posed_links(model, poses[model.root], joints.at(stamp_ns)) | poses

    lost: dict[str, tuple[int, str]] = {}
    tried = stamps_ns[:: max(1, len(stamps_ns) // _TRIED)]
    for stamp_ns in tried:
        known = links(stamp_ns)
        for link, error in tree.at(map_frame, stamp_ns).lost.items():
            if link not in known:
                lost[link] = (lost.get(link, (0, ""))[0] + 1, str(error))
    problems = [
        f"link {link!r} is not masked in {count} of {len(tried)} images looked at: {text}"
        for link, (count, text) in lost.items()
    ]
    return RecordedRobot(model, mask, links, tuple(problems))


def _read_description(path: Path) -> tuple[Path, np.ndarray]:
    """The URDF's path and world_from_base [4, 4]."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        urdf = path.parent / str(document["urdf"])
        world_from_base = np.array(document.get("world_from_base", np.eye(4)), np.float64)
        check_rigid(world_from_base)
    except FrameError as error:
        told = f"{path}: world_from_base must be a finite, rigid transform [4, 4], not {world_from_base.tolist()}"
        raise RobotError("bad_robot", told) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RobotError(
            "bad_robot",
            f'{path} must hold {{"urdf": NAME, "world_from_base": 4x4}} ({type(error).__name__}: {error})',
        ) from error
    return urdf, world_from_base
