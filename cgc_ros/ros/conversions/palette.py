"""One colour per object id, the same in every picture, marker and run."""

from __future__ import annotations

import cv2
import numpy as np

from cgc_ros.frame import UNLABELLED

_GOLDEN_RATIO = 0.618033988749895  # successive multiples of it, modulo 1, spread hues evenly however many there are


def _table() -> np.ndarray:
    ids = np.arange(UNLABELLED + 1)
    hue = (ids * _GOLDEN_RATIO) % 1.0 * 360.0
    saturation, value = np.where(ids % 2, 0.85, 0.6), np.where(ids % 2, 0.95, 1.0)
    hsv = np.stack([hue, saturation, value], axis=1).astype(np.float32)
    colors = np.rint(cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0] * 255).astype(np.uint8)
    colors[UNLABELLED] = 0
    return colors


_COLORS = _table()


def color_of(object_id: int) -> tuple[int, int, int]:
    """RGB 0..255."""
    return tuple(_COLORS[object_id].tolist())


def colorize(labels: np.ndarray) -> np.ndarray:
    """A label image [H, W] uint16 as [H, W, 3] uint8 RGB, unlabelled black."""
    return _COLORS[labels]


def overlay(image: np.ndarray, labels: np.ndarray, strength: float = 0.55) -> np.ndarray:
    """The image [H, W, 3] uint8 tinted by its labels [H, W] uint16, with dark outlines; unlabelled pixels stay."""
    tinted = cv2.addWeighted(image, 1.0 - strength, colorize(labels), strength, 0.0)
    np.copyto(tinted, image, where=(labels == UNLABELLED)[..., None])
    tinted[boundaries(labels)] = (20, 20, 20)
    return tinted


def boundaries(labels: np.ndarray) -> np.ndarray:
    """[H, W] bool: pixels whose right or lower neighbour has another label."""
    edges = np.zeros(labels.shape, dtype=bool)
    edges[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    edges[:-1] |= labels[:-1] != labels[1:]
    return edges
