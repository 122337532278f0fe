"""Small recordings in the layouts of public data sets and phone apps, written from their descriptions."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from recordings import CX, CY, FX, FY, HEIGHT, WIDTH, Scene, write_png
from scipy.spatial.transform import Rotation

K = np.array([[FX, 0.0, CX], [0.0, FY, CY], [0.0, 0.0, 1.0]])
ARKIT = np.diag([1.0, -1.0, -1.0, 1.0])  # its camera's axes seen from the optical frame: y up, z backward


def seconds(scene: Scene, index: int) -> str:
    return f"{scene.stamp_ns(index) / 1e9:.6f}"


def tum_line(stamp: str, pose: np.ndarray) -> str:
    return " ".join([stamp, *map(repr, map(float, [*pose[:3, 3], *Rotation.from_matrix(pose[:3, :3]).as_quat()]))])


def depth_png(path: Path, scene: Scene, index: int, units: float) -> None:
    write_png(path, np.round(scene.depth_m(index) * units).astype(np.uint16))


def write_matrix(path: Path, matrix: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, matrix, fmt="%.17g")


def write_tum(root: Path, scene: Scene) -> Path:
    """Depth 4 ms after its image; poses at 100 Hz, none of them at an image's stamp; K.txt beside them."""
    colors, depths, poses = ["# color images"], ["# depth maps"], ["# timestamp tx ty tz qx qy qz qw"]
    for index in range(scene.count):
        stamp, late = seconds(scene, index), f"{scene.stamp_ns(index) / 1e9 + 0.004:.6f}"
        write_png(root / "rgb" / f"{stamp}.png", scene.image(index))
        depth_png(root / "depth" / f"{late}.png", scene, index, 5000)
        colors.append(f"{stamp} rgb/{stamp}.png")
        depths.append(f"{late} depth/{late}.png")
        for offset in (-0.005, 0.005):
            moved = scene.poses[index].copy()
            moved[0, 3] += offset  # at 1 m/s along x
            poses.append(tum_line(f"{scene.stamp_ns(index) / 1e9 + offset:.6f}", moved))
    for name, lines in (("rgb", colors), ("depth", depths), ("groundtruth", poses)):
        (root / f"{name}.txt").write_text("\n".join(lines) + "\n")
    write_matrix(root / "K.txt", K)
    return root


def write_icl_nuim(root: Path, scene: Scene) -> Path:
    """Camera and world with y up, as the data set's ray tracer has them."""
    mirror, lines = np.diag([1.0, -1.0, 1.0, 1.0]), []
    for index in range(scene.count):
        write_png(root / "rgb" / f"{index}.png", scene.image(index))
        depth_png(root / "depth" / f"{index}.png", scene, index, 5000)
        lines.append(tum_line(str(index), mirror @ scene.poses[index] @ mirror))
    (root / "livingRoom2.gt.freiburg").write_text("\n".join(lines) + "\n")
    write_matrix(root / "K.txt", K)
    return root


def write_seven_scenes(root: Path, scene: Scene) -> Path:
    for index in range(scene.count):
        stem = f"frame-{index:06d}"
        write_png(root / f"{stem}.color.png", scene.image(index))
        depth_png(root / f"{stem}.depth.png", scene, index, 1000)
        write_matrix(root / f"{stem}.pose.txt", scene.poses[index])
    write_matrix(root / "K.txt", K)
    return root


def write_scannet(root: Path, scene: Scene) -> Path:
    for index in range(scene.count):
        write_png(root / "color" / f"{index}.png", scene.image(index))
        depth_png(root / "depth" / f"{index}.png", scene, index, 1000)
        write_matrix(root / "pose" / f"{index}.txt", scene.poses[index])
    intrinsic = np.eye(4)
    intrinsic[:3, :3] = K
    write_matrix(root / "intrinsic" / "intrinsic_color.txt", intrinsic)
    return root


def write_replica(root: Path, scene: Scene) -> Path:
    """A scene's folder below that of cam_params.json."""
    room = root / "room0"
    for index in range(scene.count):
        write_png(room / "results" / f"frame{index:06d}.png", scene.image(index))
        depth_png(room / "results" / f"depth{index:06d}.png", scene, index, 6553.5)
    write_matrix(room / "traj.txt", np.array([pose.ravel() for pose in scene.poses[: scene.count]]))
    camera = {"w": WIDTH, "h": HEIGHT, "fx": FX, "fy": FY, "cx": CX, "cy": CY, "scale": 6553.5}
    (root / "cam_params.json").write_text(json.dumps({"camera": camera}))
    return room


def write_polycam(root: Path, scene: Scene, corrected: bool = True) -> Path:
    """With `corrected`, what was there before correction is wrong."""
    kinds = ("corrected_", "") if corrected else ("",)
    for kind in kinds:
        for index in range(scene.count):
            stamp = scene.stamp_ns(index) // 1000
            pose = scene.poses[index] @ ARKIT
            if corrected and not kind:
                pose = np.eye(4)
            camera = {"width": WIDTH, "height": HEIGHT, "fx": FX, "fy": FY, "cx": CX, "cy": CY, "timestamp": stamp}
            camera |= {f"t_{row}{column}": float(pose[row, column]) for row in range(3) for column in range(4)}
            write_png(root / "keyframes" / f"{kind}images" / f"{stamp}.png", scene.image(index))
            depth_png(root / "keyframes" / "depth" / f"{stamp}.png", scene, index, 1000)
            (root / "keyframes" / f"{kind}cameras").mkdir(exist_ok=True)
            (root / "keyframes" / f"{kind}cameras" / f"{stamp}.json").write_text(json.dumps(camera))
    return root


def write_record3d(root: Path, scene: Scene, zipped: bool = False) -> Path:
    """The exported folder, its depth as .npy; with `zipped` the insides of a .r3d, its depth not compressed."""
    metadata_file, colors, depths = ("metadata", "rgbd", "rgbd") if zipped else ("metadata.json", "rgb", "depth")
    poses = []
    for index in range(scene.count):
        pose = scene.poses[index] @ ARKIT
        poses.append([*Rotation.from_matrix(pose[:3, :3]).as_quat(), *pose[:3, 3]])
        write_png(root / colors / f"{index}.png", scene.image(index))
        depth = cv2.resize(scene.depth_m(index), (WIDTH // 4, HEIGHT // 4), interpolation=cv2.INTER_NEAREST)
        (root / depths).mkdir(exist_ok=True)
        if zipped:
            (root / depths / f"{index}.depth").write_bytes(depth.tobytes())
        else:
            np.save(root / depths / f"{index}.npy", depth)
    metadata = {
        "w": WIDTH,
        "h": HEIGHT,
        "dw": WIDTH // 4,
        "dh": HEIGHT // 4,
        "fps": 60,
        "K": K.T.ravel().tolist(),
        "poses": poses,
        "frameTimestamps": [scene.stamp_ns(index) / 1e9 for index in range(scene.count)],
        "perFrameIntrinsicCoeffs": [[FX, FY, CX, CY]] * scene.count,
    }
    (root / metadata_file).write_text(json.dumps(metadata))
    return root


def write_arkit_scenes(root: Path, scene: Scene) -> Path:
    lines = []
    for index in range(scene.count):
        stem, stamp = f"4100_{scene.stamp_ns(index) / 1e9:.3f}", scene.stamp_ns(index) / 1e9
        write_png(root / "lowres_wide" / f"{stem}.png", scene.image(index))
        depth_png(root / "lowres_depth" / f"{stem}.png", scene, index, 1000)
        (root / "lowres_wide_intrinsics").mkdir(exist_ok=True)
        camera = " ".join(map(str, (WIDTH, HEIGHT, FX, FY, CX, CY)))
        (root / "lowres_wide_intrinsics" / f"{stem}.pincam").write_text(camera + "\n")
        camera_from_world = np.linalg.inv(scene.poses[index])
        turn = Rotation.from_matrix(camera_from_world[:3, :3]).as_rotvec()
        lines.append(" ".join(repr(float(value)) for value in (stamp, *turn, *camera_from_world[:3, 3])))
    (root / "lowres_wide.traj").write_text("\n".join(lines) + "\n")
    return root


def write_kitti(root: Path, scene: Scene) -> Path:
    """image_2's camera sits 0.06 m right of the one whose poses are given."""
    baseline = np.eye(4)
    baseline[0, 3] = 0.06
    rows = []
    for index in range(scene.count):
        write_png(root / "image_2" / f"{index:06d}.png", scene.image(index))
        depth_png(root / "depth" / f"{index:06d}.png", scene, index, 256)
        rows.append((scene.poses[index] @ np.linalg.inv(baseline))[:3].ravel())
    write_matrix(root / "poses.txt", np.array(rows))
    left = np.column_stack([K, np.zeros(3)])
    right = np.column_stack([K, K @ [-0.06, 0.0, 0.0]])
    lines = [f"P{number}: " + " ".join(map(repr, map(float, p.ravel()))) for number, p in ((0, left), (2, right))]
    (root / "calib.txt").write_text("\n".join(lines) + "\n")
    (root / "times.txt").write_text("\n".join(f"{scene.stamp_ns(index) / 1e9:e}" for index in range(scene.count)))
    return root
