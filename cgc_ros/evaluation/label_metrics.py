"""Segmentation metrics over label images: scene mIoU and scene mBIoU.

Both pool the pixels of all views before matching, so a prediction whose id changes between views loses, as it should.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from cgc_ros.frame import IGNORED, UNLABELLED

#: Width of a boundary band as a share of the image diagonal (Cheng et al. 2021, Boundary IoU).
BOUNDARY_SHARE = 0.02

_ID_BASE = 1 << 32  # two non-negative 31-bit ids packed in one int64


@dataclass(frozen=True)
class InstanceScore:
    """How one ground-truth instance fared."""

    iou: float  # 0..1; 0 where nothing was matched to it
    predicted_id: int | None  # the id matched to it
    pixels: int  # ground-truth pixels, all views together


@dataclass
class LabelOverlap:
    """Pixel counts of ground-truth instances and predicted ids, summed over views."""

    views: int = 0
    truth_pixels: Counter = field(default_factory=Counter)
    predicted_pixels: Counter = field(default_factory=Counter)
    shared_pixels: Counter = field(default_factory=Counter)  # (truth id, predicted id) -> pixels

    def add(self, truth: np.ndarray, predicted: np.ndarray) -> None:
        """Count one view.

        truth: [H, W] integer instance ids, 0 = unlabelled: no instance, yet predictions that spill onto it pay.
        predicted: [H, W] integer ids, 65535 = unlabelled; 65534 = ignored: such pixels do not count.
        """
        if truth.shape != predicted.shape:
            raise ValueError(f"label images differ in size: truth is {truth.shape}, prediction {predicted.shape}")
        scored = predicted != IGNORED
        truth, predicted = truth[scored].astype(np.int64), predicted[scored].astype(np.int64)
        pairs, counts = np.unique(truth * _ID_BASE + predicted, return_counts=True)
        for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
            truth_id, predicted_id = divmod(pair, _ID_BASE)
            if truth_id != 0:
                self.truth_pixels[truth_id] += count
            if predicted_id != UNLABELLED:
                self.predicted_pixels[predicted_id] += count
            if truth_id != 0 and predicted_id != UNLABELLED:
                self.shared_pixels[truth_id, predicted_id] += count
        self.views += 1

    def match(self) -> dict[int, InstanceScore]:
        """One-to-one matching of instances and ids of the largest sum of IoU (Hungarian); unmatched instances get 0."""
        truth_ids, predicted_ids = sorted(self.truth_pixels), sorted(self.predicted_pixels)
        row_of = {truth_id: row for row, truth_id in enumerate(truth_ids)}
        column_of = {predicted_id: column for column, predicted_id in enumerate(predicted_ids)}
        iou = np.zeros((len(truth_ids), len(predicted_ids)))
        for (truth_id, predicted_id), shared in self.shared_pixels.items():
            union = self.truth_pixels[truth_id] + self.predicted_pixels[predicted_id] - shared
            iou[row_of[truth_id], column_of[predicted_id]] = shared / union
        scores = {truth_id: InstanceScore(0.0, None, self.truth_pixels[truth_id]) for truth_id in truth_ids}
        for row, column in zip(*linear_sum_assignment(iou, maximize=True), strict=True):
            if iou[row, column] > 0:
                truth_id = truth_ids[row]
                scores[truth_id] = InstanceScore(
                    float(iou[row, column]), predicted_ids[column], self.truth_pixels[truth_id]
                )
        return scores


def mean_iou(scores: dict[int, InstanceScore], object_ids: Collection[int]) -> float | None:
    """Mean IoU over those of `object_ids` that the views show; None where they show none."""
    seen = [scores[object_id].iou for object_id in object_ids if object_id in scores]
    return float(np.mean(seen)) if seen else None


def boundary_distance(height: int, width: int) -> int:
    """Half-width of the boundary band, pixels: 2% of the image diagonal, at least 1."""
    return max(1, round(BOUNDARY_SHARE * float(np.hypot(height, width))))


def boundary_band(labels: np.ndarray, distance: int) -> np.ndarray:
    """Pixels of each id that lie within `distance` of that id's contour.

    The band of Boundary IoU (Cheng et al. 2021, sec. 4), for all ids of a label image at once: mask minus mask eroded
    `distance` times by a 3x3 square. The image border counts as contour, as in the authors' definition.

    labels: [H, W] integers -> [H, W] bool
    """
    _, dense = np.unique(labels, return_inverse=True)
    dense = (dense.reshape(labels.shape) + 1).astype(np.uint16)  # 0 is free to mean: outside the image
    padded = cv2.copyMakeBorder(dense, distance, distance, distance, distance, cv2.BORDER_CONSTANT, value=0)
    window = cv2.getStructuringElement(cv2.MORPH_RECT, (2 * distance + 1, 2 * distance + 1))
    uniform = cv2.erode(padded, window) == cv2.dilate(padded, window)
    return ~uniform[distance:-distance, distance:-distance]


def boundary_labels(labels: np.ndarray, nothing: int) -> np.ndarray:
    """`labels` reduced to the boundary bands of its ids; `nothing` elsewhere. [H, W] -> [H, W], same dtype."""
    band = boundary_band(labels, boundary_distance(*labels.shape))
    return np.where(band, labels, np.asarray(nothing, dtype=labels.dtype))


class SceneSegmentation:
    """Accumulates scene mIoU and scene mBIoU over views: the same count on whole masks and on their boundary bands."""

    def __init__(self) -> None:
        self.masks = LabelOverlap()
        self.boundaries = LabelOverlap()

    def add(self, truth: np.ndarray, predicted: np.ndarray) -> None:
        """Count one view; arguments as in LabelOverlap.add."""
        self.masks.add(truth, predicted)
        cut = np.where(
            predicted == IGNORED, -1, truth
        )  # what is ignored is a contour in both, as the image's border is
        self.boundaries.add(boundary_labels(cut, 0), boundary_labels(predicted, UNLABELLED))
