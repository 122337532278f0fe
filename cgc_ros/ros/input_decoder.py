"""The camera's messages as arrays, read as this machine does; what their stream shows about itself is told."""

from __future__ import annotations

import numpy as np

from cgc_ros.frame import FrameError
from cgc_ros.image_size import depth_at_size
from cgc_ros.messages.depth import decode_depth
from cgc_ros.messages.images import SampleRange, decode_image
from cgc_ros.messages.label_images import decode_masks
from cgc_ros.ros.conversions.pixel_readers import machine_reader
from cgc_ros.ros.faults import FaultBoard


class InputDecoder:
    """Decodes images of one stream, and their depth and masks. All raise FrameError. One caller at a time."""

    def __init__(self, faults: FaultBoard):
        self._faults = faults
        self._reader = machine_reader()
        self._samples = SampleRange()
        self._told = ""

    def image(self, message) -> np.ndarray:
        """[H, W, 3] uint8 RGB of an Image or CompressedImage."""
        image = decode_image(message, self._samples, self._reader)
        if (note := self._samples.note()) != self._told:
            self._told = note
            if note:
                self._faults.report("few_bits", note)
        return image

    def depth(self, message, unit_m: float, shape: tuple[int, int]) -> np.ndarray:
        """[H, W] float32 metres, 0 invalid, at the picture's `shape` where it has the same proportions."""
        depth = decode_depth(message, unit_m, self._reader)
        resampled = depth_at_size(depth, shape[1], shape[0])
        return depth if resampled is None else resampled

    def masks(self, message, shape: tuple[int, int]) -> np.ndarray:
        """[H, W] int32 ids of the picture's `shape`."""
        return self._ids("masks", message, shape)

    def ignore(self, message, shape: tuple[int, int]) -> np.ndarray:
        """[H, W] bool of the picture's `shape`: nonzero is no part of the world."""
        return self._ids("ignore", message, shape) != 0

    def _ids(self, name: str, message, shape: tuple[int, int]) -> np.ndarray:
        ids = decode_masks(message, self._reader)
        if ids.shape != shape:
            raise FrameError(f"{name}_mismatch", f"{ids.shape[1]}x{ids.shape[0]}, the image is {shape[1]}x{shape[0]}")
        return ids
