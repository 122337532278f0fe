"""Images of recordings with their depth and truth, and the figure masks are judged by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from cgc_ros.sequences import open_sequence

DEPTHS = ("given", "degraded", "off")
LEAST_AREA = 100  # pixels: smaller pieces of an object are not asked for


@dataclass(frozen=True)
class TrueImage:
    name: str
    image: np.ndarray  # [H, W, 3] uint8 RGB
    depth: np.ndarray | None  # [H, W] float32 metres, 0 = invalid
    truth: np.ndarray  # [H, W] int32, 0 = unlabelled
    object_ids: frozenset[int]  # of kind object


def true_images(path: str, depth: str, every: int) -> Iterator[TrueImage]:
    """Every `every`-th image of a recording with ground truth; `depth` is one of DEPTHS."""
    sequence = open_sequence(path)
    if sequence.truth is None:
        raise SystemExit(f"{path} has no ground truth")
    things = frozenset(key for key, (_, kind) in sequence.truth.labels.items() if kind == "object")
    rng = np.random.default_rng(7)
    for index in range(0, len(sequence), every):
        frame, truth = sequence[index], sequence.truth.instances(index)
        if truth is None or (depth != "off" and frame.depth is None):
            continue
        values = None if depth == "off" else frame.depth if depth == "given" else degraded(frame.depth, rng)
        yield TrueImage(frame.name, frame.image, values, truth, things)


def degraded(depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Depth as stereo or a young map has it: wavy by about 1 %, edges soft and displaced by 2 pixels of 640, holes."""
    height, width = depth.shape
    unit = width / 640

    def field(scale: float) -> np.ndarray:
        noise = cv2.GaussianBlur(rng.standard_normal((height, width)).astype(np.float32), (0, 0), scale * unit)
        return noise / noise.std()

    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    columns, rows = columns + 2 * unit * field(6), rows + 2 * unit * field(6)
    moved = cv2.remap(depth.astype(np.float32), columns, rows, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    inverse = np.where(moved > 0, 1 / np.maximum(moved, 1e-3), 0)
    inverse = cv2.GaussianBlur(inverse, (0, 0), 1.2 * unit + 0.3) * (1 + 0.004 * field(4) + 0.006 * field(20))
    known = (moved > 0) & (field(10) < 2.2)
    return np.where(known, 1 / np.maximum(inverse, 1e-3), 0).astype(np.float32)


def best_ious(labels: np.ndarray, image: TrueImage) -> dict[int, float]:
    """For every object the image shows, the IoU of the mask that fits it best."""
    count = int(labels.max()) + 1
    shared = np.bincount((image.truth.astype(np.int64) * count + labels).ravel())
    shared = np.pad(shared, (0, -len(shared) % count)).reshape(-1, count)
    truth_area, mask_area = shared.sum(axis=1), shared.sum(axis=0)
    seen = [key for key in image.object_ids if key < len(truth_area) and truth_area[key] >= LEAST_AREA]
    return {key: _best(shared[key], truth_area[key], mask_area) for key in seen}


def _best(shared: np.ndarray, truth_area: int, mask_area: np.ndarray) -> float:
    iou = shared[1:] / (truth_area + mask_area[1:] - shared[1:])
    return float(iou.max(initial=0.0))
