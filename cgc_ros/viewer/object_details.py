"""All about the selected object: its parts, its pictures on one sheet, and its file to download."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial import cKDTree

from cgc_ros.gaussians.ply import object_file_stem, write_object_clouds
from cgc_ros.mapping import MapObject, MapSnapshot
from cgc_ros.mapping.object_crops import ObjectCrop
from cgc_ros.palette import id_color


def parts_of(object_id: int | None, snapshot: MapSnapshot | None) -> tuple[MapObject, ...]:
    """An object's parts; none where it is not cut. Parts of all objects are computed, once per snapshot."""
    if snapshot is None or all(record.object_id != object_id for record in snapshot.part_records.values()):
        return ()
    return tuple(part for part in snapshot.parts if part.parent_id == object_id)


def part_of_points(points: np.ndarray, parts: Sequence[MapObject], reach: float, none: int) -> np.ndarray:
    """Id of the part whose cloud is nearest to each of an object's points, [P] int32; `none` beyond `reach` metres."""
    if not parts:
        return np.full(len(points), none, np.int32)
    owners = np.repeat([part.id for part in parts], [len(part.points) for part in parts])
    tree = cKDTree(np.concatenate([part.points for part in parts]))
    distances, nearest = tree.query(points, distance_upper_bound=reach)
    found = np.isfinite(distances)
    return np.where(found, owners[np.where(found, nearest, 0)], none).astype(np.int32)


def outlined(crop: ObjectCrop, object_id: int) -> np.ndarray:
    """The picture [size, size, 3] uint8 RGB with the object's outline in its colour."""
    contours = cv2.findContours(crop.mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    return cv2.drawContours(crop.picture.copy(), contours, -1, id_color(object_id), 2)


def contact_sheet(pictures: list[np.ndarray], columns: int = 2, gap: int = 4) -> np.ndarray:
    """Pictures of one size in rows on white."""
    rows = -(-len(pictures) // columns)
    size = pictures[0].shape[0]
    sheet = np.full((rows * (size + gap) - gap, columns * (size + gap) - gap, 3), 255, np.uint8)
    for index, picture in enumerate(pictures):
        top, left = (index // columns) * (size + gap), (index % columns) * (size + gap)
        sheet[top : top + size, left : left + size] = picture
    return sheet


def object_file(item: MapObject, parts: Sequence[MapObject] = ()) -> tuple[str, bytes]:
    """File name and content: a cloud as `cgc export` writes it (.ply; positions in the map frame in metres, colours,
    label), or with parts a .zip of the object's cloud and, in the folder `parts`, theirs.
    """
    with tempfile.TemporaryDirectory(prefix="cgc_ros_ply_") as folder:
        path = write_object_clouds(Path(folder), [item])[0]
        if not parts:
            return path.name, path.read_bytes()
        paths = [path, *write_object_clouds(Path(folder) / "parts", parts)]
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
            for each in paths:
                archive.write(each, each.relative_to(folder))
    return f"{object_file_stem(item.id, item.label)}.zip", content.getvalue()
