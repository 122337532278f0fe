"""What is computed from a rendered folder: the corrupted masks and the objects' surface points."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from make_recording.corrupt_masks import corrupt_masks

MASK_SEED = 11
SURFACE_SPACING = 0.003  # metres: one surface point per cube of this size
POINTS_PER_OBJECT = 2000


def write_masks(folder: Path) -> None:
    """`masks/NAME.png` beside every `instances/NAME.png`; each frame is corrupted on its own, by seed and index."""
    (folder / "masks").mkdir(exist_ok=True)
    for index, path in enumerate(sorted((folder / "instances").glob("*.png"))):
        masks = corrupt_masks(read_png(path), np.random.default_rng([MASK_SEED, index]))
        if not cv2.imwrite(str(folder / "masks" / path.name), masks):
            raise OSError(f"could not write {folder / 'masks' / path.name}: is the disk full, the folder writable?")


def write_object_points(folder: Path, poses: dict[str, np.ndarray]) -> dict[int, np.ndarray]:
    """Writes `object_points.npz`: per object the surface that some frame saw, [P, 3] float32 metres, map frame.

    poses: image name -> map from optical frame [4,
                                                 4]. Depth of every object pixel is back-projected, thinned to one point
    per cube of SURFACE_SPACING, and sampled down to POINTS_PER_OBJECT.
    """
    labels = json.loads((folder / "labels.json").read_text())
    wanted = {int(i) for i, label in labels.items() if label["kind"] == "object"}
    camera = json.loads((folder / "intrinsics.json").read_text())
    surfaces = {i: np.empty((0, 3)) for i in wanted}
    for name, map_from_optical in poses.items():
        depth, instances = read_png(folder / "depth" / name) * 0.001, read_png(folder / "instances" / name)
        for i in wanted.intersection(np.unique(instances).tolist()):
            rows, columns = np.nonzero((instances == i) & (depth > 0))
            z = depth[rows, columns]
            optical = np.stack(
                [(columns - camera["cx"]) / camera["fx"] * z, (rows - camera["cy"]) / camera["fy"] * z, z], 1
            )
            points = optical @ map_from_optical[:3, :3].T + map_from_optical[:3, 3]
            surfaces[i] = _one_per_cube(np.concatenate([surfaces[i], points]))
    rng = np.random.default_rng(0)
    points = {i: rng.permutation(surfaces[i])[:POINTS_PER_OBJECT].astype(np.float32) for i in sorted(wanted)}
    np.savez_compressed(folder / "object_points.npz", **{str(i): p for i, p in points.items()})
    return points


def read_png(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise FileNotFoundError(f"{path} is missing or damaged: run the rendering again, it makes what is not there")
    return image


def _one_per_cube(points: np.ndarray) -> np.ndarray:
    _, first = np.unique(np.floor(points / SURFACE_SPACING).astype(np.int32), axis=0, return_index=True)
    return points[first]
