"""Whether views bear out that an object was moved so: its points, moved, are held against keyframes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from cgc_ros.mapping.keyframes import Keyframe
from cgc_ros.mapping.relocation import ColoredCloud

_LEAST_POINTS = 12


@dataclass(frozen=True)
class SeenAs:
    """How views see points that were moved."""

    agrees: float  # share of them at whose depth something stands; what is hidden does not count
    color: float  # mean difference of colours there, 0..1, once the light is fitted
    likeness: float  # correlation of the colours there, -1..1: whether patterns coincide


def seen_as(cloud: ColoredCloud, new_from_old: np.ndarray, keyframes: Sequence[Keyframe], margin: float) -> SeenAs:
    """Look for a cloud's points, moved, in keyframes with depth, by a relative `margin` of it."""
    points = cloud.points @ new_from_old[:3, :3].T + new_from_old[:3, 3]
    agreeing, through, colors, likeness = 0, 0, [], []
    for keyframe in keyframes:
        depth = keyframe.world_depth()
        if depth is None:
            continue
        rows, columns, z = _projected(points, keyframe)
        inside = (z > 0) & (rows >= 0) & (rows < depth.shape[0]) & (columns >= 0) & (columns < depth.shape[1])
        measured = np.zeros(len(points))
        measured[inside] = depth[rows[inside], columns[inside]]
        known = measured > 0
        agrees = known & (np.abs(measured - z) <= margin * z)
        agreeing += int(agrees.sum())
        through += int((known & (measured > (1 + margin) * z)).sum())
        if agrees.sum() >= _LEAST_POINTS:
            image = cv2.blur(keyframe.image, (3, 3))
            one, other = cloud.colors[agrees], image[rows[agrees], columns[agrees]] / 255.0
            colors.append(_difference(one, other))
            likeness.append(_correlation(one, other))
    share = agreeing / max(agreeing + through, 1)
    return SeenAs(share, float(np.mean(colors)), float(np.mean(likeness))) if colors else SeenAs(share, 1.0, 0.0)


def _projected(points: np.ndarray, keyframe: Keyframe) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    columns, rows, z = keyframe.intrinsics.project(points, keyframe.world_from_camera)
    columns, rows = (np.clip(each, -1e6, 1e6).round().astype(int) for each in (columns, rows))
    return rows, columns, z


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    """Mean difference of colours [P, 3], the light that falls on them fitted by one gain within bounds."""
    gain = float(np.clip((one * other).sum() / max((one * one).sum(), 1e-9), 0.7, 1.4))
    return float(np.abs(gain * one - other).mean())


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Of colours [P, 3] each, about their means."""
    one, other = one - one.mean(axis=0), other - other.mean(axis=0)
    return float((one * other).sum() / max(np.sqrt((one * one).sum() * (other * other).sum()), 1e-9))
