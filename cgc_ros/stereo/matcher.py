"""The steps of plane-sweep stereo in torch, and what they work on: posed views in, depth of the reference out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cgc_ros.frame import Intrinsics
from cgc_ros.stereo.config import StereoConfig
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


@dataclass(frozen=True)
class StereoView:
    """A posed image without lens distortion."""

    image: np.ndarray | Tensor  # [H, W, 3] uint8, RGB; a tensor's device is where matching runs
    intrinsics: Intrinsics
    world_from_camera: np.ndarray  # [4, 4] float64, optical frame
    #: [H, W] bool: pixels that get no depth and match nothing. A reference's windows reach there, so its image should
    #: go on from around them.
    ignore: np.ndarray | None = None


@dataclass(frozen=True)
class StereoResult:
    """Depth of the reference at its full size, on its device."""

    depth: Tensor  # [H, W] float32, along z, in the unit of the poses; 0 = invalid
    confidence: Tensor  # [H, W] float32, 0..1; 0 where depth is invalid


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


class Level(Protocol):
    """One image size that is matched at."""

    @property
    def size(self) -> tuple[int, int]: ...  # (h, w)

    pixels_per_inverse_depth: float


class Matcher:
    """The steps of `stereo_depth` on one reference, in torch: range, sweep, refinement, checks."""

    def __init__(self, reference: StereoView, sources: Sequence[StereoView], config: StereoConfig):
        self.reference, self.sources, self.config = reference, sources, config
        color = _color(reference)
        self.device = color.device
        self.shrink = min(1.0, math.sqrt(config.working_pixels / (color.shape[1] * color.shape[2])))
        self.transforms = [source_from_reference(source, reference) for source in sources]
        self.intrinsics = shrunk(reference.intrinsics, self.shrink)
        self.color = _resized(color, self.intrinsics)
        self.greys = [_grey(self.color)]
        for source in sources:
            grey = _grey(_color(source).to(self.device))
            if source.ignore is not None:
                grey[torch.as_tensor(source.ignore, device=self.device)] = math.nan  # as outside of the image
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
            known = resized_nearest(prior, (textured.shape[0], textured.shape[1]))
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
        if not 0 < best < len(score) - 1 or score[best] - score[0] < self.config.common_lead:
            return None
        return 1.0 / ((best + float(parabola_peak(*score[best - 1 : best + 2]))) * step)

    def _overview(self) -> tuple[Tensor, Tensor, float]:
        """Scores [D, h, w] of planes from infinity on at a quarter of the size, textured pixels [h, w], and the inverse
        depth between planes.
        """
        level = self._level(0.25)
        score = BoxWindow(level, self.config.window)
        planes = self._overview_planes(level)
        textured = self._is_textured(score.contrast)
        return plane_sweep(score, planes, level.chunk), textured, float(planes[1])

    def _is_textured(self, contrast: Tensor) -> Tensor:
        """Of the windows of a small image, those that tell depths apart and show nothing ignored, [h, w] bool."""
        textured = contrast > 3.0 / 255.0
        if self.reference.ignore is not None:
            ignored = torch.as_tensor(self.reference.ignore, device=self.device).float()
            textured &= F.adaptive_max_pool2d(ignored[None], (contrast.shape[0], contrast.shape[1]))[0] == 0
        return textured

    def _overview_planes(self, level: Level) -> Tensor:
        reach = 0.4 * level.size[1]  # pixels of parallax
        return torch.linspace(0.0, reach / level.pixels_per_inverse_depth, max(48, round(reach)), device=self.device)

    def _sweep_planes(self, level: Level, least: float, greatest: float) -> Tensor:
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
        surface = self.config.same_surface / self.level.pixels_per_inverse_depth
        alike = share_of_alike_neighbours(self.color, w, 1.5 * surface, self.config.color_sigma, reach=6)
        confidence = score.clamp(0.0, 1.0) * alike * lead / (lead + self.config.unique_lead)
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
            lead = torch.cat((lead, torch.full_like(known, self.config.prior_lead)))
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
        config = self.config
        support = SupportWindow(self.level, self.color, config.support_taps, config.support_stride, config.color_sigma)
        pair = hypotheses.w.gather(0, picked)
        pair_scores = support(pair)
        winner = (pair_scores - handicap.gather(0, picked)).max(0).indices[None]
        w, score = pair.gather(0, winner)[0], pair_scores.gather(0, winner)[0]

        nudge = 0.6 / self.level.pixels_per_inverse_depth
        below, above = support(torch.stack((w - nudge, w + nudge)))
        w = w + nudge * parabola_peak(below, score, above).clamp_(-1.0, 1.0)
        return w, score, hypotheses.lead.gather(0, picked.gather(0, winner))[0]

    def full_size(self, w: Tensor, confidence: Tensor) -> StereoResult:
        """Depth at the reference's size, none where pixels are ignored."""
        depth, confidence = self._enlarged(w, confidence)
        if self.reference.ignore is not None:
            confidence = confidence.masked_fill(torch.as_tensor(self.reference.ignore, device=self.device), 0.0)
        return StereoResult(torch.where(confidence > 0, depth, 0.0), confidence)

    def _enlarged(self, w: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor]:
        """Depth and confidence at the reference's size: interpolated inverse depth on a surface, nearest across edges;
        depth means nothing where confidence is 0.
        """
        size = (self.reference.intrinsics.height, self.reference.intrinsics.width)
        valid = (confidence > 0).float()
        nearest = resized_nearest(torch.stack((w, confidence)), size)
        weighted = torch.stack((w * valid, valid))[None]
        total, weight = F.interpolate(weighted, size=size, mode="bilinear", align_corners=False)[0]
        smooth = total / weight.clamp(min=1e-6)
        near = (smooth - nearest[0]).abs() < 1.0 / self.level.pixels_per_inverse_depth
        return torch.where(near, smooth, nearest[0]).clamp(min=1e-12).reciprocal(), nearest[1]

    def nothing(self) -> StereoResult:
        empty = torch.zeros(self.reference.intrinsics.height, self.reference.intrinsics.width, device=self.device)
        return StereoResult(empty, empty.clone())

    def _level(self, scale: float) -> MatchLevel:
        """The images shrunk once more by `scale`."""
        intrinsics = [shrunk(self.intrinsics, scale)]
        intrinsics += [shrunk(source.intrinsics, self.shrink * scale) for source in self.sources]
        greys = [_resized(grey[None], size)[0] for grey, size in zip(self.greys, intrinsics, strict=True)]
        return MatchLevel(
            greys[0],
            greys[1:],
            intrinsics[0],
            intrinsics[1:],
            self.transforms,
            noise=self.config.noise,
            hidden=self.config.hidden,
        )


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


def _color(view: StereoView) -> Tensor:
    """[3, H, W] float, 0..1."""
    image = checked_image(view)
    image = image if isinstance(image, Tensor) else torch.tensor(image, device="cpu")
    return image.permute(2, 0, 1).float().div_(255.0)


def _grey(color: Tensor) -> Tensor:
    """[3, h, w] -> [h, w], ITU-R BT.601."""
    return torch.tensordot(torch.tensor([0.299, 0.587, 0.114], device=color.device), color, dims=1)


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
