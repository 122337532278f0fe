"""Keyframes' images and cameras kept on the device that trains on them."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cgc_ros.mapping.keyframes import Keyframe, are_same
from cgc_ros.rendering import Camera

LIMIT_MB = 1024  # 10^6 bytes: 380 keyframes of 640x480 with depth, at full and half size


@dataclass(frozen=True)
class ResidentView:
    """A keyframe at a training size, on the device."""

    camera: Camera  # at the given pose
    color: Tensor  # [h, w, 3] uint8
    inverse_depth: Tensor | None  # [h, w] float32, 1 / metres, 0 = invalid or ignored
    mask: Tensor | None  # [h, w] bool, pixels that count; None: all
    source: tuple[np.ndarray | None, ...]  # what it was made of: held, so that it is told from what takes its place

    @property
    def images(self) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """As `step_gradients` takes them."""
        return self.color, self.inverse_depth, self.mask

    @property
    def megabytes(self) -> float:
        """What it takes on the device, 10^6 bytes."""
        return sum(image.nbytes for image in self.images if image is not None) / 1e6


class ResidentImages:
    """The views that were used last, up to a limit, so that a step copies no image."""

    def __init__(self, device: torch.device, limit_mb: float = LIMIT_MB):
        self.device, self.limit_mb, self.megabytes = device, limit_mb, 0.0
        self._views: OrderedDict[tuple[int, float], ResidentView] = OrderedDict()

    def __len__(self) -> int:
        return len(self._views)

    def view(self, keyframe: Keyframe, scale: float) -> ResidentView:
        """The keyframe at `scale` of its size, copied where it is not here or has other images or another pose."""
        key = (keyframe.id, scale)
        found = self._views.get(key)
        source = (*keyframe.arrays, keyframe.world_from_camera)
        if found is None or not are_same(found.source, source):
            self._drop(key)
            found = self._views[key] = self._copied(keyframe, scale, source)
            self.megabytes += found.megabytes
            while self.megabytes > self.limit_mb and len(self._views) > 1:
                self._drop(next(iter(self._views)))
        self._views.move_to_end(key)
        return found

    def clear(self) -> None:
        """Free the memory; what is needed again is copied again."""
        self._views.clear()
        self.megabytes = 0.0

    def _drop(self, key: tuple[int, float]) -> None:
        dropped = self._views.pop(key, None)
        self.megabytes -= dropped.megabytes if dropped else 0.0

    def _copied(self, keyframe: Keyframe, scale: float, source: tuple) -> ResidentView:
        camera = keyframe.camera(scale, self.device)
        images = keyframe.scaled_images(camera.width, camera.height)
        inverse, mask = (
            None if image is None else torch.from_numpy(image).to(self.device)
            for image in (inverse_depth(images.depth, images.mask), images.mask)
        )
        return ResidentView(camera, torch.from_numpy(images.color).to(self.device), inverse, mask, source)


def inverse_depth(depth: np.ndarray | None, mask: np.ndarray | None) -> np.ndarray | None:
    """[h, w] float32 of depth in metres, 0 where that is 0 or outside the mask [h, w] bool."""
    if depth is None:
        return None
    metres = depth.astype(np.float32)
    counts = metres > 0 if mask is None else (metres > 0) & mask
    return np.divide(1.0, metres, out=np.zeros_like(metres), where=counts)
