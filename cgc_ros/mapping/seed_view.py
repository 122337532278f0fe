"""A keyframe at the size at which new Gaussians are put into it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from cgc_ros.frame import Intrinsics
from cgc_ros.ignored_pixels import touched_resized
from cgc_ros.mapping.keyframes import Keyframe
from cgc_ros.rendering import Camera


@dataclass(frozen=True)
class SeedView:
    """What seeding sees of a keyframe: new Gaussians are several pixels apart, so it looks at large images smaller."""

    keyframe: Keyframe
    image: np.ndarray  # [h, w, 3] uint8, without what is ignored
    intrinsics: Intrinsics  # of that size
    ignore: np.ndarray | None  # [h, w] bool

    @staticmethod
    def of(keyframe: Keyframe, pixels: int) -> SeedView:
        """A keyframe with about `pixels` pixels, or as it is where it has no more."""
        image, ignore, intrinsics = keyframe.world_image(), keyframe.ignore, keyframe.intrinsics
        shrink = (pixels / (intrinsics.width * intrinsics.height)) ** 0.5
        if shrink < 1.0:
            size = max(1, round(intrinsics.width * shrink)), max(1, round(intrinsics.height * shrink))
            image, intrinsics = cv2.resize(image, size, interpolation=cv2.INTER_AREA), intrinsics.scaled_to(*size)
            ignore = None if ignore is None else touched_resized(ignore, *size)
        return SeedView(keyframe, image, intrinsics, ignore)

    def camera(self, device: torch.device) -> Camera:
        """Its camera, as if the whole view were drawn and averaged."""
        return self.keyframe.camera(1.0, device).scaled_to(self.intrinsics.width, self.intrinsics.height)

    def sampled(self, values: np.ndarray) -> np.ndarray:
        """Values of the keyframe's pixels, [H, W], at the nearest of each of this view's, [h, w]."""
        size = (self.intrinsics.width, self.intrinsics.height)
        if values.shape == size[::-1]:
            return values
        plain = values.view(np.uint8) if values.dtype == bool else values
        return cv2.resize(plain, size, interpolation=cv2.INTER_NEAREST).astype(values.dtype)
