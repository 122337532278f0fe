"""Write a sequence as a folder recording, for tests that start from files."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from cgc_ros.evaluation.synthetic import SyntheticSequence


def write_recording(folder: Path, sequence: SyntheticSequence, *, truth: bool = True) -> Path:
    """The folder layout of docs/sequences.md: images, poses, intrinsics, depth, masks, and the truth where wanted."""
    for name in ("images", "depth", "masks", *(("instances",) if truth else ())):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rows = ["stamp,tx,ty,tz,qx,qy,qz,qw,image"]
    for index in range(len(sequence)):
        frame = sequence[index]
        cv2.imwrite(str(folder / "images" / f"{frame.name}.png"), frame.image[..., ::-1])
        cv2.imwrite(str(folder / "depth" / f"{frame.name}.png"), (frame.depth * 1000).round().astype(np.uint16))
        cv2.imwrite(str(folder / "masks" / f"{frame.name}.png"), frame.masks.astype(np.uint16))
        if truth:
            cv2.imwrite(
                str(folder / "instances" / f"{frame.name}.png"), sequence.truth.instances(index).astype(np.uint16)
            )
        pose = frame.world_from_camera
        numbers = [*pose[:3, 3], *Rotation.from_matrix(pose[:3, :3]).as_quat()]
        rows.append(
            ",".join([f"{frame.stamp_ns / 1e9:.6f}", *(f"{value:.9f}" for value in numbers), f"{frame.name}.png"])
        )
    (folder / "poses.csv").write_text("\n".join(rows) + "\n")
    size = sequence.intrinsics(0)
    (folder / "intrinsics.json").write_text(
        json.dumps(
            {
                "fx": size.fx,
                "fy": size.fy,
                "cx": size.cx,
                "cy": size.cy,
                "width": size.width,
                "height": size.height,
                "distortion_model": "none",
                "distortion": [],
            }
        )
    )
    if truth:
        labels = {str(key): {"name": name, "kind": kind} for key, (name, kind) in sequence.truth.labels.items()}
        (folder / "labels.json").write_text(json.dumps(labels))
        np.savez(
            folder / "object_points.npz", **{str(key): points for key, points in sequence.truth.object_points.items()}
        )
    return folder
