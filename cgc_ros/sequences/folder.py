"""The folder layout: images/, poses.csv, intrinsics.json, and optionally depth/, masks/, ignore/ and ground truth
(docs/sequences.md).
"""

from __future__ import annotations

import csv
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from cgc_ros.frame import Intrinsics
from cgc_ros.sequences.base import HELD_OUT_PERIOD, HELD_OUT_REMAINDER, FrameInfo, Sequence, SequenceError, example_of
from cgc_ros.sequences.image_files import IMAGE_SUFFIXES, FileSequence, FrameFiles, beside, frame_name, read_labels

COLUMNS = ("stamp", "tx", "ty", "tz", "qx", "qy", "qz", "qw", "image")


def recognises(path: Path) -> bool:
    return path.is_dir() and ((path / "poses.csv").exists() or (path / "intrinsics.json").exists())


def read(path: Path) -> Sequence:
    """Open a folder. Rows whose image is missing, and images without a row, are left out and counted in `warnings`."""
    if not (path / "images").is_dir():
        raise SequenceError("missing_file", f"{path / 'images'} is missing: put the recording's images there")
    intrinsics, metric_scale = read_intrinsics(path / "intrinsics.json")
    rows = _read_poses(path / "poses.csv")
    held_out = _held_out(path / "heldout.txt", rows)

    warnings = []
    lost = [row.image for row in rows if not row.is_finite]
    if lost:
        warnings.append(
            f"{len(lost)} poses in poses.csv are not finite ({example_of(lost)}): tracking was lost there, left out"
        )
    missing = [row.image for row in rows if not (path / "images" / row.image).is_file()]
    if missing:
        warnings.append(
            f"{len(missing)} of {len(rows)} poses have no image in images/ ({example_of(missing)}): left out"
        )
    listed = {row.image for row in rows}
    strays = sorted(
        file.name
        for file in (path / "images").iterdir()
        if file.suffix.lower() in IMAGE_SUFFIXES and file.name not in listed
    )
    if strays:
        warnings.append(f"{len(strays)} images have no pose in poses.csv ({example_of(strays)}): left out")
    left_out = {*lost, *missing}
    present = [row for row in rows if row.image not in left_out]
    if any(later.stamp_ns <= earlier.stamp_ns for earlier, later in zip(present, present[1:], strict=False)):
        warnings.append("stamps in poses.csv do not increase from row to row: frames play in the order of the file")

    frames = [
        FrameInfo(frame_name(row.image), row.stamp_ns, row.world_from_camera, intrinsics, row.image in held_out)
        for row in present
    ]
    files = [
        FrameFiles(
            path / "images" / row.image,
            *(beside(path / folder, row.image) for folder in ("depth", "masks", "instances", "ignore")),
        )
        for row in present
    ]
    for folder in ("depth", "masks"):
        lacking = [paths.image.name for paths in files if getattr(paths, folder) is None]
        if (path / folder).is_dir() and lacking:
            warnings.append(f"{len(lacking)} of {len(files)} images have no {folder} ({example_of(lacking)})")
    if metric_scale is None and any(paths.depth for paths in files):
        metric_scale = True  # depth is in millimetres, so its poses are in metres
    object_points = _read_object_points(path / "object_points.npz")
    has_truth = object_points is not None or any(paths.instances for paths in files)
    return FileSequence(
        path.resolve().name,
        frames,
        files,
        metric_scale=metric_scale,
        warnings=tuple(warnings),
        labels=_labels(path / "labels.json", files) if has_truth else None,
        object_points=object_points,
    )


def read_intrinsics(path: Path) -> tuple[Intrinsics, bool | None]:
    """Intrinsics, and the optional key `metric_scale` (whether the poses are in metres)."""
    document = _read_json(path)
    missing = [key for key in ("width", "height", "fx", "fy", "cx", "cy") if key not in document]
    if missing:
        raise SequenceError(
            "bad_intrinsics", f"{path} lacks {', '.join(missing)}: it needs fx, fy, cx, cy in pixels, width and height"
        )
    try:
        intrinsics = Intrinsics(
            int(document["width"]),
            int(document["height"]),
            fx=float(document["fx"]),
            fy=float(document["fy"]),
            cx=float(document["cx"]),
            cy=float(document["cy"]),
            distortion_model=str(document.get("distortion_model", "none")),
            distortion=tuple(float(value) for value in document.get("distortion", ())),
        )
    except (TypeError, ValueError) as error:
        raise SequenceError("bad_intrinsics", f"{path} holds something that is no number: {error}") from error
    values = (intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy)
    if not (np.isfinite(values).all() and min(intrinsics.fx, intrinsics.fy, intrinsics.width, intrinsics.height) > 0):
        raise SequenceError(
            "bad_intrinsics", f"{path}: focal lengths and size must be positive, all finite, got {intrinsics}"
        )
    metric_scale = document.get("metric_scale")
    return intrinsics, None if metric_scale is None else bool(metric_scale)


@dataclass(frozen=True)
class _PoseRow:
    stamp_ns: int
    world_from_camera: np.ndarray
    image: str

    @property
    def is_finite(self) -> bool:
        return bool(np.isfinite(self.world_from_camera).all())


def _read_poses(path: Path) -> list[_PoseRow]:
    """All rows, those of lost tracking (NaN) included. A row that cannot be parsed is an error with its line number."""
    if not path.is_file():
        raise SequenceError("missing_file", f"{path} is missing: write one row per image, {','.join(COLUMNS)}")
    rows, seen = [], set()
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, skipinitialspace=True)
        lacking = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if lacking:
            raise SequenceError(
                "bad_poses",
                f"{path}, line 1: columns {', '.join(lacking)} are missing; the header must be {','.join(COLUMNS)}",
            )
        for record in reader:
            row = _parse_row(record, f"{path}, line {reader.line_num}")
            if row.image in seen:
                raise SequenceError(
                    "bad_poses", f"{path}, line {reader.line_num}: image {row.image} has two poses, keep one"
                )
            seen.add(row.image)
            rows.append(row)
    if not rows:
        raise SequenceError("empty", f"{path} has no rows: the recording is empty, record again")
    return rows


def _parse_row(record: dict, where: str) -> _PoseRow:
    if None in record or any(record[column] in (None, "") for column in COLUMNS):
        raise SequenceError(
            "bad_poses", f"{where}: expected {len(COLUMNS)} values ({','.join(COLUMNS)}): repair or remove the row"
        )
    try:
        stamp, tx, ty, tz, *quaternion = [float(record[column]) for column in COLUMNS[:-1]]
    except ValueError as error:
        raise SequenceError("bad_poses", f"{where}: {error}: repair or remove the row") from error
    if not np.isfinite(stamp):
        raise SequenceError("bad_poses", f"{where}: stamp is {stamp}, it must be seconds: repair or remove the row")
    pose = np.full((4, 4), np.nan)
    norm = np.linalg.norm(quaternion)
    if np.isfinite((tx, ty, tz, float(norm))).all():
        if abs(norm - 1.0) > 0.01:
            raise SequenceError(
                "bad_poses",
                f"{where}: quaternion {quaternion} has length {norm:.3g}, not 1: repair the row (order is qx,qy,qz,qw)",
            )
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_quat(quaternion).as_matrix()
        pose[:3, 3] = tx, ty, tz
    return _PoseRow(round(stamp * 1e9), pose, record["image"].strip())


def _held_out(path: Path, rows: list[_PoseRow]) -> set[str]:
    if not path.is_file():
        return {row.image for row in rows[HELD_OUT_REMAINDER::HELD_OUT_PERIOD]}
    names = {line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()}
    unknown = sorted(names - {row.image for row in rows})
    if unknown:
        raise SequenceError(
            "bad_heldout",
            f"{path} names images without a pose ({example_of(unknown)}): write names as in poses.csv, with suffix",
        )
    return names


def _labels(path: Path, files: list[FrameFiles]) -> dict[int, tuple[str, str]]:
    """labels.json, or every id found in the instance images as an object."""
    if not path.is_file():
        ids = set().union(*(np.unique(read_labels(paths.instances)).tolist() for paths in files if paths.instances)) - {
            0
        }
        return {label: (f"instance {label}", "object") for label in sorted(ids)}
    document = _read_json(path)
    try:
        return {int(key): (str(value["name"]), str(value["kind"])) for key, value in document.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SequenceError(
            "bad_labels", f'{path} must map each id to {{"name": ..., "kind": "object" or "background"}}: {error!r}'
        ) from error


def _read_object_points(path: Path) -> dict[int, np.ndarray] | None:
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {int(key): arrays[key].astype(np.float32).reshape(-1, 3) for key in arrays.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise SequenceError(
            "bad_object_points", f"{path} must hold one [P, 3] array for each object id: {error}"
        ) from error


def _read_json(path: Path) -> dict:
    if not path.is_file():
        raise SequenceError("missing_file", f"{path} is missing")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SequenceError("bad_json", f"{path} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise SequenceError("bad_json", f"{path} must hold a JSON object, not {type(document).__name__}")
    return document
