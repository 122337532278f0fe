"""What a promptable segmenter is asked in an image of which the map explains a part already."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

SLIVER = 0.01  # of the image's width: what is unexplained and thinner is a border of what is known


@dataclass(frozen=True)
class Prompts:
    """Prompts of one image."""

    points: np.ndarray  # [P, 2] x and y as shares of width and height
    boxes: np.ndarray  # [B, 4] left, top, right and bottom, pixels; the last two are outside

    def __len__(self) -> int:
        return len(self.points) + len(self.boxes)


def grid(points_per_side: int) -> np.ndarray:
    """[P, 2] the centres of as many cells along each side of an image, as shares of its width and height."""
    centres = (np.arange(points_per_side) + 0.5) / points_per_side
    return np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)


def prompts_for(known: np.ndarray, points_per_side: int, min_area: int) -> Prompts:
    """Points of the grid where `known` [H, W] (ids from 1, 0 = nothing yet) is 0, but for slivers between objects, and
    a box round each object's largest piece that has `min_area` pixels.
    """
    height, width = known.shape
    reach = max(1, round(SLIVER * width / 2))
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    unexplained = cv2.morphologyEx((known == 0).astype(np.uint8), cv2.MORPH_OPEN, kernel)
    points = grid(points_per_side)
    columns, rows = (points * (width, height)).astype(int).T
    boxes = [
        box for object_id in np.unique(known[known > 0]) if (box := _box(known == object_id, min_area)) is not None
    ]
    return Prompts(points[unexplained[rows, columns] > 0], np.array(boxes, np.float64).reshape(-1, 4))


def _box(mask: np.ndarray, min_area: int) -> list[int] | None:
    """Round the largest piece; None where that is smaller than `min_area`."""
    _, _, pieces, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    left, top, width, height, area = pieces[1 + int(pieces[1:, cv2.CC_STAT_AREA].argmax())]
    return [int(left), int(top), int(left + width), int(top + height)] if area >= min_area else None
