"""Label images: ids made dense, small regions dropped, borders moved onto the image's edges, overlapping masks laid
flat.
"""

from __future__ import annotations

import cv2
import numpy as np

MAX_TABLE_ID = 1_000_000  # ids above it are ranked before they index a table


def compact_masks(masks: np.ndarray, min_pixels: int = 1) -> tuple[np.ndarray, int]:
    """The same masks [H, W] with ids 1..M in int32, in their order, and M.

    Masks of fewer than `min_pixels` pixels, and ids below 1, become 0 (no mask).
    """
    masks = np.maximum(masks, 0)
    if masks.max(initial=0) > MAX_TABLE_ID:
        masks = np.unique(masks, return_inverse=True)[1].reshape(masks.shape) + (masks.min() > 0)
    kept = np.bincount(masks.ravel()) >= max(min_pixels, 1)
    kept[0] = False
    numbers = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    return numbers[masks], int(kept.sum())


def enlarged(labels: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Labels [h, w] (ids from 0) at the size of `image` [H, W, 3], their borders moved onto its colour edges."""
    factor = image.shape[0] / labels.shape[0]
    return labels if factor == 1.0 else snap_to_edges(labels, image, int(np.ceil(factor)))


def snap_to_edges(labels: np.ndarray, image: np.ndarray, band: int) -> np.ndarray:
    """Labels [h, w] (ids from 0) enlarged to the size of `image` [H, W, 3] uint8, their borders moved onto its colour
    edges.

    Pixels within `band` pixels of a border are given out anew by flooding the image from the regions' insides
    (watershed); a region too thin to have an inside keeps its pixels.
    """
    height, width = image.shape[:2]
    coarse = cv2.resize((labels + 1).astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST).astype(
        np.int32
    )
    kernel = np.ones((2 * band + 1, 2 * band + 1), np.uint8)
    as_float = coarse.astype(np.float32)
    inside = cv2.erode(as_float, kernel) == cv2.dilate(as_float, kernel)
    has_inside = np.bincount(coarse[inside], minlength=coarse.max() + 1) > 0
    markers = np.where(inside | ~has_inside[coarse], coarse, 0).astype(np.int32)
    flooded = cv2.watershed(cv2.GaussianBlur(image, (3, 3), 0), markers)
    return _without_lines(flooded, coarse) - 1


def flatten_masks(
    masks: np.ndarray, scores: np.ndarray, *, min_area: int, duplicate_iou: float, max_hole: float = 0.01
) -> np.ndarray:
    """Overlapping masks [M, H, W] bool as two label images [2, H, W] int32, 0 = none: of wholes, and of their parts.

    Among parts, small masks lie on large ones. Among wholes it is the other way round, except that masks which the
    image's border cuts (floors, walls, table tops) lie under all others: what stands on them is no part of them.
    Of near duplicates (IoU above `duplicate_iou`) the one with the highest score stays. Holes of up to `max_hole` of a
    mask's area are filled: larger ones may be objects that have no mask of their own.
    """
    masks, scores = np.asarray(masks, dtype=bool), np.asarray(scores, dtype=np.float64)
    area = masks.sum(axis=(1, 2))
    iou = _pairwise_iou(masks)
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable"):
        if area[index] >= min_area and not any(iou[index, other] > duplicate_iou for other in kept):
            kept.append(int(index))
    filled = {index: _without_small_holes(masks[index], max_hole * area[index]) for index in kept}
    is_cut = {index: _touches_border(masks[index]) for index in kept}
    parts = sorted(kept, key=lambda index: -area[index])
    wholes = [index for index in parts if is_cut[index]] + [index for index in parts[::-1] if not is_cut[index]]
    levels = (_painted(masks.shape[1:], [filled[index] for index in order]) for order in (wholes, parts))
    return np.stack([compact_masks(level, min_area)[0] for level in levels])


def _painted(shape: tuple[int, int], masks: list[np.ndarray]) -> np.ndarray:
    """Label image of masks, the last on top."""
    labels = np.zeros(shape, np.int32)
    for number, mask in enumerate(masks, start=1):
        labels[mask] = number
    return labels


def _touches_border(mask: np.ndarray) -> bool:
    return bool(mask[[0, -1]].any() or mask[:, [0, -1]].any())


def _pairwise_iou(masks: np.ndarray) -> np.ndarray:
    """[M, M], from every second pixel in both directions."""
    sampled = masks[:, ::2, ::2].astype(np.float32)
    sampled = sampled.reshape(len(masks), sampled.shape[1] * sampled.shape[2])
    overlap = sampled @ sampled.T
    area = np.diag(overlap)
    return overlap / np.maximum(area[:, None] + area[None] - overlap, 1.0)


def _without_small_holes(mask: np.ndarray, max_area: float) -> np.ndarray:
    _, holes, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
    left, top, width, height, area = stats.T
    is_inside = (left > 0) & (top > 0) & (left + width < mask.shape[1]) & (top + height < mask.shape[0])
    fill = is_inside & (area <= max_area)
    fill[0] = False  # the mask itself
    return mask | fill[holes]


def _without_lines(flooded: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """OpenCV leaves lines of -1 between basins: they go to a neighbouring basin, the image's outermost pixels to the
    nearest inner one.
    """
    flooded = flooded.copy()
    flooded[[0, -1]], flooded[:, [0, -1]] = flooded[[1, -2]], flooded[:, [1, -2]]
    flooded[[0, -1]] = flooded[[1, -2]]
    lines = flooded <= 0
    neighbour = cv2.dilate(flooded.astype(np.float32), np.ones((3, 3), np.uint8)).astype(np.int32)
    flooded[lines] = np.where(neighbour[lines] > 0, neighbour[lines], coarse[lines])
    return flooded
