"""Frames no wider than a working size: a map gains nothing from a pixel that no training step has time for."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from cgc_ros.frame import Frame, Intrinsics

#: Wider images are mapped scaled to this width.
MAX_IMAGE_WIDTH = 1280
#: Two sizes show the same view where their proportions agree to this share: phones and scanners round to whole pixels
#: and multiples of 16.
_SAME_ASPECT = 0.01


def within_width(camera: Intrinsics, max_width: int) -> Intrinsics:
    """The same view at most `max_width` pixels wide; 0: as it is."""
    if not 0 < max_width < camera.width:
        return camera
    return camera.scaled_to(max_width, max(1, round(camera.height * max_width / camera.width)))


def scaled_frame(frame: Frame, max_width: int) -> Frame:
    """The same frame at most `max_width` pixels wide; 0: as it is. Its lens may distort.

    Colours are averaged over areas; depth and masks, which have no average at an edge, are those of the nearest pixel.
    """
    camera = within_width(frame.intrinsics, max_width)
    if camera is frame.intrinsics:
        return frame
    size = (camera.width, camera.height)
    return replace(
        frame,
        image=cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA),
        intrinsics=camera,
        depth=None if frame.depth is None else nearest_resized(frame.depth, *size),
        masks=None if frame.masks is None else nearest_resized(frame.masks, *size),
    )


def nearest_resized(array: np.ndarray, width: int, height: int) -> np.ndarray:
    """[H, W] or [H, W, C] of any type on a grid of another size: each pixel that of its centre's place."""
    rows, columns = (
        (np.arange(n) * 2 + 1) * size // (2 * n) for n, size in zip((height, width), array.shape, strict=False)
    )
    return np.take(np.take(array, rows, axis=0), columns, axis=1)


def same_aspect(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two sizes (width, height) have the same proportion, up to 1% or the rounding of one pixel."""
    difference = abs(size[0] * other[1] - size[1] * other[0])
    return difference <= max(_SAME_ASPECT * size[1] * other[0], *size, *other)


def depth_at_size(depth: np.ndarray, width: int, height: int) -> np.ndarray | None:
    """Depth [h, w], registered to a picture of `width` x `height`, on the picture's grid: each pixel the nearest's.

    None where its sides are in another proportion: it then shows another view.
    """
    size = (depth.shape[1], depth.shape[0])
    if size == (width, height):
        return depth
    return nearest_resized(depth, width, height) if same_aspect(size, (width, height)) else None
