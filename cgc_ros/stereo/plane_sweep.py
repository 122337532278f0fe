"""Depth for a keyframe without a depth image: plane-sweep stereo against other posed keyframes.

`choose_partners` (partners.py) picks the keyframes to match with, `stereo_depth` matches, `common_depth` tells roughly
how far all of a view is. Nothing is assumed of the unit of the poses: depth comes out in the same. docs/stereo.md says
why each step is there and what it was measured to be worth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cgc_ros.frame import Intrinsics
from cgc_ros.stereo.matching import BoxWindow, MatchLevel, SupportWindow
from cgc_ros.stereo.selection import (
    agreeing_neighbours,
    best_plane,
    keeps_its_match,
    parabola_peak,
    plane_sweep,
    semi_global,
    share_of_alike_neighbours,
)

UNIQUE_LEAD = 0.05  # lead over the next best plane (`best_plane`) that makes a match half as credible as a lone one
PRIOR_LEAD = 0.15  # lead that a prior's depth is credited with, having none of its own
SUPPORT_TAPS, SUPPORT_STRIDE = 5, 2  # 5 x 5 samples over 9 x 9 pixels: as good as all 49 of 7 x 7, and half the time
COMMON_LEAD = 0.02  # mean ZNCC by which one depth for the whole view must beat infinity
SAME_SURFACE = 2.0  # pixels of parallax between two depths taken to be one surface


@dataclass(frozen=True)
class StereoConfig:
    """How `stereo_depth` matches. Lengths in pixels are at the working size unless they say otherwise."""

    working_pixels: int = 153_600  # images are shrunk to about this many pixels (453x339); larger is finer and slower
    max_sources: int = 5  # sources used, the first ones given
    max_planes: int = 96  # planes of the sweep, at half the working size
    plane_step: float = 1.0  # pixels of parallax between planes at half the working size; wider where max_planes asks
    window: int = 5  # pixels, side of the square windows; odd
    noise: float = 1.0 / 255.0  # standard deviation of a grey value (0..1): flat windows under it do not correlate
    smooth_small: float = 0.15  # semi-global: cost (of 1 - ZNCC) of a step of one plane between neighbours
    smooth_large: float = 1.0  # semi-global: cost of a larger step where the image is flat
    smooth_edge: float = 8.0 / 255.0  # semi-global: grey-level change that halves what smooth_large adds
    colour_sigma: float = 20.0 / 255.0  # colours further apart than this are taken for different surfaces
    min_confidence: float = 0.3  # less confident pixels get no depth: raise for fewer outliers
    min_parallax: float = 6.0  # pixels from where a point at infinity would be: with less, depth is all pose error


@dataclass(frozen=True)
class StereoView:
    """A posed image without lens distortion."""

    image: np.ndarray | Tensor  # [H, W, 3] uint8, RGB; a tensor's device is where matching runs
    intrinsics: Intrinsics
    world_from_camera: np.ndarray  # [4, 4] float64, optical frame


@dataclass(frozen=True)
class StereoResult:
    """Depth of the reference at its full size, on its device."""

    depth: Tensor  # [H, W] float32, along z, in the unit of the poses; 0 = invalid
    confidence: Tensor  # [H, W] float32, 0..1; 0 where depth is invalid


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
        backend: "cpu", the C++ kernels; "torch", on the device of the images. None: what suits that device.

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
    from cgc_ros.stereo.cpu_matcher import CpuMatcher  # which derives from Matcher

    on_cpu = not isinstance(reference.image, Tensor) or reference.image.device.type == "cpu"
    if backend not in (None, "cpu", "torch") or (backend == "cpu" and not on_cpu):
        raise ValueError(f"backend must be 'torch', or 'cpu' for images in main memory, not {backend!r}")
    config = config or StereoConfig()
    made = Matcher if backend == "torch" or not on_cpu else CpuMatcher
    return made(reference, sources[: config.max_sources], config)


@dataclass(frozen=True)
class Sweep:
    """What the plane sweep at half the working size found, [h, w] each."""

    w: Tensor  # inverse depth
    lead: Tensor  # how unique, `best_plane`
    inside: Tensor  # bool: not at an end of the range searched
    step: float  # inverse depth between planes


@dataclass(frozen=True)
class _Hypotheses:
    """K depths to choose between at each pixel of the working size, [K, h, w] each."""

    w: Tensor  # inverse depth
    lead: Tensor  # how unique, 0 where not to be trusted


class Matcher:
    """The steps of `stereo_depth` on one reference, in torch: range, sweep, refinement, checks."""

    def __init__(self, reference: StereoView, sources: Sequence[StereoView], config: StereoConfig):
        self.reference, self.sources, self.config = reference, sources, config
        colour = _colour(reference)
        self.device = colour.device
        self.shrink = min(1.0, math.sqrt(config.working_pixels / (colour.shape[1] * colour.shape[2])))
        self.transforms = [source_from_reference(source, reference) for source in sources]
        self.intrinsics = shrunk(reference.intrinsics, self.shrink)
        self.colour = _resized(colour, self.intrinsics)
        self.greys = [_grey(self.colour)]
        for source in sources:
            grey = _grey(_colour(source).to(self.device))
            self.greys.append(_resized(grey[None], shrunk(source.intrinsics, self.shrink))[0])
        self.level = self._level(1.0)
        self.has_parallax = self.level.pixels_per_inverse_depth > 0

    def search_range(self, prior: Tensor | None) -> tuple[float, float] | None:
        """Inverse depths, least and greatest, of what a sweep of everything at a quarter of the size agrees on."""
        volume, textured, step = self._overview()
        best, position, _ = best_plane(volume)
        sure = (volume.gather(0, best[None])[0] > 0.7) & textured
        found = position[sure] * step
        if prior is not None:
            known = resized_nearest(prior, tuple(textured.shape))
            found = torch.cat((found, known[known > 0]))
        if found.numel() < 20:
            return None
        least, greatest = torch.quantile(found, torch.tensor([0.02, 0.98], device=self.device)).tolist()
        margin = 0.1 * (greatest - least) + step
        return max(least - margin, 0.0), greatest + margin

    def common_depth(self) -> float | None:
        volume, textured, step = self._overview()
        if not textured.any():
            return None
        score = volume[:, textured].mean(1)
        best = int(score.argmax())
        if not 0 < best < len(score) - 1 or score[best] - score[0] < COMMON_LEAD:
            return None
        return 1.0 / ((best + float(parabola_peak(*score[best - 1 : best + 2]))) * step)

    def _overview(self) -> tuple[Tensor, Tensor, float]:
        """Scores [D, h, w] of planes from infinity on at a quarter of the size, textured pixels [h, w], and the inverse
        depth between planes.
        """
        level = self._level(0.25)
        score = BoxWindow(level, self.config.window)
        planes = self._overview_planes(level)
        return plane_sweep(score, planes, level.chunk), score.contrast > 3.0 / 255.0, float(planes[1])

    def _overview_planes(self, level: MatchLevel) -> Tensor:
        reach = 0.4 * level.size[1]  # pixels of parallax
        return torch.linspace(0.0, reach / level.pixels_per_inverse_depth, max(48, round(reach)), device=self.device)

    def _sweep_planes(self, level: MatchLevel, least: float, greatest: float) -> Tensor:
        wanted = math.ceil((greatest - least) * level.pixels_per_inverse_depth / self.config.plane_step) + 1
        return torch.linspace(least, greatest, min(max(wanted, 12), self.config.max_planes), device=self.device)

    def sweep(self, least: float, greatest: float) -> Sweep:
        """All planes between two inverse depths at half the working size, smoothed semi-globally."""
        config = self.config
        level = self._level(0.5)
        planes = self._sweep_planes(level, least, greatest)
        volume = plane_sweep(BoxWindow(level, config.window), planes, level.chunk)
        volume = semi_global(volume, level.reference, config.smooth_small, config.smooth_large, config.smooth_edge)
        best, position, lead = best_plane(volume)
        inside = (best > 0) & (best < len(planes) - 1)
        step = float(planes[1] - planes[0])
        return Sweep(least + position * step, lead, inside, step)

    def refine(self, coarse: Sweep, prior: Tensor | None) -> tuple[Tensor, Tensor]:
        """Inverse depth and confidence (0 where not trusted) at the working size, [h, w] each."""
        w, score, lead = self._decide(self._hypotheses(coarse, prior), coarse.step)
        surface = SAME_SURFACE / self.level.pixels_per_inverse_depth
        alike = share_of_alike_neighbours(self.colour, w, 1.5 * surface, self.config.colour_sigma, reach=6)
        confidence = score.clamp(0.0, 1.0) * alike * lead / (lead + UNIQUE_LEAD)
        confidence = torch.where(confidence >= self.config.min_confidence, confidence, 0.0)
        confidence = torch.where(keeps_its_match(self.level, w, confidence, surface), confidence, 0.0)
        w, support = agreeing_neighbours(w, confidence, surface, reach=3)
        trusted = support >= self.config.min_confidence * 2.0 / 3.0
        trusted &= self.level.parallax(w) >= self.config.min_parallax
        return w, torch.where(trusted, confidence, 0.0)

    def _hypotheses(self, coarse: Sweep, prior: Tensor | None) -> _Hypotheses:
        """The sweep's depth at a pixel and a way around it (beyond an edge that fattened over it), and the prior's."""
        size, reach = self.level.size, 3
        maps = torch.stack((coarse.w, coarse.lead, coarse.inside.float()))
        padded = F.pad(maps[None], (reach,) * 4, mode="replicate")[0]
        height, width = coarse.w.shape
        offsets = ((0, 0), (0, -reach), (0, reach), (-reach, 0), (reach, 0))
        shifted = [padded[:, reach + dy : reach + dy + height, reach + dx : reach + dx + width] for dy, dx in offsets]
        w, lead, inside = resized_nearest(torch.stack(shifted, dim=1), size)
        smooth = F.interpolate(coarse.w[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
        w[0] = torch.where((smooth - w[0]).abs() < coarse.step, smooth, w[0])
        if prior is not None:
            known = resized_nearest(prior, size)[None]
            w, inside = torch.cat((w, known)), torch.cat((inside, (known > 0).float()))
            lead = torch.cat((lead, torch.full_like(known, PRIOR_LEAD)))
        return _Hypotheses(w, torch.where(inside > 0, lead, 0.0))

    def _decide(self, hypotheses: _Hypotheses, step: float) -> tuple[Tensor, Tensor, Tensor]:
        """Inverse depth, refined; its score; and its lead, [h, w] each.

        Square windows leave the two best hypotheses that differ; support windows, dearer, decide and refine.
        """
        handicap = 0.3 * (hypotheses.lead <= 0)
        scores = BoxWindow(self.level, self.config.window)(hypotheses.w) - handicap
        first = scores.max(0).indices[None]
        differs = (hypotheses.w - hypotheses.w.gather(0, first)).abs() > 1.5 * step
        picked = torch.cat((first, torch.where(differs, scores, -2.0).max(0).indices[None]))
        support = SupportWindow(self.level, self.colour, SUPPORT_TAPS, SUPPORT_STRIDE, self.config.colour_sigma)
        pair = hypotheses.w.gather(0, picked)
        pair_scores = support(pair)
        winner = (pair_scores - handicap.gather(0, picked)).max(0).indices[None]
        w, score = pair.gather(0, winner)[0], pair_scores.gather(0, winner)[0]

        nudge = 0.6 / self.level.pixels_per_inverse_depth
        below, above = support(torch.stack((w - nudge, w + nudge)))
        w = w + nudge * parabola_peak(below, score, above).clamp_(-1.0, 1.0)
        return w, score, hypotheses.lead.gather(0, picked.gather(0, winner))[0]

    def full_size(self, w: Tensor, confidence: Tensor) -> StereoResult:
        """Depth at the reference's size: interpolated inverse depth on a surface, nearest across edges."""
        size = (self.reference.intrinsics.height, self.reference.intrinsics.width)
        valid = (confidence > 0).float()
        nearest = resized_nearest(torch.stack((w, confidence)), size)
        weighted = torch.stack((w * valid, valid))[None]
        total, weight = F.interpolate(weighted, size=size, mode="bilinear", align_corners=False)[0]
        smooth = total / weight.clamp(min=1e-6)
        near = (smooth - nearest[0]).abs() < 1.0 / self.level.pixels_per_inverse_depth
        depth = torch.where(near, smooth, nearest[0]).clamp(min=1e-12).reciprocal()
        return StereoResult(torch.where(nearest[1] > 0, depth, 0.0), nearest[1])

    def nothing(self) -> StereoResult:
        empty = torch.zeros(self.reference.intrinsics.height, self.reference.intrinsics.width, device=self.device)
        return StereoResult(empty, empty.clone())

    def _level(self, scale: float) -> MatchLevel:
        """The images shrunk once more by `scale`."""
        intrinsics = [shrunk(self.intrinsics, scale)]
        intrinsics += [shrunk(source.intrinsics, self.shrink * scale) for source in self.sources]
        greys = [_resized(grey[None], size)[0] for grey, size in zip(self.greys, intrinsics, strict=True)]
        return MatchLevel(greys[0], greys[1:], intrinsics[0], intrinsics[1:], self.transforms, self.config.noise)


def source_from_reference(source: StereoView, reference: StereoView) -> np.ndarray:
    """[4, 4] float64."""
    source_pose, reference_pose = (np.asarray(view.world_from_camera, dtype=np.float64) for view in (source, reference))
    return np.linalg.inv(source_pose) @ reference_pose


def checked_image(view: StereoView) -> np.ndarray | Tensor:
    """The view's image, [H, W, 3]. Raises ValueError where it does not have the size of its intrinsics."""
    expected = (view.intrinsics.height, view.intrinsics.width, 3)
    if tuple(view.image.shape) != expected:
        raise ValueError(
            f"image is {tuple(view.image.shape)} where its intrinsics ask for {expected}: pass the image and the "
            "calibration of the same stream"
        )
    return view.image


def _colour(view: StereoView) -> Tensor:
    """[3, H, W] float, 0..1."""
    image = checked_image(view)
    image = image if isinstance(image, Tensor) else torch.tensor(image, device="cpu")
    return image.permute(2, 0, 1).float().div_(255.0)


def _grey(colour: Tensor) -> Tensor:
    """[3, h, w] -> [h, w], ITU-R BT.601."""
    return torch.tensordot(torch.tensor([0.299, 0.587, 0.114], device=colour.device), colour, dims=1)


def shrunk(intrinsics: Intrinsics, scale: float) -> Intrinsics:
    return intrinsics.scaled_to(max(8, round(intrinsics.width * scale)), max(8, round(intrinsics.height * scale)))


def _resized(images: Tensor, intrinsics: Intrinsics) -> Tensor:
    """[C, H, W] at the size of `intrinsics`, low-passed."""
    size = (intrinsics.height, intrinsics.width)
    if images.shape[1:] == size:
        return images
    return F.interpolate(images[None], size=size, mode="bilinear", antialias=True, align_corners=False)[0]


def resized_nearest(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """[..., h, w] at another size, nearest pixel."""
    flat = maps.reshape(1, -1, *maps.shape[-2:])
    return F.interpolate(flat, size=size, mode="nearest-exact").reshape(*maps.shape[:-2], *size)


def _inverse(depth: Tensor) -> Tensor:
    """Inverse depth, 0 where depth is unknown."""
    return torch.where(torch.isfinite(depth) & (depth > 0), 1.0 / depth, 0.0).float()
