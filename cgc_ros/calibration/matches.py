"""Features of images and their matches between views, chosen without the calibration that they are to judge."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

_RATIO = 0.8  # of the best to the second best descriptor's distance (Lowe 2004, section 7.1)
_MAX_ERROR_PX = 1.5  # of a match from the pair's own epipolar geometry
_MIN_MATCHES = 25  # of a pair: fewer agree with anything


@dataclass(frozen=True)
class Features:
    """What is recognised of one image."""

    points: np.ndarray  # [N, 2] float32 pixels, the first pixel's centre at (0, 0)
    descriptors: np.ndarray  # [N, D]


@dataclass(frozen=True)
class Matches:
    """Points seen in two views each. Arrays over M matches."""

    first: np.ndarray  # [M] int, view
    second: np.ndarray  # [M] int, view
    points_first: np.ndarray  # [M, 2] float64 pixels
    points_second: np.ndarray  # [M, 2]

    def __len__(self) -> int:
        return len(self.first)

    def pair_keys(self) -> np.ndarray:
        """[M] int, equal for matches of the same two views."""
        return self.first * (self.second.max(initial=0) + 1) + self.second

    @staticmethod
    def joined(parts: list[Matches]) -> Matches:
        """All of several."""
        if not parts:
            none = np.zeros(0, dtype=int)
            return Matches(none, none, np.zeros((0, 2)), np.zeros((0, 2)))
        return Matches(
            np.concatenate([each.first for each in parts]),
            np.concatenate([each.second for each in parts]),
            np.concatenate([each.points_first for each in parts]),
            np.concatenate([each.points_second for each in parts]),
        )

    def where(self, kept: np.ndarray) -> Matches:
        """Those that a mask [M] or indices choose."""
        return Matches(self.first[kept], self.second[kept], self.points_first[kept], self.points_second[kept])


@dataclass(frozen=True)
class MatchedPair:
    """Matches of two views; `rows` [M]: which features of the first they are."""

    matches: Matches
    rows: np.ndarray


class FeatureFinder:
    """SIFT features of colour images (Lowe 2004), the strongest of each; RootSIFT (Arandjelovic and Zisserman 2012)."""

    def __init__(self, limit: int):
        self._sift = cv2.SIFT.create(limit, enable_precise_upscale=True)

    def features(self, image: np.ndarray, ignore: np.ndarray | None = None) -> Features:
        """Of an image [H, W, 3] uint8 RGB, without pixels that are ignored ([H, W] bool)."""
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        mask = None if ignore is None else (~ignore).astype(np.uint8)
        points, descriptors = self._sift.detectAndCompute(gray, mask)
        if descriptors is None:
            return Features(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32))
        roots = np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-9))
        return Features(np.array([each.pt for each in points], dtype=np.float32), roots.astype(np.float32))


def matched(one: int, other: int, first: Features, second: Features, limit: int) -> MatchedPair | None:
    """At most `limit` matches of views `one` and `other` that some epipolar geometry explains; None where there are too
    few.
    """
    if min(len(first.points), len(second.points)) < _MIN_MATCHES:
        return None
    likeness = first.descriptors @ second.descriptors.T
    best = likeness.argmax(axis=1)
    rows = np.arange(len(best))
    score = likeness[rows, best]
    is_mutual = likeness.argmax(axis=0)[best] == rows
    likeness[rows, best] = -1.0
    distance, next_distance = (np.sqrt(np.maximum(2.0 - 2.0 * each, 0.0)) for each in (score, likeness.max(axis=1)))
    kept = np.flatnonzero(is_mutual & (distance < _RATIO * next_distance))
    if len(kept) < _MIN_MATCHES:
        return None
    points, partners = first.points[kept].astype(np.float64), second.points[best[kept]].astype(np.float64)
    cv2.setRNGSeed(0)
    _, agrees = cv2.findFundamentalMat(points, partners, cv2.USAC_MAGSAC, _MAX_ERROR_PX, 0.999, 2000)
    found = np.zeros(0, dtype=int) if agrees is None else np.flatnonzero(agrees)
    if len(found) < _MIN_MATCHES:
        return None
    found = found[np.linspace(0, len(found) - 1, min(limit, len(found))).astype(int)]
    views = np.full(len(found), one), np.full(len(found), other)
    return MatchedPair(Matches(*views, points[found], partners[found]), kept[found])
