"""What a source of 2D masks is, and how it fails."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class MaskError(ValueError):
    """Masks that cannot be made. The message names the value and the remedy, `reason` is a short counter key.

    Mapping goes on without the masks of that keyframe; the session counts and reports the failure.
    """

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


class MaskSource(Protocol):
    """Cuts one image into class-agnostic object masks; ids mean nothing outside their image.

    Called from one thread at a time.
    """

    name: str
    uses_depth: bool  # whether `depth` helps it: the map's own is rendered for it where the camera has none

    def segment(self, image: np.ndarray, *, depth: np.ndarray | None = None) -> np.ndarray:
        """image [H, W, 3] uint8 RGB, depth [H, W] float32 metres (0 = invalid) -> [H, W] int32 ids 1..n, 0 = no mask.

        Or [2, H, W], two levels of detail: masks of objects, and masks of their parts. Raises MaskError.
        """
        ...


def check_input(image: np.ndarray, depth: np.ndarray | None) -> None:
    """Raise MaskError unless image is [H, W, 3] uint8 and depth, where given, has its size."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or min(image.shape[:2]) < 2:
        raise MaskError("bad_image", f"image must be [H, W, 3] uint8 RGB, got {image.shape} {image.dtype}")
    if depth is not None and depth.shape != image.shape[:2]:
        raise MaskError(
            "depth_mismatch",
            f"depth is {depth.shape}, the image {image.shape[:2]}: use depth registered to the colour camera",
        )
