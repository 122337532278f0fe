"""Metrics of objects in 3D: average precision of their clouds, and how stable their ids are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

#: A point is matched within this distance, metres, where the map is metric...
METRIC_TOLERANCE = 0.02
#: ...and within this share of the scene's diagonal where its scale is unknown.
SCENE_TOLERANCE = 0.01


class ObjectLike(Protocol):
    """What of a MapObject these metrics read."""

    @property
    def id(self) -> int: ...

    @property
    def background(self) -> bool: ...

    @property
    def confidence(self) -> float: ...

    @property
    def points(self) -> np.ndarray: ...  # [P, 3] metres, map frame


def match_tolerance(truth_points: Iterable[np.ndarray], metric_scale: bool | None) -> float:
    """Distance within which a point is matched: 2 cm, or 1% of the truth's diagonal where no metric scale is known."""
    if metric_scale:
        return METRIC_TOLERANCE
    points = np.concatenate([np.asarray(cloud, dtype=np.float64) for cloud in truth_points])
    return SCENE_TOLERANCE * float(np.linalg.norm(points.max(axis=0) - points.min(axis=0)))


def voxel_means(points: np.ndarray, size: float) -> np.ndarray:
    """The mean of the points in every voxel: density does not weigh. [P, 3] -> [V, 3]; drops NaN, inf."""
    points = np.asarray(points, dtype=np.float64).reshape(-1, 3)
    points = points[np.isfinite(points).all(axis=1)]
    if len(points) == 0:
        return points
    _, voxel, counts = np.unique(
        np.floor(points / size).astype(np.int64), axis=0, return_inverse=True, return_counts=True
    )
    sums = np.zeros((len(counts), 3))
    np.add.at(sums, voxel.reshape(-1), points)
    return sums / counts[:, None]


def cloud_iou(predicted: np.ndarray, truth: np.ndarray, tolerance: float) -> float:
    """Intersection over union of two point clouds, [P, 3] and [Q, 3].

    Both clouds are voxelised at half the tolerance. Precision is the share of predicted points within `tolerance` of a
    true one, recall the share of true points within `tolerance` of a predicted one, and
    1 / IoU = 1 / precision + 1 / recall - 1: the identity that holds for sets, where both counts share one numerator.
    """
    return _voxelised_iou(_Cloud.of(predicted, tolerance), _Cloud.of(truth, tolerance), tolerance)


def average_precision(ious: np.ndarray, confidences: np.ndarray, threshold: float) -> float | None:
    """Average precision of predicted instances at one IoU threshold; None where there is no ground truth.

    Predictions, most confident first, each claim the unclaimed instance of largest IoU above `threshold`, or are false
    positives. The area under precision over recall is integrated as ScanNet's benchmark does (central steps, and a last
    point of precision 1 at recall 0).

    ious: [P, G] predicted x ground truth. confidences: [P].
    """
    num_predicted, num_truth = ious.shape
    if num_truth == 0:
        return None
    if num_predicted == 0:
        return 0.0
    order = np.argsort(-confidences, kind="stable")
    confidences = confidences[order]
    hits = _claim_instances(ious[order], threshold)
    last_of_group = np.flatnonzero(
        np.append(confidences[:-1] != confidences[1:], True)
    )  # equal confidences enter together
    true_positives = np.cumsum(hits)[last_of_group]
    precision = np.append(true_positives[::-1] / (last_of_group[::-1] + 1), 1.0)
    recall = np.append(true_positives[::-1] / num_truth, 0.0)  # decreasing
    padded = np.concatenate([recall[:1], recall, [0.0]])
    return float(precision @ ((padded[:-2] - padded[2:]) / 2))


def object_average_precision(
    objects: Iterable[ObjectLike],
    truth_points: Mapping[int, np.ndarray],
    tolerance: float,
    thresholds: tuple[float, ...] = (0.5, 0.25),
) -> list[float | None]:
    """AP of the objects' clouds (background excluded) against ground-truth points, one value per threshold."""
    candidates = [candidate for candidate in objects if not candidate.background]
    ious = _cloud_ious(candidates, truth_points, tolerance)
    confidences = np.array([candidate.confidence for candidate in candidates], dtype=np.float64)
    return [average_precision(ious, confidences, threshold) for threshold in thresholds]


def object_match_ious(
    objects: Iterable[ObjectLike], truth_points: Mapping[int, np.ndarray], tolerance: float
) -> dict[int, float]:
    """Per ground-truth instance, IoU with the object (background excluded) that fits it best; 0 where none does."""
    ious = _cloud_ious([candidate for candidate in objects if not candidate.background], truth_points, tolerance)
    return {key: float(column.max(initial=0.0)) for key, column in zip(truth_points, ious.T, strict=True)}


class PublishedIds(Protocol):
    """What of a publication of objects (background excluded) `compare_publications` reads."""

    uids: np.ndarray  # [L] int64 sorted, Gaussians of the objects
    ids: np.ndarray  # [L] the object of each


class StabilityCount(NamedTuple):
    """What became of the ids of one publication in the next."""

    kept: int  # matched to an object of the same id
    changed: int  # matched to an object of another id
    vanished: int  # matched to none

    @property
    def total(self) -> int:
        """Objects of the earlier publication."""
        return self.kept + self.changed + self.vanished


def compare_publications(earlier: PublishedIds, later: PublishedIds) -> StabilityCount:
    """Match the objects of two publications one to one by the Gaussians that they share.

    Hungarian matching on the IoU of the objects as sets of Gaussians: no cloud has to be made for it. An object that is
    merged away has vanished: its user lost it.
    """
    old, rows, old_sizes = np.unique(earlier.ids, return_inverse=True, return_counts=True)
    new, columns, new_sizes = np.unique(later.ids, return_inverse=True, return_counts=True)
    _, at, there = np.intersect1d(earlier.uids, later.uids, assume_unique=True, return_indices=True)
    pairs = rows[at] * len(new) + columns[there]
    shared = np.bincount(pairs, minlength=len(old) * len(new)).reshape(len(old), len(new))
    iou = shared / (old_sizes[:, None] + new_sizes[None] - shared)
    kept = changed = 0
    for row, column in zip(*linear_sum_assignment(iou, maximize=True), strict=True):
        if iou[row, column] > 0:
            same = old[row] == new[column]
            kept, changed = kept + int(same), changed + int(not same)
    return StabilityCount(kept, changed, len(old) - kept - changed)


def id_stability(counts: Iterable[StabilityCount]) -> float | None:
    """Share of objects that keep their id from one publication to the next, transitions pooled; None without any."""
    counts = list(counts)
    total = sum(count.total for count in counts)
    return sum(count.kept for count in counts) / total if total else None


class _Cloud(NamedTuple):
    points: np.ndarray  # [V, 3], one per voxel
    tree: cKDTree | None  # None where empty

    @staticmethod
    def of(points: np.ndarray, tolerance: float) -> _Cloud:
        means = voxel_means(points, tolerance / 2)
        return _Cloud(means, cKDTree(means) if len(means) else None)


def _voxelised_iou(predicted: _Cloud, truth: _Cloud, tolerance: float) -> float:
    if predicted.tree is None or truth.tree is None:
        return 0.0
    precision = np.isfinite(truth.tree.query(predicted.points, distance_upper_bound=tolerance)[0]).mean()
    recall = np.isfinite(predicted.tree.query(truth.points, distance_upper_bound=tolerance)[0]).mean()
    if precision == 0 or recall == 0:
        return 0.0
    return float(1 / (1 / precision + 1 / recall - 1))


def _cloud_ious(candidates: list[ObjectLike], truth_points: Mapping[int, np.ndarray], tolerance: float) -> np.ndarray:
    """IoU of every candidate's cloud with every true one, [P, G]."""
    predicted = [_Cloud.of(candidate.points, tolerance) for candidate in candidates]
    truth = [_Cloud.of(points, tolerance) for points in truth_points.values()]
    return np.array([[_voxelised_iou(p, t, tolerance) for t in truth] for p in predicted]).reshape(
        len(predicted), len(truth)
    )


def _claim_instances(ious: np.ndarray, threshold: float) -> np.ndarray:
    """True positives among predictions in the order given. [P, G] -> [P] bool."""
    free = np.ones(ious.shape[1], dtype=bool)
    hits = np.zeros(len(ious), dtype=bool)
    for index, row in enumerate(ious):
        best = int(np.argmax(np.where(free, row, -1.0)))
        if free[best] and row[best] > threshold:
            hits[index], free[best] = True, False
    return hits
