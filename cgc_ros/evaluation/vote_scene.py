"""Mask votes of a synthetic room, without rendering: many blobs of Gaussians, a camera that passes along them, masks
that are cut, merged, missing, ragged and renumbered in every view.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cgc_ros.segmentation.votes import MaskVotes


@dataclass(frozen=True)
class Corruption:
    """Chances per object and view, and of single Gaussians."""

    missing: float = 0.15
    cut: float = 0.15
    merged: float = 0.08
    ragged: float = 0.04  # Gaussians whose mask is another one of the view


class VoteScene:
    """`objects` blobs of `gaussians` points in all, on a square floor; `truth` [N] is each point's object."""

    def __init__(self, objects: int, gaussians: int, seed: int = 0):
        self.rng = np.random.default_rng(seed)
        side = int(np.ceil(np.sqrt(objects)))
        self.centers = np.stack([np.arange(objects) % side, np.arange(objects) // side], axis=1).astype(float)
        self.extent = float(side)
        self.truth = self.rng.permutation(np.arange(gaussians) % objects)
        spread = self.rng.uniform(0.08, 0.2, objects)[self.truth]
        self.means = np.zeros((gaussians, 3))
        self.means[:, :2] = self.centers[self.truth]
        self.means += self.rng.normal(size=(gaussians, 3)) * spread[:, None]
        self.uids = np.arange(gaussians)

    def view(self, keyframe_id: int, visible: int, corruption: Corruption | None = None) -> MaskVotes:
        """Votes of a keyframe that sees the `visible` objects nearest to a place of the floor, four fifths of each."""
        corruption = corruption or Corruption()
        turn = 0.13 * keyframe_id  # a path that winds over the floor and comes back to where it was
        place = self.extent * (0.5 + 0.5 * np.array([np.cos(turn), np.sin(1.37 * turn)]))
        distances = np.linalg.norm(self.centers - place, axis=1)
        seen_objects = np.argsort(distances, kind="stable")[:visible]
        is_seen = np.zeros(len(self.centers), dtype=bool)
        is_seen[seen_objects] = True
        uids = np.flatnonzero(is_seen[self.truth] & (self.rng.random(len(self.truth)) < 0.8))
        masks = self._corrupted(uids, seen_objects, corruption)
        numbers, masks = np.unique(masks, return_inverse=True)
        shuffled = np.concatenate([[0], 1 + self.rng.permutation(int((numbers > 0).sum()))])
        masks = shuffled[masks + (numbers[0] > 0)]
        count = len(shuffled) - 1
        return MaskVotes(
            keyframe_id,
            keyframe_id * 10**9,
            self.uids[uids],
            masks.astype(np.int32),
            self.rng.gamma(2.0, 2.0, len(uids)).astype(np.float32) + np.float32(0.05),
            count,
            np.zeros(count + 1, dtype=bool),
            np.full(count + 1, 1.0 / max(visible, 1), dtype=np.float32),
        )

    def _corrupted(self, rows: np.ndarray, seen_objects: np.ndarray, corruption: Corruption) -> np.ndarray:
        """Mask of each of the points `rows`, any numbers, 0 = none."""
        truth, count = self.truth[rows], len(self.centers)
        mask_of = 1 + np.arange(count)
        fate = self.rng.random(count)
        steps = np.cumsum([corruption.missing, corruption.merged, corruption.cut])
        mask_of[fate < steps[0]] = 0
        merged = [each for each in seen_objects[:-1] if steps[0] <= fate[each] < steps[1]]
        neighbour = dict(zip(seen_objects[:-1].tolist(), seen_objects[1:].tolist(), strict=True))
        for each in merged:
            mask_of[each] = 1 + neighbour[int(each)]
        masks = mask_of[truth]
        is_cut = (fate >= steps[1]) & (fate < steps[2])
        direction = self.rng.normal(size=(count, 3))
        offset = self.means[rows].copy()
        offset[:, :2] -= self.centers[truth]
        side = np.einsum("nd,nd->n", offset, direction[truth]) > 0
        masks = np.where(is_cut[truth] & side, 1 + count + truth, masks)
        wrong = np.flatnonzero(self.rng.random(len(rows)) < corruption.ragged)
        masks[wrong] = self.rng.permutation(masks[wrong])
        return masks
