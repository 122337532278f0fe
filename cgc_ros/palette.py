"""One colour per object id, the same in every picture, marker, page and run."""

from __future__ import annotations

import cv2
import numpy as np

from cgc_ros.frame import IGNORED, UNLABELLED

_GOLDEN_RATIO = 0.618033988749895  # successive multiples of it, modulo 1, spread hues evenly however many there are
_UNLABELLED_COLOR = (38, 38, 42)
_IGNORED_COLOR = (128, 128, 128)
_OUTLINE_COLOR = (20, 20, 20)


def _table() -> np.ndarray:
    ids = np.arange(UNLABELLED + 1)
    hue = (ids * _GOLDEN_RATIO) % 1.0 * 360.0
    saturation, value = np.where(ids % 2, 0.85, 0.6), np.where(ids % 2, 0.95, 1.0)
    hsv = np.stack([hue, saturation, value], axis=1).astype(np.float32)
    colors = np.rint(cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0] * 255).astype(np.uint8)
    colors[UNLABELLED], colors[IGNORED] = _UNLABELLED_COLOR, _IGNORED_COLOR
    return colors


_COLORS = _table()  # [65536, 3]


def id_color(object_id: int) -> tuple[int, int, int]:
    """RGB 0..255 of an id 0..65535; neighbouring ids are far apart."""
    return tuple(_COLORS[object_id].tolist())


def label_picture(labels: np.ndarray) -> np.ndarray:
    """A label image [H, W] of ids 0..65535 as [H, W, 3] uint8 RGB, unlabelled (65535) dark, ignored (65534) grey."""
    return _COLORS[labels]


def overlay_picture(image: np.ndarray, labels: np.ndarray, opacity: float = 0.55) -> np.ndarray:
    """The image [H, W, 3] uint8 tinted by its labels [H, W], with dark outlines; unlabelled pixels stay, ignored ones
    turn grey.
    """
    tinted = cv2.addWeighted(image, 1.0 - opacity, label_picture(labels), opacity, 0.0)
    np.copyto(tinted, image, where=(labels == UNLABELLED)[..., None])
    tinted[boundaries(labels)] = _OUTLINE_COLOR
    return tinted


def boundaries(labels: np.ndarray) -> np.ndarray:
    """[H, W] bool: pixels whose right or lower neighbour has another label."""
    edges = np.zeros(labels.shape, dtype=bool)
    edges[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    edges[:-1] |= labels[:-1] != labels[1:]
    return edges
