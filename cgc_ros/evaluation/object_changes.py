"""What changed from one map of a place to another: objects that were removed, appeared or moved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from cgc_ros.evaluation.figures import read_json
from cgc_ros.evaluation.run_output import object_record
from cgc_ros.mapping.saved_map import open_map
from cgc_ros.run_files import OBJECTS_FILE

#: Intersection over union of the boxes of one thing that stayed where it was, at least.
SAME_PLACE = 0.25
#: Of a thing's mean edge: a shift of its box's middle beyond is a move, a smaller one is how two maps differ.
MOVED = 0.3
#: Least ratio of the sorted edges of the boxes of one thing, on average.
SAME_SIZE, NEAR_SIZE = 0.8, 0.6
_SAMPLES = 32  # along each edge of a box

_PLACES = (np.stack(np.meshgrid(*[np.arange(_SAMPLES)] * 3), axis=-1).reshape(-1, 3) + 0.5) / _SAMPLES - 0.5


@dataclass(frozen=True)
class KnownObject:
    """An object as a map's objects.json tells of it."""

    id: int
    label: str
    background: bool
    center: np.ndarray  # [3] metres, of the world
    rotation: np.ndarray  # [3, 3] world_from_box
    size: np.ndarray  # [3] metres

    @staticmethod
    def of(entry: dict) -> KnownObject:
        """KeyError, TypeError or ValueError where it lacks or garbles something."""
        center, rotation, size = (np.array(entry["box"][name], float) for name in ("center", "rotation", "size"))
        where = center.reshape(3), rotation.reshape(3, 3), size.reshape(3)
        return KnownObject(int(entry["id"]), str(entry["label"]), bool(entry["background"]), *where)


@dataclass(frozen=True)
class ObjectChange:
    """One object that is another one, or elsewhere."""

    kind: str  # removed | appeared | moved
    id: int  # in the later map; of what was removed, in the earlier one
    id_before: int | None  # in the earlier map
    label: str
    place_before: list[float] | None  # [3] metres, middle of its box in the world
    place: list[float] | None
    distance: float | None  # metres

    def record(self) -> dict:
        """For JSON."""
        return asdict(self)


def known_objects(run: Path) -> list[KnownObject] | None:
    """The objects of a run's folder, or of a map file; None where a folder does not tell of them.

    Raises MapFileError, or ValueError where what it tells is garbled.
    """
    if run.is_dir():
        path = run / OBJECTS_FILE
        if not path.exists():
            return None
        entries = read_json(path).get("objects", [])
    else:
        path, mapper = run, open_map(run)
        entries = [object_record(each, mapper.origin) for each in mapper.snapshot().objects]
    try:
        return [KnownObject.of(each) for each in entries if each.get("state", "present") != "gone"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} lacks or garbles objects ({error}): map again, or restore it from a copy") from error


def object_changes(before: Sequence[KnownObject], after: Sequence[KnownObject]) -> list[ObjectChange]:
    """What is not where it was, background left out: moved, removed, then appeared, each by id.

    Where the later map goes on from the earlier one, an object is known by its id; else by its place, its name and its
    size, in this order.
    """
    overlap = np.array([[box_iou(one, other) for other in after] for one in before]).reshape(len(before), len(after))
    pairs = dict(_pairs(before, after, overlap))
    moved, removed = [], []
    for i, one in enumerate(before):
        if i in pairs:
            other = after[pairs[i]]
            distance = float(np.linalg.norm(other.center - one.center))
            is_thing = not (one.background or other.background)
            if is_thing and distance > MOVED * float(other.size.mean()):
                places = one.center.tolist(), other.center.tolist()
                moved.append(ObjectChange("moved", other.id, one.id, other.label or one.label, *places, distance))
        elif not one.background:
            removed.append(ObjectChange("removed", one.id, one.id, one.label, one.center.tolist(), None, None))
    came = [other for j, other in enumerate(after) if j not in pairs.values() and not other.background]
    appeared = [
        ObjectChange("appeared", other.id, None, other.label, None, other.center.tolist(), None) for other in came
    ]
    return [change for kind in (moved, removed, appeared) for change in sorted(kind, key=lambda each: each.id)]


def box_iou(one: KnownObject, other: KnownObject) -> float:
    """Intersection over union of two boxes, by a grid of points in the smaller one."""
    reach = np.linalg.norm(one.size) / 2 + np.linalg.norm(other.size) / 2
    if np.linalg.norm(one.center - other.center) > reach:
        return 0.0
    small, large = sorted((one, other), key=lambda each: float(np.prod(each.size)))
    points = small.center + (_PLACES * small.size) @ small.rotation.T
    inside = (np.abs((points - large.center) @ large.rotation) <= large.size / 2).all(axis=1)
    volumes = float(np.prod(small.size)), float(np.prod(large.size))
    shared = float(inside.mean()) * volumes[0]
    return shared / max(sum(volumes) - shared, 1e-12)


def _pairs(
    before: Sequence[KnownObject], after: Sequence[KnownObject], overlap: np.ndarray
) -> Iterator[tuple[int, int]]:
    """Indices of what is one object in both."""
    size = np.array([[_size_likeness(one, other) for other in after] for one in before]).reshape(overlap.shape)
    ids = np.array([[one.id == other.id for other in after] for one in before]).reshape(overlap.shape)
    names = np.array([[bool(one.label) and one.label == other.label for other in after] for one in before])
    names = names.reshape(overlap.shape)
    here = overlap >= SAME_PLACE
    placed = linear_sum_assignment(-np.where(here, overlap, 0.0))
    alike = [(i, j) for i, j in zip(*placed, strict=True) if here[i, j]]
    shares_ids = 2 * sum(bool(ids[i, j]) for i, j in alike) >= len(alike)
    open_rows, open_columns = np.ones(len(before), bool), np.ones(len(after), bool)
    steps = [
        (ids & shares_ids & (here | names | (size >= NEAR_SIZE)), size),
        (here, overlap),
        (names & (size >= NEAR_SIZE), size),
        (size >= SAME_SIZE, size),
    ]
    for allowed, likeness in steps:
        value = np.where(allowed & open_rows[:, None] & open_columns, likeness + 1e-6, 0.0)
        for i, j in zip(*linear_sum_assignment(-value), strict=True):
            if value[i, j] > 0:
                open_rows[i] = open_columns[j] = False
                yield int(i), int(j)


def _size_likeness(one: KnownObject, other: KnownObject) -> float:
    """Mean ratio of the sorted edges of two boxes, 0..1."""
    edges = np.sort(np.stack([one.size, other.size]), axis=1)
    return float((edges.min(axis=0) / np.maximum(edges.max(axis=0), 1e-9)).mean())
