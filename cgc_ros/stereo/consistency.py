"""Whether depth of one view holds in others that have depth of their own: confirmed, contradicted, or neither.

Each point is looked up in the other views' depth, as in COLMAP's and MVSNet's fusion (Schoenberger et al., ECCV 2016;
Yao et al., ECCV 2018). A view confirms it whose surface lies there, and contradicts it where it sees through: its
surface lies behind. A view that sees something in front says nothing. False depth before the scene, which becomes
floaters, is contradicted by most views that look past it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cgc_ros.frame import Intrinsics
from cgc_ros.stereo.config import ConsistencyConfig
from cgc_ros.stereo.matcher import StereoResult


@dataclass(frozen=True)
class PosedDepth:
    """Depth of a posed view."""

    depth: Tensor  # [H, W] float, along z, 0 = unknown
    intrinsics: Intrinsics
    world_from_camera: Tensor  # [4, 4] float64, optical frame, on the CPU


@dataclass(frozen=True)
class Consistency:
    """How many other views confirm, and contradict, each pixel's depth, [H, W] uint8."""

    confirming: Tensor
    contradicting: Tensor
    enough: int = ConsistencyConfig.enough  # views that confirm, or contradict

    @property
    def refuted(self) -> Tensor:
        """Contradicted by enough views, confirmed by fewer, [H, W] bool."""
        return (self.contradicting >= self.enough) & (self.confirming < self.enough)


def check_consistency(
    view: PosedDepth, others: Sequence[PosedDepth], config: ConsistencyConfig | None = None
) -> Consistency:
    """Looks the points of `view` up in the depth of others."""
    config = config or ConsistencyConfig()
    height, width = view.depth.shape
    step = max(1, round((height * width / config.checked_pixels) ** 0.5))
    depth = view.depth[step // 2 :: step, step // 2 :: step].float()
    k, device = view.intrinsics, depth.device
    rows, columns = (torch.arange(step // 2, size, step, device=device) for size in (height, width))
    x, y = ((columns - k.cx) / k.fx)[None] * depth, ((rows - k.cy) / k.fy)[:, None] * depth
    confirming, contradicting = (torch.zeros(depth.shape, dtype=torch.uint8, device=device) for _ in range(2))
    for other in others:
        there, ratio = _look_up(torch.stack((x, y, depth)), view, other)
        known = (depth > 0) & (there > 0)
        confirming += known & ((ratio - 1.0).abs() <= config.agreement)
        contradicting += known & (ratio < 1.0 - config.seen_through)
    both = torch.stack((confirming, contradicting))
    both = both.repeat_interleave(step, 1).repeat_interleave(step, 2)[:, :height, :width]
    missing = (0, width - both.shape[2], 0, height - both.shape[1])
    both = torch.nn.functional.pad(both, missing)
    return Consistency(both[0], both[1], config.enough)


def with_consistency(result: StereoResult, consistency: Consistency) -> StereoResult:
    """Depth without what others refute. Each view that confirms it halves the doubt that confidence leaves; each that
    contradicts it halves confidence.
    """
    keep = (result.depth > 0) & ~consistency.refuted
    doubt = (1.0 - result.confidence) * 0.5 ** consistency.confirming.float()
    confidence = (1.0 - doubt) * 0.5 ** consistency.contradicting.float()
    return StereoResult(torch.where(keep, result.depth, 0.0), torch.where(keep, confidence, 0.0))


def _look_up(points: Tensor, view: PosedDepth, other: PosedDepth) -> tuple[Tensor, Tensor]:
    """Depth [h, w] of another view where points [3, h, w] of `view` land in it, 0 where it has none; and how far they
    are from it, relative to that depth.
    """
    other_from_view = (torch.linalg.inv(other.world_from_camera) @ view.world_from_camera).to(points)
    x, y, z = torch.einsum("ij,jhw->ihw", other_from_view[:3, :3], points) + other_from_view[:3, 3, None, None]
    k, (height, width) = other.intrinsics, other.depth.shape
    ahead = z > 1e-9
    safe = torch.where(ahead, z, 1.0)
    column, row = (k.fx * x / safe + k.cx).round(), (k.fy * y / safe + k.cy).round()
    inside = ahead & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    index = torch.where(inside, row * width + column, 0.0).long()
    there = torch.where(inside, other.depth.reshape(-1)[index].float(), 0.0)
    return there, z / torch.where(there > 0, there, 1.0)
