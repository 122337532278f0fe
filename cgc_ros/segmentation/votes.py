"""Which mask each Gaussian belongs to in each keyframe: the evidence that association works on."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from cgc_ros.gaussians.storage import SavedState


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
    masks: np.ndarray,  # [H, W] int32 in 0..M, as voted with; below 0 the view says nothing
    min_weight: float,  # pixels: a Gaussian with less summed alpha * T is not seen in the view
) -> MaskVotes:
    """Reduce dense votes to each visible Gaussian's mask."""
    visible = votes.sum(dim=1) > min_weight
    weights, best = votes[visible].max(dim=1)
    num_masks = votes.shape[1] - 1
    border = np.zeros(num_masks + 1, dtype=bool)
    for edge in (masks[0], masks[-1], masks[:, 0], masks[:, -1]):
        border[np.unique(edge[edge >= 0])] = True
    area = np.bincount(masks[masks >= 0], minlength=num_masks + 1) / masks.size
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


def without(votes: MaskVotes, unseen: np.ndarray) -> MaskVotes:
    """The same view as if it did not see some of its Gaussians ([V] bool)."""
    kept = ~unseen
    return replace(votes, uids=votes.uids[kept], masks=votes.masks[kept], weights=votes.weights[kept])


def saved_votes(votes: Iterable[MaskVotes], living: np.ndarray) -> SavedState:
    """Keyframes' votes for a map file, in their order. Votes of Gaussians that are not among the `living` uids ([N],
    sorted) are left out: they count for nothing.

    Who is seen is a bit per living Gaussian, and masks take as few bytes as their number needs.
    """
    votes = list(votes)
    rows = [np.searchsorted(living, each.uids).clip(max=max(len(living) - 1, 0)) for each in votes]
    alive = [_taken(living, at) == each.uids for at, each in zip(rows, votes, strict=True)]
    seen = np.zeros((len(votes), len(living)), dtype=bool)
    for row, at, kept in zip(seen, rows, alive, strict=True):
        row[at[kept]] = True
    masks = _joined([each.masks[kept] for each, kept in zip(votes, alive, strict=True)], np.int32)
    arrays = {
        "seen": np.packbits(seen, axis=1),
        "masks": masks.astype(np.min_scalar_type(int(masks.max(initial=0)))),
        "weights": _joined([each.weights[kept] for each, kept in zip(votes, alive, strict=True)], np.float32),
        "borders": _joined([each.touches_border for each in votes], bool),
        "areas": _joined([each.area_share for each in votes], np.float32),
    }
    return SavedState(arrays, {"keyframes": [[each.keyframe_id, each.stamp_ns, each.num_masks] for each in votes]})


def restored_votes(state: SavedState, living: np.ndarray) -> OrderedDict[int, MaskVotes]:
    """What `saved_votes` gave, by keyframe; KeyError, TypeError or ValueError where it lacks or garbles something."""
    arrays, keyframes = state.arrays, [[int(value) for value in each] for each in state.info["keyframes"]]
    bits = arrays["seen"]
    if bits.shape != (len(keyframes), -(-len(living) // 8)):
        raise ValueError(f"votes of {len(keyframes)} keyframes on {len(living)} Gaussians have shape {bits.shape}")
    seen = np.unpackbits(bits, axis=1, count=len(living)).astype(bool)
    counts, sizes = seen.sum(axis=1), [num_masks + 1 for _, _, num_masks in keyframes]
    masks, weights = (_split(arrays[name], counts) for name in ("masks", "weights"))
    borders, areas = (_split(arrays[name], sizes) for name in ("borders", "areas"))
    votes = OrderedDict()
    for k, (keyframe_id, stamp_ns, num_masks) in enumerate(keyframes):
        if masks[k].max(initial=0) > num_masks:
            raise ValueError(f"keyframe {keyframe_id} votes for a mask beyond its {num_masks}")
        votes[keyframe_id] = MaskVotes(
            keyframe_id,
            stamp_ns,
            living[seen[k]],
            masks[k].astype(np.int32),
            weights[k],
            num_masks,
            borders[k].astype(bool),
            areas[k],
        )
    return votes


def _taken(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """`values[at]`; nothing that any id equals where there are no values."""
    return values[at] if len(values) else np.full(len(at), -1, dtype=np.int64)


def _joined(parts: list[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype)


def _split(values: np.ndarray, counts: Iterable[int]) -> list[np.ndarray]:
    """Consecutive parts of `counts` values each; ValueError where they are not as many in all."""
    ends = np.cumsum(list(counts), dtype=np.int64)
    if values.ndim != 1 or len(values) != (ends[-1] if len(ends) else 0):
        raise ValueError(f"votes hold {values.shape} values where {ends[-1] if len(ends) else 0} are wanted")
    return np.split(values, ends[:-1]) if len(ends) else []
