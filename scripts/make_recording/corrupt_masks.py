"""2D masks as a segmenter without memory gives them, made from ground truth: per frame, ids mean nothing, regions are
missing, cut or merged, borders are off by a few pixels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

_NEIGHBOURHOOD = np.ones((5, 5), np.uint8)  # regions with less than 3 pixels between them count as touching


@dataclass(frozen=True)
class Corruption:
    """How far masks are from the truth. Shares are probabilities per region and frame."""

    missing: float = 0.2  # left out: 0 in the mask image
    cut: float = 0.2  # in two, by a straight line through the middle
    merged: float = 0.1  # with a touching region, where there is one
    border: float = 2.0  # pixels: standard deviation of the borders' displacement per axis; at most 3 times this
    smoothness: float = 6.0  # pixels: sigma of the Gaussian that smooths the displacement field
    min_area: int = 60  # pixels: smaller regions are left out


def corrupt_masks(instances: np.ndarray, rng: np.random.Generator, corruption: Corruption = Corruption()) -> np.ndarray:
    """Instance ids [H, W], 0 = unlabelled -> masks [H, W] uint16, ids 1..n in random order, 0 = no mask."""
    truth = _displace_borders(instances, rng, corruption)
    masks = truth.astype(np.int64)
    next_id = int(truth.max()) + 1
    shares = (corruption.missing, corruption.cut, corruption.merged)
    for region in rng.permutation(np.unique(truth[truth > 0])):
        inside = truth == region
        fate = rng.choice(["missing", "cut", "merged", "whole"], p=[*shares, 1 - sum(shares)])
        if fate == "missing":
            masks[inside] = 0
        elif fate == "cut":
            masks[_half(inside, rng)] = next_id
            next_id += 1
        elif fate == "merged":
            neighbours = _touching(masks, inside)
            if len(neighbours):
                masks[inside] = rng.choice(neighbours)
    return _shuffle_ids(masks, rng, corruption.min_area)


def _displace_borders(instances: np.ndarray, rng: np.random.Generator, corruption: Corruption) -> np.ndarray:
    if corruption.border == 0:
        return instances
    height, width = instances.shape
    rows, columns = np.mgrid[:height, :width]
    for axis in (rows, columns):
        field = cv2.GaussianBlur(rng.standard_normal((height, width)), (0, 0), corruption.smoothness)
        field = np.clip(field / field.std(), -3, 3) * corruption.border
        axis += np.round(field).astype(axis.dtype)
    return instances[np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)]


def _half(inside: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The part of a region [H, W] bool on one side of a line through its centroid."""
    rows, columns = np.nonzero(inside)
    angle = rng.uniform(0, np.pi)
    side = (columns - columns.mean()) * np.cos(angle) + (rows - rows.mean()) * np.sin(angle) > 0
    half = np.zeros_like(inside)
    half[rows[side], columns[side]] = True
    return half


def _touching(masks: np.ndarray, inside: np.ndarray) -> np.ndarray:
    ring = cv2.dilate(inside.astype(np.uint8), _NEIGHBOURHOOD).astype(bool) & ~inside
    found = np.unique(masks[ring])
    return found[found > 0]


def _shuffle_ids(masks: np.ndarray, rng: np.random.Generator, min_area: int) -> np.ndarray:
    areas = np.bincount(masks.ravel())
    areas[0] = 0
    kept = np.flatnonzero(areas >= max(min_area, 1))
    table = np.zeros(len(areas), np.uint16)
    table[kept] = rng.permutation(len(kept)) + 1
    return table[masks]
