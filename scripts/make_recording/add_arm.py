"""Puts an arm that moves into any recording with depth: the same recording with and without a robot.

    PYTHONPATH=scripts python -m make_recording.add_arm demo/tabletop build/tabletop_arm --base -0.2 0.62 0.72 -90

Writes the folder layout with robot/, and truth_robot/NAME.png (8 bit, 255 where the arm is to be seen), for evaluation
alone. Colour, depth, masks and instances show the arm where it is nearer than the recording's own depth. The arm throws
no shadow. It is drawn by ray casting (Open3D) from links that yourdfpy poses, by nothing of what is tested with it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import open3d as o3d
import trimesh
import yourdfpy
from scipy.spatial.transform import Rotation

from cgc_ros.frame import Frame
from cgc_ros.sequences import Sequence, open_sequence
from cgc_ros.sequences.folder_writer import write_folder
from make_recording.arm_model import COLORS, mount_positions, write_arm, write_wrist
from make_recording.arm_motion import JOINT_RATE, positions, write_joints

_LIGHTS = (((0.3, -0.5, 0.8), 0.65), ((-0.7, 0.4, 0.3), 0.25))  # direction in the world, strength
_AMBIENT = 0.3
_SAMPLES = ((-0.25, -0.25), (0.25, -0.25), (-0.25, 0.25), (0.25, 0.25))  # of a pixel's colour
_JPEG_QUALITY = 95


class Posed(NamedTuple):
    """The arm at one stamp."""

    scene: o3d.t.geometry.RaycastingScene
    colors: list[tuple[float, float, float]]  # by geometry
    world_from_link: list[np.ndarray]


class Arm:
    """The robot of a recording's folder, posed and seen by ray casting."""

    def __init__(self, folder: Path):
        self._urdf = yourdfpy.URDF.load(str(folder / "arm.urdf"), load_meshes=False)
        self._world_from_base = np.eye(4)
        self._parts: list[tuple[str, trimesh.Trimesh]] = []
        for link in self._urdf.robot.links:
            for visual in link.visuals:
                if visual.geometry.mesh is not None:
                    uri = visual.geometry.mesh.filename.removeprefix("package://")
                    mesh = trimesh.load_mesh(folder / uri)
                else:
                    mesh = trimesh.creation.box(visual.geometry.box.size)
                    mesh.apply_transform(visual.origin)
                self._parts.append((link.name, mesh))

    def posed(self, world_from_base: np.ndarray, joints: dict[str, float]) -> Posed:
        self._urdf.update_cfg(joints)
        scene, colors, poses = o3d.t.geometry.RaycastingScene(), [], []
        for index, (link, mesh) in enumerate(self._parts):
            pose = world_from_base @ self._urdf.get_transform(link)
            vertices = mesh.vertices @ pose[:3, :3].T + pose[:3, 3]
            scene.add_triangles(
                o3d.core.Tensor(vertices.astype(np.float32)), o3d.core.Tensor(np.asarray(mesh.faces, np.uint32))
            )
            kind = "finger" if "finger" in link or link == "hand" else ("shell", "joint")[index % 4 == 3]
            colors.append(COLORS[kind])
            poses.append(pose)
        return Posed(scene, colors, poses)


def seen(arm: Posed, frame: Frame, shift: tuple[float, float] = (0.0, 0.0)) -> tuple[np.ndarray, np.ndarray]:
    """Depth [H, W] along z (inf: no arm) and colour [H, W, 3], 0..1, of rays through pixels' centres plus `shift`."""
    camera = frame.intrinsics
    rows, columns = np.mgrid[: camera.height, : camera.width].astype(np.float64)
    slopes = np.stack(
        [(columns + shift[0] - camera.cx) / camera.fx, (rows + shift[1] - camera.cy) / camera.fy, np.ones_like(rows)],
        -1,
    )
    directions = slopes @ frame.world_from_camera[:3, :3].T
    origins = np.broadcast_to(frame.world_from_camera[:3, 3], directions.shape)
    rays = o3d.core.Tensor(np.concatenate([origins, directions], -1).astype(np.float32))
    hits = arm.scene.cast_rays(rays)
    depth = hits["t_hit"].numpy()  # along z: the rays' third component is 1 in the camera's frame
    part = hits["geometry_ids"].numpy()
    normals = hits["primitive_normals"].numpy()
    hit = np.isfinite(depth)
    facing = -np.sign(np.einsum("hwc,hwc->hw", normals, directions, dtype=np.float64))
    light = np.full(depth.shape, _AMBIENT)
    for direction, strength in _LIGHTS:
        light += strength * np.maximum(0.0, facing * (normals @ (np.array(direction) / np.linalg.norm(direction))))
    color = np.zeros((*depth.shape, 3))
    for index, (paint, pose) in enumerate(zip(arm.colors, arm.world_from_link, strict=True)):
        own = hit & (part == index)
        points = origins[own] + depth[own][:, None] * directions[own]
        height = (points - pose[:3, 3]) @ pose[:3, 2]
        banded = (np.abs(height - 0.08) < 0.008)[:, None]
        color[own] = np.where(banded, COLORS["band"], paint) * light[own][:, None]
    return depth, color


def composed(arm: Posed, frame: Frame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The frame's image [H, W, 3] uint8 and depth [H, W] with the arm in, and where the arm shows [H, W] bool."""
    if frame.depth is None:
        raise SystemExit(f"frame {frame.name} has no depth, which says what stands before the arm")
    scene = np.where(frame.depth > 0, frame.depth, np.inf)
    depth, _ = seen(arm, frame)
    visible = depth < scene
    image, added = np.zeros(frame.image.shape), np.zeros(visible.shape)
    for shift in _SAMPLES:
        z, color = seen(arm, frame, shift)
        front = z < scene
        image[front] += color[front]
        added += front
    share = (added / len(_SAMPLES))[..., None]
    mixed = image / len(_SAMPLES) * 255.0 + (1.0 - share) * frame.image
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8), np.where(visible, depth, frame.depth), visible


def add_arm(sequence: Sequence, out: Path, world_from_base: np.ndarray, *, on_wrist: bool = False) -> None:
    """`sequence` with the arm in, as a folder. The base stands in the world, or its hand is worn by the camera."""
    write_folder(sequence, out)
    names = [line.rsplit(",", 1)[1] for line in (out / "poses.csv").read_text().splitlines()[1:]]
    (out / "robot").mkdir()
    stamps = [info.stamp_ns * 1e-9 for info in sequence.frames]
    if on_wrist:
        write_wrist(out / "robot")
        world_from_base = np.eye(4)
        rows = {
            stamp: mount_positions(info.world_from_camera) | {"finger_left": 0.02 + 0.015 * np.sin(3 * stamp)}
            for stamp, info in zip(stamps, sequence.frames, strict=True)
        }
        at = rows
    else:
        write_arm(out / "robot", world_from_base)
        duration = stamps[-1] - stamps[0]
        times = np.arange(-0.1, duration + 0.1, 1.0 / JOINT_RATE)
        rows = {stamps[0] + time: positions(time, duration) for time in times}
        at = {stamp: positions(stamp - stamps[0], duration) for stamp in stamps}
    write_joints(out / "robot" / "joints.csv", rows)
    arm = Arm(out / "robot")
    for index, (name, stamp) in enumerate(zip(names, stamps, strict=True)):
        image, depth, visible = composed(arm.posed(world_from_base, at[stamp]), sequence.stored_frame(index))
        _write_frame(out, name, image, depth, visible)


def _write_frame(out: Path, name: str, image: np.ndarray, depth: np.ndarray, visible: np.ndarray) -> None:
    quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if name.endswith((".jpg", ".jpeg")) else []
    cv2.imwrite(str(out / "images" / name), image[..., ::-1], quality)
    png = Path(name).with_suffix(".png")
    cv2.imwrite(str(out / "depth" / png), np.rint(depth * 1000).astype(np.uint16))
    for folder, fill in (("instances", 0), ("masks", None)):
        path = out / folder / png
        if path.is_file():
            ids = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            ids[visible] = ids.max() + 1 if fill is None else fill  # a segmenter would find the arm, too
            cv2.imwrite(str(path), ids)
    truth = out / "truth_robot" / png
    truth.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(truth), visible.astype(np.uint8) * 255)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path, help="with depth, of any format that cgc map reads")
    parser.add_argument("out", type=Path, help="the folder to make; must not exist")
    parser.add_argument(
        "--base",
        type=float,
        nargs=4,
        metavar=("X", "Y", "Z", "YAW"),
        default=(0.0, 0.0, 0.0, 0.0),
        help="where its base stands in the world, metres and degrees",
    )
    parser.add_argument("--wrist", action="store_true", help="only the hand, worn by the camera")
    options = parser.parse_args()
    if options.out.exists():
        parser.error(f"{options.out} exists: move it away or name another")
    x, y, z, yaw = options.base
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = Rotation.from_euler("z", yaw, degrees=True).as_matrix(), (x, y, z)
    add_arm(open_sequence(options.recording, robot="off"), options.out, pose, on_wrist=options.wrist)


if __name__ == "__main__":
    main()
