"""Masks of pixels that are no part of the world, or no longer true: on other grids, in pictures and label images.

A mask is [H, W] bool, True = ignored; None: nothing is.
"""

from __future__ import annotations

import cv2
import numpy as np

from cgc_ros.frame import IGNORED


def touched_resized(mask: np.ndarray, width: int, height: int) -> np.ndarray:
    """A mask on a grid of another size: pixels whose colour, averaged over areas, any ignored pixel has a part in."""
    if mask.shape == (height, width):
        return mask
    return cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA) > 0


def continued(image: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """The image [H, W, C] with ignored pixels in the colour of the nearest one that is not: filters that reach beyond
    the mask's edge find there what they find beyond the image's. An image that is ignored whole stays as it is.
    """
    if mask is None or not mask.any() or mask.all():
        return image
    _, nearest = cv2.distanceTransformWithLabels(
        mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    sources = np.zeros(nearest.max() + 1, np.int64)  # flat index of each label's pixel: labels count kept pixels from 1
    kept = np.flatnonzero(~mask)
    sources[nearest.ravel()[kept]] = kept
    filled = image.copy()
    filled[mask] = image.reshape(-1, *image.shape[2:])[sources[nearest[mask]]]
    return filled


def mark_ignored(labels: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """A label image [H, W] uint16 with ignored pixels as such (65534)."""
    return labels if mask is None else np.where(mask, np.uint16(IGNORED), labels)
