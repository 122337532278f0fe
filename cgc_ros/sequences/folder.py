"""The folder layout: images/, poses.csv, intrinsics.json, and optionally depth/, masks/, ignore/ and ground truth
(docs/sequences.md).
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np

from cgc_ros.frame import Intrinsics
from cgc_ros.sequences.base import HELD_OUT_PERIOD, HELD_OUT_REMAINDER, Sequence, SequenceError, TrueEvent, example_of
from cgc_ros.sequences.image_files import IMAGE_SUFFIXES, FrameFiles, beside, read_labels
from cgc_ros.sequences.posed_files import PosedFiles
from cgc_ros.sequences.poses import quaternion_pose
from cgc_ros.sequences.text_files import find_file, read_json, read_text

COLUMNS = ("stamp", "tx", "ty", "tz", "qx", "qy", "qz", "qw", "image")


def recognises(path: Path) -> bool:
    return (path / "poses.csv").is_file()


def read(path: Path, *, depth_unit: float | None = None) -> Sequence:
    """Open a folder. Rows whose image is missing, and images without a row, are left out and counted in `warnings`.

    `depth_unit`: metres per unit of the depth images; by default integers are millimetres and floats metres.
    """
    if not (path / "images").is_dir():
        raise SequenceError("missing_file", f"{path / 'images'} is missing: put the recording's images there")
    intrinsics, metric_scale = read_intrinsics(path / "intrinsics.json")
    rows, broken = _read_poses(path / "poses.csv")
    held_out = _held_out(path / "heldout.txt", rows)

    posed = PosedFiles(path / "poses.csv")
    posed.warnings += broken
    found: list[FrameFiles] = []
    for row in rows:
        image = find_file(path / "images", row.image)
        files = None
        if image is not None:
            folders = ("depth", "masks", "instances", "ignore")
            files = FrameFiles(image, **{folder: beside(path / folder, row.image) for folder in folders})
            found.append(files)
        own = (path / "intrinsics" / row.image).with_suffix(".json")
        camera = read_intrinsics(own)[0] if own.is_file() else intrinsics
        posed.add(
            row.image,
            files,
            row.world_from_camera,
            camera,
            stamp_ns=row.stamp_ns,
            held_out=row.image in held_out,
        )
    posed.warnings += _oddities(path, rows, found)
    if metric_scale is None and any(paths.depth for paths in found):
        metric_scale = True  # depth is metric, so its poses are in metres
    object_points = _read_object_points(path / "object_points.npz")
    events = _read_events(path / "events.json")
    has_truth = object_points is not None or any(paths.instances for paths in found)
    return posed.sequence(
        path.resolve().name,
        hold_out=False,
        depth_unit=depth_unit,
        metric_scale=metric_scale,
        labels=_labels(path / "labels.json", found) if has_truth else None,
        object_points=object_points,
        events=events,
    )


def _oddities(path: Path, rows: list[_PoseRow], found: list[FrameFiles]) -> list[str]:
    """What a recording lacks that does not keep its frames from being used."""
    texts = []
    listed = {files.image.name for files in found} | {row.image for row in rows}
    strays = sorted(
        file.name
        for file in (path / "images").iterdir()
        if file.suffix.lower() in IMAGE_SUFFIXES and file.name not in listed
    )
    if strays:
        texts.append(f"{len(strays)} images have no pose in poses.csv ({example_of(strays)}): left out")
    if any(later.stamp_ns <= earlier.stamp_ns for earlier, later in zip(rows, rows[1:], strict=False)):
        texts.append("stamps in poses.csv do not increase from row to row: frames play in the order of the file")
    for folder in ("depth", "masks"):
        lacking = [files.image.name for files in found if getattr(files, folder) is None]
        if (path / folder).is_dir() and lacking:
            texts.append(f"{len(lacking)} of {len(found)} images have no {folder} ({example_of(lacking)})")
    return texts


def read_intrinsics(path: Path) -> tuple[Intrinsics, bool | None]:
    """Intrinsics, and the optional key `metric_scale` (whether the poses are in metres)."""
    document = read_json(path)
    missing = [key for key in ("width", "height", "fx", "fy", "cx", "cy") if key not in document]
    if missing:
        raise SequenceError(
            "bad_intrinsics", f"{path} lacks {', '.join(missing)}: it needs fx, fy, cx, cy in pixels, width and height"
        )
    try:
        fx, fy, cx, cy = (float(document[key]) for key in ("fx", "fy", "cx", "cy"))
        intrinsics = Intrinsics(
            int(document["width"]),
            int(document["height"]),
            fx,
            fy,
            cx,
            cy,
            str(document.get("distortion_model", "none")),
            tuple(float(value) for value in document.get("distortion", ())),
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
    world_from_camera: np.ndarray  # as stored: not finite where tracking was lost
    image: str


def _read_poses(path: Path) -> tuple[list[_PoseRow], list[str]]:
    """All rows, those of lost tracking (NaN) included, and what is said of rows that cannot be parsed.

    SequenceError names the first of those where they are the most.
    """
    if not path.is_file():
        raise SequenceError("missing_file", f"{path} is missing: write one row per image, {','.join(COLUMNS)}")
    rows, broken, seen = [], [], set()
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), skipinitialspace=True)
    lacking = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
    if lacking:
        raise SequenceError(
            "bad_poses",
            f"{path}, line 1: columns {', '.join(lacking)} are missing; the header must be {','.join(COLUMNS)}",
        )
    for record in reader:
        where = f"{path}, line {reader.line_num}"
        try:
            row = _parse_row(record, where)
            if row.image in seen:
                raise SequenceError("bad_poses", f"{where}: image {row.image} has two poses, the first is used")
        except SequenceError as error:
            broken.append(error)
            continue
        seen.add(row.image)
        rows.append(row)
    if len(broken) > len(rows):
        raise broken[0]
    if not rows:
        raise SequenceError("empty", f"{path} has no rows: the recording is empty, record again")
    others = f" (and {len(broken) - 1} more such rows)" if len(broken) > 1 else ""
    return rows, [f"{broken[0]}{others}: left out"] if broken else []


def _parse_row(record: dict, where: str) -> _PoseRow:
    if None in record or any(record[column] in (None, "") for column in COLUMNS):
        raise SequenceError(
            "bad_poses", f"{where}: expected {len(COLUMNS)} values ({','.join(COLUMNS)}): repair or remove the row"
        )
    try:
        stamp = Decimal(record["stamp"].strip())  # float64 holds no nanoseconds of today's clocks
        tx, ty, tz, *quaternion = (float(record[column]) for column in COLUMNS[1:-1])
    except (ValueError, InvalidOperation) as error:
        text = error if isinstance(error, ValueError) else f"stamp {record['stamp']!r} is no number"
        raise SequenceError("bad_poses", f"{where}: {text}: repair or remove the row") from error
    if not stamp.is_finite():
        raise SequenceError("bad_poses", f"{where}: stamp is {stamp}, it must be seconds: repair or remove the row")
    pose = quaternion_pose((tx, ty, tz), quaternion)
    return _PoseRow(round(stamp * 10**9), pose, record["image"].strip())


def _held_out(path: Path, rows: list[_PoseRow]) -> set[str]:
    if not path.is_file():
        return {row.image for row in rows[HELD_OUT_REMAINDER::HELD_OUT_PERIOD]}
    listed = {line.strip().replace("\\", "/") for line in read_text(path).splitlines() if line.strip()}
    images = {row.image.replace("\\", "/"): row.image for row in rows}
    names = {images.get(name, name) for name in listed}
    unknown = sorted(listed - images.keys())
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
    document = read_json(path)
    try:
        return {int(key): (str(value["name"]), str(value["kind"])) for key, value in document.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SequenceError(
            "bad_labels", f'{path} must map each id to {{"name": ..., "kind": "object" or "background"}}: {error!r}'
        ) from error


def _read_events(path: Path) -> tuple[TrueEvent, ...] | None:
    if not path.is_file():
        return None
    try:
        events = [
            TrueEvent(
                int(each["frame"]),
                int(each["id"]),
                str(each["kind"]),
                _read_place(each["from"]),
                _read_place(each["to"]),
            )
            for each in json.loads(read_text(path))
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise SequenceError(
            "bad_events", f"{path} must list events of frame, id, kind, from and to (4x4 or null): {error!r}"
        ) from error
    return tuple(sorted(events, key=lambda each: each.frame))


def _read_place(found: list | None) -> np.ndarray | None:
    return None if found is None else np.array(found, dtype=np.float64).reshape(4, 4)


def _read_object_points(path: Path) -> dict[int, np.ndarray] | None:
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {int(key): arrays[key].reshape(-1, 3) for key in arrays.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise SequenceError(
            "bad_object_points", f"{path} must hold one [P, 3] array for each object id: {error}"
        ) from error
