"""Depth for a keyframe without a depth image: plane-sweep stereo against other posed keyframes.

`choose_partners` (partners.py) picks the keyframes to match with, `stereo_depth` matches, `common_depth` tells roughly
how far all of a view is. Nothing is assumed of the unit of the poses: depth comes out in the same. docs/stereo.md says
why each step is there and what it was measured to be worth.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cgc_ros.rendering.kernels import WHY_UNAVAILABLE
from cgc_ros.stereo.config import StereoConfig
from cgc_ros.stereo.cpu_matcher import CpuMatcher
from cgc_ros.stereo.matcher import Matcher, StereoResult, StereoView


@torch.no_grad()
def stereo_depth(
    reference: StereoView,
    sources: Sequence[StereoView],
    config: StereoConfig | None = None,
    prior_depth: np.ndarray | Tensor | None = None,
    *,
    backend: str | None = None,
) -> StereoResult:
    """Depth of `reference` from its parallax against one or more `sources`; no depth where the images do not settle it.

    Args:
        prior_depth: depth the map already renders in this view, [h, w] of any size, 0 or NaN where unknown. It widens
            the range searched and is tried as one more hypothesis a pixel; it may be wrong.
        backend: "cpu", the C++ kernels; "torch", on the device of the images. None: what suits that device,
            torch where there are no kernels.

    Raises:
        ValueError: an image does not have the size of its intrinsics.
    """
    matcher = _matcher(reference, sources, config, backend)
    prior = None if prior_depth is None else _inverse(torch.as_tensor(prior_depth, device=matcher.device))
    search = matcher.search_range(prior) if matcher.has_parallax else None
    if search is None:
        return matcher.nothing()
    coarse = matcher.sweep(*search)
    w, confidence = matcher.refine(coarse, prior)
    return matcher.full_size(w, confidence)


@torch.no_grad()
def common_depth(
    reference: StereoView,
    sources: Sequence[StereoView],
    config: StereoConfig | None = None,
    *,
    backend: str | None = None,
) -> float | None:
    """The one depth for all of `reference` at which the images agree best, in the unit of the poses.

    It takes much less parallax, texture and calibration than depth per pixel. None where the images agree as well at
    infinity: the camera has hardly moved.
    """
    matcher = _matcher(reference, sources, config, backend)
    return matcher.common_depth() if matcher.has_parallax else None


def _matcher(
    reference: StereoView, sources: Sequence[StereoView], config: StereoConfig | None, backend: str | None
) -> Matcher:
    on_cpu = not isinstance(reference.image, Tensor) or reference.image.device.type == "cpu"
    if backend not in (None, "cpu", "torch") or (backend == "cpu" and not on_cpu):
        raise ValueError(f"backend must be 'torch', or 'cpu' for images in main memory, not {backend!r}")
    config = config or StereoConfig()
    by_torch = backend == "torch" or not on_cpu or (backend is None and bool(WHY_UNAVAILABLE))
    made = Matcher if by_torch else CpuMatcher
    return made(reference, sources[: config.max_sources], config)


def _inverse(depth: Tensor) -> Tensor:
    """Inverse depth, 0 where depth is unknown."""
    return torch.where(torch.isfinite(depth) & (depth > 0), 1.0 / depth, 0.0).float()
