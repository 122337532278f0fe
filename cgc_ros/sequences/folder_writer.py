"""Any recording as the folder layout (docs/sequences.md)."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from cgc_ros.frame import Frame, Intrinsics
from cgc_ros.robot.layout import FOLDER as ROBOT_FOLDER
from cgc_ros.sequences.base import Sequence, SequenceError
from cgc_ros.sequences.conversion import (
    Conversion,
    depth_millimetres,
    label_ids,
    picture_bytes,
    png_bytes,
    stored_frames,
    world_pose,
)
from cgc_ros.sequences.folder import COLUMNS


def write_folder(
    sequence: Sequence, out: Path, on_frame: Callable[[int, int], None] = lambda done, total: None
) -> Conversion:
    """Write images (JPEG and PNG files as they are), depth, masks, ignore, truth, robot, poses and intrinsics to `out`.

    Images keep their lens distortion, depth is rounded to millimetres, poses are in the recording's own world.
    """
    if (out / "poses.csv").exists():
        raise SequenceError("exists", f"{out} holds a recording already: choose another folder with --out")
    conversion = Conversion()
    usual = Counter(info.intrinsics for info in sequence.frames).most_common(1)[0][0]
    rows, held_out = [], []
    for index, frame in stored_frames(sequence, conversion, on_frame):
        suffix, picture = picture_bytes(sequence, index, frame)
        name = frame.name + suffix
        _write(out / "images" / name, picture)
        if frame.intrinsics != usual:
            _write(out / "intrinsics" / f"{frame.name}.json", _intrinsics_json(frame.intrinsics))
        _write_label_images(out, sequence, index, frame, conversion)
        rows.append(_row(frame.stamp_ns, world_pose(sequence, frame), name))
        if sequence.is_held_out(index):
            held_out.append(name)
    scale = {} if sequence.metric_scale is None else {"metric_scale": sequence.metric_scale}
    _write(out / "intrinsics.json", _intrinsics_json(usual, **scale))
    _write(out / "heldout.txt", "".join(f"{name}\n" for name in held_out).encode())
    _write_truth(out, sequence)
    if sequence.robot_folder is not None:
        shutil.copytree(sequence.robot_folder, out / ROBOT_FOLDER)
    elif sequence.robot_source is not None:
        conversion.told.append("the robot's description and joint states are left out: convert to a bag to keep them")
    with open(out / "poses.csv", "w", newline="", encoding="utf-8") as file:  # last: it makes the folder a recording
        csv.writer(file).writerows([COLUMNS, *rows])
    return conversion


def _write_label_images(out: Path, sequence: Sequence, index: int, frame: Frame, conversion: Conversion) -> None:
    name = f"{frame.name}.png"
    if frame.depth is not None:
        _write(out / "depth" / name, png_bytes(depth_millimetres(frame.depth, conversion)))
    if frame.masks is not None:
        _write(out / "masks" / name, png_bytes(label_ids(frame.masks)))
    if frame.ignore is not None:
        _write(out / "ignore" / name, png_bytes(frame.ignore.astype(np.uint8) * 255))
    instances = None if sequence.truth is None else sequence.load_instances(index)
    if instances is not None:
        _write(out / "instances" / name, png_bytes(instances.astype(np.uint16)))


def _write_truth(out: Path, sequence: Sequence) -> None:
    if sequence.truth is None:
        return
    labels = {str(label): {"name": name, "kind": kind} for label, (name, kind) in sequence.truth.labels.items()}
    _write(out / "labels.json", json.dumps(labels).encode())
    if sequence.truth.object_points is not None:
        points: dict[str, Any] = {
            str(label): values + sequence.origin if sequence.origin.any() else values
            for label, values in sequence.truth.object_points.items()
        }
        np.savez(out / "object_points.npz", **points)


def _row(stamp_ns: int, pose: np.ndarray, name: str) -> list[str]:
    numbers = [*pose[:3, 3].tolist(), *Rotation.from_matrix(pose[:3, :3]).as_quat().tolist()]
    return [f"{stamp_ns // 10**9}.{stamp_ns % 10**9:09d}", *map(repr, numbers), name]


def _intrinsics_json(intrinsics: Intrinsics, **more) -> bytes:
    return json.dumps(asdict(intrinsics) | more).encode()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
