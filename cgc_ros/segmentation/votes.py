"""Which mask each Gaussian belongs to in each keyframe: the evidence that association works on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

MIN_WEIGHT = 0.05  # pixels: a Gaussian with less summed alpha * T than this is not seen in the view


@dataclass(frozen=True)
class MaskVotes:
    """One keyframe's masks, carried over to the Gaussians that are visible in it.

    A Gaussian's mask is the one that holds most of its blending weight (sum of alpha * T over the mask's pixels).
    """

    keyframe_id: int
    stamp_ns: int
    uids: np.ndarray  # [V] int64, visible Gaussians, sorted
    masks: np.ndarray  # [V] int32, index of the mask, 0 = outside every mask
    weights: np.ndarray  # [V] float32, that mask's summed weight, pixels
    num_masks: int  # masks are 1..num_masks
    touches_border: np.ndarray  # [num_masks + 1] bool
    area_share: np.ndarray  # [num_masks + 1] float32, share of the image
    standing: float = 1.0  # keyframes this view speaks for (more than one: the memory of departed ones)


def collect_votes(
    keyframe_id: int,
    stamp_ns: int,
    uids: Tensor,  # [N] int64
    votes: Tensor,  # [N, M + 1] float32 from rendering.mask_votes; column 0 = no mask
    masks: np.ndarray,  # [H, W] int32 in 0..M, as voted with
) -> MaskVotes:
    """Reduce dense votes to each visible Gaussian's mask."""
    visible = votes.sum(dim=1) > MIN_WEIGHT
    weights, best = votes[visible].max(dim=1)
    num_masks = votes.shape[1] - 1
    border = np.zeros(num_masks + 1, dtype=bool)
    for edge in (masks[0], masks[-1], masks[:, 0], masks[:, -1]):
        border[np.unique(edge)] = True
    area = np.bincount(masks.ravel(), minlength=num_masks + 1) / masks.size
    return MaskVotes(
        keyframe_id,
        stamp_ns,
        uids[visible].cpu().numpy(),
        best.to(torch.int32).cpu().numpy(),
        weights.cpu().numpy(),
        num_masks,
        border,
        area.astype(np.float32),
    )
