"""Which mask each Gaussian belongs to in each keyframe: the evidence that association works on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

MAX_TABLE_ID = 1_000_000


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


def compact_masks(masks: np.ndarray, min_pixels: int) -> tuple[np.ndarray, int]:
    """Renumber a mask image [H, W] to 1..M without gaps; masks below `min_pixels` become 0 (no mask)."""
    if masks.max(initial=0) > MAX_TABLE_ID:  # ids too large for a table
        masks = np.unique(np.where(masks > 0, masks, 0), return_inverse=True)[1].reshape(masks.shape) + (
            masks.min() > 0
        )
    masks = np.maximum(masks, 0)
    counts = np.bincount(masks.ravel())
    kept = counts >= min_pixels
    kept[0] = False
    numbers = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    return numbers[masks], int(kept.sum())


def collect_votes(
    keyframe_id: int,
    stamp_ns: int,
    uids: Tensor,  # [N] int64
    votes: Tensor,  # [N, M + 1] float32 from rendering.mask_votes; column 0 = no mask
    masks: np.ndarray,  # [H, W] int32 in 0..M, as voted with
    min_weight: float,  # pixels: a Gaussian with less summed alpha * T is not seen in the view
) -> MaskVotes:
    """Reduce dense votes to each visible Gaussian's mask."""
    visible = votes.sum(dim=1) > min_weight
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
