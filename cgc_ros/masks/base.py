"""What a source of 2D masks is, and how it fails."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from cgc_ros.errors import ReasonError


class MaskError(ReasonError, ValueError):
    """Masks that cannot be made.

    Mapping goes on without the masks of that keyframe; the session counts and reports the failure.
    """


class MaskSource(Protocol):
    """Cuts one image into class-agnostic object masks; ids mean nothing outside their image.

    `segment` is called from one thread at a time, `close` and `abandon` from any. A source that derives from this
    class needs a name and `segment` only.
    """

    name: str
    uses_depth: bool = False  # whether `depth` helps it: the map's own is rendered for it where the camera has none
    uses_known: bool = False  # whether it makes less of what the map explains: `segment_news` is called instead

    @property
    def pid(self) -> int | None:
        """Of the process that makes the masks; None where that is this one, or none runs."""
        return None

    def segment(self, image: np.ndarray, *, depth: np.ndarray | None = None) -> np.ndarray:
        """image [H, W, 3] uint8 RGB, depth [H, W] float32 metres (0 = invalid) -> [H, W] int32 ids 1..n, 0 = no mask.

        Or [2, H, W], two levels of detail: masks of objects, and masks of their parts. Raises MaskError.
        """
        ...

    def segment_news(self, image: np.ndarray, known: np.ndarray, *, depth: np.ndarray | None = None) -> np.ndarray:
        """As `segment`, with `known` [H, W] int32: the objects that the map sees here, by ids from 1; 0 = nothing yet.

        Their masks are wanted, too, as the image shows them.
        """
        return self.segment(image, depth=depth)

    def segment_rendered(self, image: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """As `segment`, where the depth is the map's own: smooth, and blind to what is small and flat."""
        return self.segment(image, depth=depth)

    def close(self) -> None:
        """End what it holds (a process, memory) until the next image."""
        return None

    def abandon(self) -> None:
        """Make an image in work fail, where it can: it takes hopelessly long."""
        return None


def check_input(image: np.ndarray, depth: np.ndarray | None) -> None:
    """Raise MaskError unless image is [H, W, 3] uint8 and depth, where given, has its size."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or min(image.shape[:2]) < 2:
        raise MaskError("bad_image", f"image must be [H, W, 3] uint8 RGB, got {image.shape} {image.dtype}")
    if depth is not None and depth.shape != image.shape[:2]:
        raise MaskError(
            "depth_mismatch",
            f"depth is {depth.shape}, the image {image.shape[:2]}: use depth registered to the colour camera",
        )
