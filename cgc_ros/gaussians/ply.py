"""Write maps and objects as .ply for other programs."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from cgc_ros.gaussians.model import GaussianModel
from cgc_ros.gaussians.storage import MapFileError

#: Viewers expect coefficients of degree 3, whatever the map has; the missing ones are written as zeros.
PLY_SH_COEFFICIENTS = 16


def write_gaussian_ply(path: Path, model: GaussianModel, origin: np.ndarray | None = None) -> None:
    """Write Gaussians as the original 3D Gaussian Splatting code does (Kerbl et al. 2023), binary little endian.

    x y z, nx ny nz (zero), f_dc_0..2, f_rest_0..44 (all of red, then green, then blue), opacity (logit),
    scale_0..2 (log), rot_0..3 (w x y z, unit). All are float; x y z are double where the map's `origin` [3], which is
    added to them, lies far away.
    """
    parameters = {name: value.detach().cpu().numpy() for name, value in model.parameters.items()}
    count = len(model)
    sh = np.zeros((count, PLY_SH_COEFFICIENTS, 3), np.float32)
    sh[:, : parameters["sh"].shape[1]] = parameters["sh"]
    quats = parameters["quats"] / np.maximum(np.linalg.norm(parameters["quats"], axis=1, keepdims=True), 1e-12)
    columns = np.concatenate(
        [
            np.zeros((count, 3)),
            sh[:, 0],
            sh[:, 1:].transpose(0, 2, 1).reshape(count, 3 * (PLY_SH_COEFFICIENTS - 1)),
            parameters["logit_opacities"][:, None],
            parameters["log_scales"],
            quats,
        ],
        axis=1,
    )
    names = [
        "nx",
        "ny",
        "nz",
        *(f"f_dc_{i}" for i in range(3)),
        *(f"f_rest_{i}" for i in range(3 * (PLY_SH_COEFFICIENTS - 1))),
        "opacity",
        *(f"scale_{i}" for i in range(3)),
        *(f"rot_{i}" for i in range(4)),
    ]
    moved = origin is not None and np.any(origin)
    kinds = {**dict.fromkeys("xyz", "<f8" if moved else "<f4"), **dict.fromkeys(names, "<f4")}
    vertices = np.empty(count, np.dtype(list(kinds.items())))
    positions = parameters["means"] + (origin if moved else 0.0)
    for name, values in zip(kinds, (*positions.T, *columns.T), strict=True):
        vertices[name] = values
    ply_kinds = {"<f4": "float", "<f8": "double"}
    properties = "".join(f"property {ply_kinds[kind]} {name}\n" for name, kind in kinds.items())
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {count}\n{properties}end_header\n"
    temporary = path.with_name(path.name + ".part")
    with open(temporary, "wb") as stream:
        stream.write(header.encode())
        stream.write(vertices.tobytes())
    os.replace(temporary, path)


def write_object_clouds(folder: Path, objects, origin: np.ndarray | None = None) -> list[Path]:
    """One cloud per object: positions (metres), colours, and its id as `label` on every point; their paths.

    Files are named by id and, where the object has one, by name. Positions are double where the map's `origin` [3],
    which is added to them, lies far away.
    """
    try:
        import open3d
    except ImportError as error:
        raise MapFileError(
            f"object clouds are written by open3d, which cannot be imported ({error}): pip install open3d"
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    tensor: Any = open3d.core.Tensor  # whose annotations know no array
    paths = []
    for candidate in objects:
        positions = np.ascontiguousarray(candidate.points, np.float32)
        if origin is not None and np.any(origin):
            positions = positions + origin
        cloud = open3d.t.geometry.PointCloud(tensor(positions))
        cloud.point.colors = tensor(np.ascontiguousarray(candidate.colors, np.uint8))
        cloud.point.label = tensor(np.full((len(candidate.points), 1), candidate.id, np.int32))
        paths.append(folder / f"{object_file_stem(candidate.id, candidate.label)}.ply")
        if not open3d.t.io.write_point_cloud(paths[-1], cloud):
            raise OSError(f"cannot write {paths[-1]}: free space or choose a writable folder")
    return paths


def object_file_stem(object_id: int, label: str) -> str:
    """`0007` or `0007_red_mug`: safe as a file name whatever the label holds."""
    safe = re.sub(r"[^\w-]+", "_", label, flags=re.ASCII).strip("_")[:60]
    return f"{object_id:04d}" + (f"_{safe}" if safe else "")
