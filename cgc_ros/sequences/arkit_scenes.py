"""ARKitScenes' raw recordings (github.com/apple/ARKitScenes/blob/main/DATA.md): lowres_wide/ID_STAMP.png,
lowres_depth/ID_STAMP.png (millimetres), lowres_wide_intrinsics/ID_STAMP.pincam and lowres_wide.traj.

A .pincam holds `width height fx fy cx cy`; a line of the trajectory `stamp`, an axis-angle rotation and a translation,
world to optical camera.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from cgc_ros.frame import Intrinsics
from cgc_ros.sequences.base import Sequence, SequenceError
from cgc_ros.sequences.calibration import pinhole
from cgc_ros.sequences.image_files import FrameFiles, beside, images_in
from cgc_ros.sequences.posed_files import PosedFiles
from cgc_ros.sequences.text_files import numbers, read_rows
from cgc_ros.sequences.trajectory import Trajectory, nearest


def recognises(path: Path) -> bool:
    return (path / "lowres_wide").is_dir() and (path / "lowres_wide.traj").is_file()


def read(path: Path, *, depth_unit: float | None = None, sync_tolerance_s: float = 0.02) -> Sequence:
    """Open one video's folder. `depth_unit`: metres per unit (0.001); `sync_tolerance_s`: how far the stamps of poses
    and calibrations may be from their image's.
    """
    trajectory = _read_trajectory(path / "lowres_wide.traj")
    cameras = sorted((_stamp(file), file) for file in (path / "lowres_wide_intrinsics").glob("*.pincam"))
    stamps = [stamp for stamp, _ in cameras]
    posed = PosedFiles(path / "lowres_wide.traj")
    for image in images_in(path / "lowres_wide"):
        stamp = _stamp(image)
        at = nearest(stamps, stamp, sync_tolerance_s)
        if at is None:
            error = SequenceError("missing_calibration", f"lowres_wide_intrinsics has no .pincam for {image.name}")
            posed.leave_out(image.name, error)
            continue
        depth = beside(path / "lowres_depth", image.name)
        pose = trajectory.at(stamp, sync_tolerance_s)
        posed.add(
            image.name, FrameFiles(image, depth), pose, partial(_camera, cameras[at][1]), stamp_ns=round(stamp * 1e9)
        )
    return posed.sequence(path.resolve().name, depth_unit=depth_unit, metric_scale=True)


def _stamp(file: Path) -> float:
    """Seconds, the last part of a file's name."""
    value = numbers([file.stem.rpartition("_")[2]])
    if value is None:
        raise SequenceError("bad_list", f"{file} is not named ID_STAMP: restore its name")
    return value[0]


def _camera(file: Path) -> Intrinsics:
    rows = [numbers(words) for _, words in read_rows(file)]
    if len(rows) != 1 or rows[0] is None or len(rows[0]) != 6:
        raise SequenceError("bad_intrinsics", f"{file} must hold one line: width height fx fy cx cy")
    width, height, fx, fy, cx, cy = rows[0]
    return pinhole((int(width), int(height)), fx, fy, cx, cy, file)


def _read_trajectory(file: Path) -> Trajectory:
    stamps, poses = [], []
    for number, words in read_rows(file):
        values = numbers(words)
        if values is None or len(values) != 7:
            raise SequenceError("bad_poses", f"{file}, line {number}: expected stamp, axis-angle and translation")
        camera_from_world = np.eye(4)
        camera_from_world[:3, :3] = Rotation.from_rotvec(values[1:4]).as_matrix()
        camera_from_world[:3, 3] = values[4:]
        stamps.append(values[0])
        poses.append(np.linalg.inv(camera_from_world))
    return Trajectory(stamps, poses)
