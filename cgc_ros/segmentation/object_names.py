"""Names for objects: a 2D detector's boxes, matched to rendered label images and voted over views; a name given by
hand wins.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from cgc_ros.frame import IGNORED, UNLABELLED
from cgc_ros.segmentation.config import NamesConfig

MAX_NAMES = 16  # candidates kept per object
MAX_NAME_LENGTH = 80  # characters


@dataclass(frozen=True)
class NamedBox:
    """One thing that a detector found: a box in pixels (the first pixel is 0..1), a class, a score of 0..1."""

    left: float
    top: float
    right: float
    bottom: float
    name: str
    score: float


@dataclass(frozen=True)
class NameVote:
    """What one view says about one object."""

    object_id: int
    name: str
    score: float  # the detector's, 0..1
    weight: float  # 0..1: the score, times how well the box fits, times how clearly it is this object's


def match_boxes(labels: np.ndarray, boxes: Sequence[NamedBox], config: NamesConfig | None = None) -> list[NameVote]:
    """Votes of the boxes for the objects of a label image ([H, W] uint16, 65535 unlabelled, 65534 ignored), of the same
    view and size. A box that is mostly ignored is nobody's.

    A box is the object's whose own box in the image has the best intersection over union with it, weighed with the
    share of the box that the object fills. A box around several objects therefore is nobody's, one around a bowl of
    fruit the bowl's. Where two objects fit alike, the vote is worth little.
    """
    config = config or NamesConfig()
    ids, rows, columns = _labelled_pixels(labels)
    known, begins, counts = np.unique(ids, return_index=True, return_counts=True)
    seen = counts >= config.min_pixels
    known, begins, counts = known[seen], begins[seen], counts[seen]
    if not len(known) or not boxes:
        return []
    parts = [slice(begin, begin + count) for begin, count in zip(begins, counts, strict=True)]
    extents = np.array(
        [[*_extent(columns[part], config.trim), *_extent(rows[part], config.trim)] for part in parts]
    )  # left, right, top, bottom
    best: dict[tuple[int, str], NameVote] = {}
    for box in boxes:
        vote = _vote(box, labels, known, extents, config)
        if vote is not None:
            key = (vote.object_id, vote.name)
            if key not in best or best[key].weight < vote.weight:
                best[key] = vote
    return list(best.values())


def _labelled_pixels(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Object id, row and column of every labelled pixel, sorted by id."""
    rows, columns = np.nonzero((labels != UNLABELLED) & (labels != IGNORED))
    ids = labels[rows, columns]
    order = np.argsort(ids, kind="stable")
    return ids[order], rows[order], columns[order]


def _extent(positions: np.ndarray, trim: float) -> tuple[float, float]:
    """First and last edge of an object's pixels along one axis, a share of `trim` left out at each."""
    return float(np.quantile(positions, trim)), float(np.quantile(positions, 1 - trim)) + 1.0


def _vote(
    box: NamedBox, labels: np.ndarray, known: np.ndarray, extents: np.ndarray, config: NamesConfig
) -> NameVote | None:
    height, width = labels.shape
    left, right = np.clip([box.left, box.right], 0, width)
    top, bottom = np.clip([box.top, box.bottom], 0, height)
    area = (right - left) * (bottom - top)
    if not area > 0:  # outside the image, empty, or not a number
        return None
    overlap_x = np.minimum(extents[:, 1], right) - np.maximum(extents[:, 0], left)
    overlap_y = np.minimum(extents[:, 3], bottom) - np.maximum(extents[:, 2], top)
    overlap = overlap_x.clip(0) * overlap_y.clip(0)
    own = (extents[:, 1] - extents[:, 0]) * (extents[:, 3] - extents[:, 2])
    iou = overlap / (area + own - overlap)
    inside = labels[int(top) : int(np.ceil(bottom)), int(left) : int(np.ceil(right))]
    if (inside == IGNORED).sum() > config.max_ignored * inside.size:
        return None
    inside = inside[(inside != UNLABELLED) & (inside != IGNORED)]
    if not len(inside):
        return None
    fill = np.bincount(inside, minlength=UNLABELLED + 1)[known] / len(inside)
    fit = iou * fill
    order = np.argsort(fit)
    winner = order[-1]
    if iou[winner] < config.min_iou or fill[winner] < config.min_fill:
        return None
    runner_up = fit[order[-2]] if len(order) > 1 else 0.0
    weight = float(box.score * iou[winner] * (1.0 - runner_up / fit[winner]))
    return NameVote(int(known[winner]), box.name, box.score, weight) if weight > 0 else None


@dataclass
class ViewWeights:
    """How much a view counts: 1 from a new place, 1/k for the k-th from the same one: a camera that stands still must
    not outvote all other places.
    """

    config: NamesConfig = field(default_factory=NamesConfig)
    _place: np.ndarray | None = None  # [4, 4] pose of the first view from here
    _count: int = 0

    def weight(self, world_from_camera: np.ndarray, scene_depth: float) -> float:
        """Of the next view. `scene_depth` in metres, the typical distance of what is seen."""
        if self._place is None or not self._is_same(self._place, world_from_camera, scene_depth):
            self._place, self._count = world_from_camera, 0
        self._count += 1
        return 1.0 / self._count

    def _is_same(self, place: np.ndarray, pose: np.ndarray, scene_depth: float) -> bool:
        moved = np.linalg.norm(pose[:3, 3] - place[:3, 3])
        cosine = (np.trace(pose[:3, :3].T @ place[:3, :3]) - 1) / 2
        turned = np.arccos(np.clip(cosine, -1, 1))
        return bool(
            moved < self.config.same_translation * scene_depth and turned < np.deg2rad(self.config.same_rotation_deg)
        )


@dataclass
class _Tally:
    """What all views said about one name of one object."""

    weight: float = 0.0
    scores: float = 0.0  # sum of weight times score

    @property
    def mean_score(self) -> float:
        return self.scores / self.weight if self.weight > 0 else 0.0


@dataclass
class ObjectNames:
    """The names of a map's objects: those given by hand, which hold, and those that views voted for. Thread-safe."""

    config: NamesConfig = field(default_factory=NamesConfig)
    _given: dict[int, str] = field(default_factory=dict)
    _tallies: dict[int, dict[str, _Tally]] = field(default_factory=dict)
    _in_use: dict[int, str] = field(default_factory=dict)  # the voted name of each object, for hysteresis
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def give(self, object_id: int, name: str) -> None:
        """Name an object by hand; an empty name takes that away, and what views have voted for shows again."""
        with self._lock:
            if name:
                self._given[object_id] = name
            else:
                self._given.pop(object_id, None)

    def given(self, object_id: int) -> str:
        """The name given by hand, empty where none was."""
        with self._lock:
            return self._given.get(object_id, "")

    def add_view(self, votes: Iterable[NameVote], view_weight: float = 1.0) -> None:
        """Take in what one view says; `view_weight` 0..1, see ViewWeights."""
        with self._lock:
            by_object: dict[int, list[NameVote]] = {}
            for vote in votes:
                by_object.setdefault(vote.object_id, []).append(vote)
            for object_id, said in by_object.items():
                self._count(object_id, said, view_weight)

    def forget(self, object_ids: Iterable[int]) -> None:
        """What views said about these: their ids are other objects' now."""
        with self._lock:
            for object_id in object_ids:
                self._tallies.pop(object_id, None)
                self._in_use.pop(object_id, None)

    def resolved(self) -> dict[int, tuple[str, float]]:
        """Name and confidence (0..1; 1 where given by hand) of every object that has one."""
        with self._lock:
            voted = {object_id: self._voted(object_id, name) for object_id, name in self._in_use.items()}
            voted = {object_id: found for object_id, found in voted.items() if found[1] >= self.config.min_confidence}
            return voted | {object_id: (name, 1.0) for object_id, name in self._given.items()}

    def to_json(self) -> dict:
        """For a map file."""
        with self._lock:
            votes = {
                object_id: {name: [tally.weight, tally.scores] for name, tally in tallies.items()}
                for object_id, tallies in self._tallies.items()
            }
            given = {key: [name, 1.0] for key, name in self._given.items()}
            return {"names": given, "name_votes": votes, "names_in_use": dict(self._in_use)}

    @staticmethod
    def from_json(info: dict, config: NamesConfig | None = None) -> ObjectNames:
        """From a map file's; ValueError, TypeError or KeyError where it is garbled. Votes may be missing."""
        in_use = {int(key): str(name) for key, name in info.get("names_in_use", {}).items()}
        names = ObjectNames(config or NamesConfig(), {int(key): str(name) for key, (name, _) in info["names"].items()})
        for key, tallies in info.get("name_votes", {}).items():
            read = {str(name): _Tally(float(weight), float(scores)) for name, (weight, scores) in tallies.items()}
            if not all(np.isfinite([tally.weight, tally.scores]).all() for tally in read.values()):
                raise ValueError(f"votes for the name of object {key} are not finite")
            if read:
                names._tallies[int(key)] = read
                heaviest = max(read, key=lambda name: read[name].weight)
                chosen = in_use.get(int(key), heaviest)
                names._in_use[int(key)] = chosen if chosen in read else heaviest
        return names

    def _count(self, object_id: int, votes: list[NameVote], view_weight: float) -> None:
        tallies = self._tallies.setdefault(object_id, {})
        for tally in tallies.values():
            tally.weight *= self.config.memory**view_weight
            tally.scores *= self.config.memory**view_weight
        for vote in votes:
            tally = tallies.setdefault(vote.name, _Tally())
            tally.weight += view_weight * vote.weight
            tally.scores += view_weight * vote.weight * vote.score
        for name in sorted(tallies, key=lambda name: -tallies[name].weight)[MAX_NAMES:]:
            del tallies[name]
        best = max(tallies, key=lambda name: tallies[name].weight)
        incumbent = tallies.get(self._in_use.get(object_id, ""), _Tally())
        if tallies[best].weight > self.config.hysteresis * incumbent.weight:
            self._in_use[object_id] = best

    def _voted(self, object_id: int, name: str) -> tuple[str, float]:
        """A name and how sure it is: its share of all weight (with some doubt) times the detector's mean score."""
        tallies = self._tallies[object_id]
        share = tallies[name].weight / (self.config.prior + sum(tally.weight for tally in tallies.values()))
        return name, float(np.clip(share * tallies[name].mean_score, 0.0, 1.0))


def clean_name(text: str) -> str:
    """A name without control characters and surplus space, at most MAX_NAME_LENGTH characters."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(printable.split())[:MAX_NAME_LENGTH].strip()
