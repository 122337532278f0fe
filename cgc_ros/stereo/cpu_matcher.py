"""The steps of `stereo_depth` on one CPU core: C++ kernels in place of torch's operations, equal but for rounding."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cgc_ros.frame import Intrinsics
from cgc_ros.rendering.kernels import kernels
from cgc_ros.stereo.config import StereoConfig
from cgc_ros.stereo.geometry import SourceProjection, typical_rate
from cgc_ros.stereo.matcher import (
    Matcher,
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
        self.color_array: np.ndarray = kernels.resized_bytes(
            image, width=self.intrinsics.width, height=self.intrinsics.height, color=True
        )
        self.grey_arrays: list[np.ndarray] = [
            np.tensordot(np.array([0.299, 0.587, 0.114], np.float32), self.color_array, axes=1)
        ]
        for source in sources:
            size = shrunk(source.intrinsics, self.shrink)
            grey = kernels.resized_bytes(_array(source), width=size.width, height=size.height, color=False)
            self.grey_arrays.append(grey if source.ignore is None else _blinded(grey, source.ignore, size))
        self.kernel_level = self._kernel_level(1.0)
        self.has_parallax = self.kernel_level.pixels_per_inverse_depth > 0

    def _overview(self) -> tuple[Tensor, Tensor, float]:
        level = self._kernel_level(0.25)
        planes = self._overview_planes(level)
        volume = level.images.plane_scores(planes.tolist(), self.config.window)
        textured = self._is_textured(torch.from_numpy(level.images.contrast(self.config.window)))
        return torch.from_numpy(volume), textured, float(planes[1])

    def sweep(self, least: float, greatest: float) -> Sweep:
        config, level = self.config, self._kernel_level(0.5)
        planes = self._sweep_planes(level, least, greatest)
        smoothing = (config.smooth_small, config.smooth_large, config.smooth_edge)
        found = level.images.sweep(planes.tolist(), window=config.window, smoothing=smoothing)
        best, position, lead, _ = (torch.from_numpy(array) for array in found)
        step = float(planes[1] - planes[0])
        return Sweep(least + position * step, lead, (best > 0) & (best < len(planes) - 1), step)

    def refine(self, coarse: Sweep, prior: Tensor | None) -> tuple[Tensor, Tensor]:
        per_pixel = 1.0 / self.kernel_level.pixels_per_inverse_depth
        known = None if prior is None else resized_nearest(prior, self.kernel_level.size).contiguous()
        w, confidence = self.kernel_level.images.refine(
            self.color_array,
            coarse.w.numpy(),
            torch.where(coarse.inside, coarse.lead, 0.0).numpy(),
            None if known is None else known.numpy(),
            window=self.config.window,
            step=coarse.step,
            differs=1.5 * coarse.step,
            reach=SWEEP_REACH,
            prior_lead=self.config.prior_lead,
            taps=self.config.support_taps,
            stride=self.config.support_stride,
            color_sigma=self.config.color_sigma,
            nudge=0.6 * per_pixel,
            surface=self.config.same_surface * per_pixel,
            unique_lead=self.config.unique_lead,
            min_confidence=self.config.min_confidence,
            min_parallax=self.config.min_parallax,
        )
        return torch.from_numpy(w), torch.from_numpy(confidence)

    def _enlarged(self, w: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor]:
        size = self.reference.intrinsics
        depth, sure = kernels.enlarged_depth(
            w.numpy(),
            confidence.numpy(),
            width=size.width,
            height=size.height,
            surface=1.0 / self.kernel_level.pixels_per_inverse_depth,
        )
        return torch.from_numpy(depth), torch.from_numpy(sure)

    def _kernel_level(self, scale: float) -> KernelLevel:
        intrinsics = [shrunk(self.intrinsics, scale)]
        intrinsics += [shrunk(source.intrinsics, self.shrink * scale) for source in self.sources]
        return KernelLevel(self.grey_arrays, intrinsics, self.transforms, self.config.noise, self.config.hidden)


class KernelLevel:
    """`MatchLevel` for the kernels: images at one size, and where the points of the first land in the others."""

    def __init__(
        self,
        greys: Sequence[np.ndarray],  # [h, w] float32, 0..1, of any size; NaN: matches nothing
        intrinsics: Sequence[Intrinsics],  # at the size wanted
        source_from_reference: Sequence[np.ndarray],  # [4, 4] each
        noise: float,
        hidden: float,
    ):
        reference, *sources = intrinsics
        images = [_resized(grey, size) for grey, size in zip(greys, intrinsics, strict=True)]
        projections = [
            SourceProjection.between(reference, source, transform)
            for source, transform in zip(sources, source_from_reference, strict=True)
        ]
        self.size: tuple[int, int] = (reference.height, reference.width)
        self.pixels_per_inverse_depth = typical_rate(projections, reference.width, reference.height)
        columns = np.array([projection.columns for projection in projections], np.float32).reshape(-1, 3, 3)
        parallax = np.array([projection.parallax for projection in projections], np.float32).reshape(-1, 3)
        self.images = kernels.MatchLevel(images[0], images[1:], columns, parallax, noise=noise, hidden=hidden)


def _array(view: StereoView) -> np.ndarray:
    """[H, W, 3] uint8."""
    image = checked_image(view)
    return np.ascontiguousarray(image.numpy() if isinstance(image, Tensor) else image)


def _resized(grey: np.ndarray, size: Intrinsics) -> np.ndarray:
    if grey.shape == (size.height, size.width):
        return grey
    blind = np.isnan(grey)
    if not blind.any():
        return kernels.resized_grey(grey, width=size.width, height=size.height)
    seen = kernels.resized_grey(np.where(blind, np.float32(0.0), grey), width=size.width, height=size.height)
    return _blinded(seen, blind, size)


def _blinded(grey: np.ndarray, ignore: np.ndarray, size: Intrinsics) -> np.ndarray:
    """`grey`, NaN where a pixel at its `size` has anything of `ignore` ([H, W] bool, of any size) in it."""
    share = kernels.resized_grey(np.ascontiguousarray(ignore, np.float32), width=size.width, height=size.height)
    return np.where(share > 0, np.float32(np.nan), grey)
