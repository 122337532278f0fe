"""The steps of `stereo_depth` on one CPU core: C++ kernels in place of torch's operations, equal but for rounding."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cgc_ros.frame import Intrinsics
from cgc_ros.rendering.kernels import kernels
from cgc_ros.stereo.geometry import SourceProjection, typical_rate
from cgc_ros.stereo.plane_sweep import (
    PRIOR_LEAD,
    SAME_SURFACE,
    SUPPORT_STRIDE,
    SUPPORT_TAPS,
    UNIQUE_LEAD,
    Matcher,
    StereoConfig,
    StereoResult,
    StereoView,
    Sweep,
    checked_image,
    resized_nearest,
    shrunk,
    source_from_reference,
)

SWEEP_REACH = 3  # pixels of the sweep around a pixel whose depth is tried there


class CpuMatcher(Matcher):
    """`Matcher` for images in main memory."""

    def __init__(self, reference: StereoView, sources: Sequence[StereoView], config: StereoConfig):
        self.reference, self.sources, self.config = reference, sources, config
        self.device = torch.device("cpu")
        image = _array(reference)
        self.shrink = min(1.0, math.sqrt(config.working_pixels / (image.shape[0] * image.shape[1])))
        self.transforms = [source_from_reference(source, reference) for source in sources]
        self.intrinsics = shrunk(reference.intrinsics, self.shrink)
        self.color = kernels.resized_bytes(
            image, width=self.intrinsics.width, height=self.intrinsics.height, color=True
        )
        self.greys = [np.tensordot(np.float32([0.299, 0.587, 0.114]), self.color, axes=1)]
        for source in sources:
            size = shrunk(source.intrinsics, self.shrink)
            self.greys.append(kernels.resized_bytes(_array(source), width=size.width, height=size.height, color=False))
        self.level = self._level(1.0)
        self.has_parallax = self.level.pixels_per_inverse_depth > 0

    def _overview(self) -> tuple[Tensor, Tensor, float]:
        level = self._level(0.25)
        planes = self._overview_planes(level)
        volume = level.images.plane_scores(planes.tolist(), self.config.window)
        textured = level.images.contrast(self.config.window) > 3.0 / 255.0
        return torch.from_numpy(volume), torch.from_numpy(textured), float(planes[1])

    def sweep(self, least: float, greatest: float) -> Sweep:
        config, level = self.config, self._level(0.5)
        planes = self._sweep_planes(level, least, greatest)
        smoothing = (config.smooth_small, config.smooth_large, config.smooth_edge)
        found = level.images.sweep(planes.tolist(), window=config.window, smoothing=smoothing)
        best, position, lead, _ = (torch.from_numpy(array) for array in found)
        step = float(planes[1] - planes[0])
        return Sweep(least + position * step, lead, (best > 0) & (best < len(planes) - 1), step)

    def refine(self, coarse: Sweep, prior: Tensor | None) -> tuple[Tensor, Tensor]:
        per_pixel = 1.0 / self.level.pixels_per_inverse_depth
        known = None if prior is None else resized_nearest(prior, self.level.size).contiguous()
        w, confidence = self.level.images.refine(
            self.color,
            coarse.w.numpy(),
            torch.where(coarse.inside, coarse.lead, 0.0).numpy(),
            None if known is None else known.numpy(),
            window=self.config.window,
            step=coarse.step,
            differs=1.5 * coarse.step,
            reach=SWEEP_REACH,
            prior_lead=PRIOR_LEAD,
            taps=SUPPORT_TAPS,
            stride=SUPPORT_STRIDE,
            color_sigma=self.config.colour_sigma,
            nudge=0.6 * per_pixel,
            surface=SAME_SURFACE * per_pixel,
            unique_lead=UNIQUE_LEAD,
            min_confidence=self.config.min_confidence,
            min_parallax=self.config.min_parallax,
        )
        return torch.from_numpy(w), torch.from_numpy(confidence)

    def full_size(self, w: Tensor, confidence: Tensor) -> StereoResult:
        size = self.reference.intrinsics
        depth, sure = kernels.enlarged_depth(
            w.numpy(),
            confidence.numpy(),
            width=size.width,
            height=size.height,
            surface=1.0 / self.level.pixels_per_inverse_depth,
        )
        return StereoResult(torch.from_numpy(depth), torch.from_numpy(sure))

    def _level(self, scale: float) -> KernelLevel:
        intrinsics = [shrunk(self.intrinsics, scale)]
        intrinsics += [shrunk(source.intrinsics, self.shrink * scale) for source in self.sources]
        return KernelLevel(self.greys, intrinsics, self.transforms, self.config.noise)


class KernelLevel:
    """`MatchLevel` for the kernels: images at one size, and where the points of the first land in the others."""

    def __init__(
        self,
        greys: Sequence[np.ndarray],  # [h, w] float32, 0..1, of any size
        intrinsics: Sequence[Intrinsics],  # at the size wanted
        source_from_reference: Sequence[np.ndarray],  # [4, 4] each
        noise: float,
    ):
        reference, *sources = intrinsics
        images = [_resized(grey, size) for grey, size in zip(greys, intrinsics, strict=True)]
        projections = [
            SourceProjection.between(reference, source, transform)
            for source, transform in zip(sources, source_from_reference, strict=True)
        ]
        self.size = (reference.height, reference.width)
        self.pixels_per_inverse_depth = typical_rate(projections, reference.width, reference.height)
        columns = np.array([projection.columns for projection in projections], np.float32).reshape(-1, 3, 3)
        parallax = np.array([projection.parallax for projection in projections], np.float32).reshape(-1, 3)
        self.images = kernels.MatchLevel(images[0], images[1:], columns, parallax, noise=noise)


def _array(view: StereoView) -> np.ndarray:
    """[H, W, 3] uint8."""
    image = checked_image(view)
    return np.ascontiguousarray(image.numpy() if isinstance(image, Tensor) else image)


def _resized(grey: np.ndarray, size: Intrinsics) -> np.ndarray:
    if grey.shape == (size.height, size.width):
        return grey
    return kernels.resized_grey(grey, width=size.width, height=size.height)
