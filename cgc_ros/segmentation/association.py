"""Masks of many keyframes that show the same object, found by how the views agree on what belongs together.

Two masks show one object where most views that see both put them inside one and the same mask: the view consensus rate of
Yan et al., MaskClustering (CVPR 2024), here with masks carried by Gaussians and with merged, cut and missing masks expected
in every view. Association runs in both directions and over all keyframes at once, so it does not depend on their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from cgc_ros.segmentation.votes import MaskVotes


@dataclass(frozen=True)
class AssociationConfig:
    """Thresholds of the mask graph; every one is a share of 0..1."""

    consensus: float = 0.5  # of the views that see two masks, how many must hold them in one mask
    containment: float = 0.7  # a mask lies inside another from this share of its Gaussians on
    visibility: float = 0.3  # a view sees a mask from this share of its Gaussians on
    max_divided: float = 0.5  # a mask that more views than this divide covers several objects and is left out


@dataclass(frozen=True)
class MaskTable:
    """All masks of all keyframes in one numbering, 0..M-1."""

    votes: Sequence[MaskVotes]
    offsets: np.ndarray  # [K + 1]: mask m (1-based) of keyframe k has number offsets[k] + m - 1
    frame_of: np.ndarray  # [M] index of the keyframe

    @staticmethod
    def of(votes: Sequence[MaskVotes]) -> MaskTable:
        counts = np.array([v.num_masks for v in votes], dtype=np.int64)
        return MaskTable(votes, np.concatenate([[0], np.cumsum(counts)]), np.repeat(np.arange(len(votes)), counts))

    def __len__(self) -> int:
        return int(self.offsets[-1])


def incidence(table: MaskTable, uids: np.ndarray) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Which Gaussian lies in which mask ([N, M]) and is seen by which keyframe ([N, K]), both 0 or 1."""
    mask_rows, mask_columns, seen_rows, seen_columns = [], [], [], []
    for k, votes in enumerate(table.votes):
        rows = np.searchsorted(uids, votes.uids).clip(max=max(len(uids) - 1, 0))
        alive = uids[rows] == votes.uids
        rows, masks = rows[alive], votes.masks[alive]
        seen_rows.append(rows)
        seen_columns.append(np.full(len(rows), k))
        inside = masks > 0
        mask_rows.append(rows[inside])
        mask_columns.append(table.offsets[k] + masks[inside] - 1)
    return (
        _binary(mask_rows, mask_columns, (len(uids), len(table))),
        _binary(seen_rows, seen_columns, (len(uids), len(table.votes))),
    )


def associate(table: MaskTable, uids: np.ndarray, config: AssociationConfig) -> np.ndarray:
    """Cluster of every mask, [M] int64, -1 for masks that cover several objects or that no Gaussian carries.

    `uids` are the living Gaussians (sorted), or a sample of them.
    """
    clusters = np.full(len(table), -1, dtype=np.int64)
    if len(table) == 0 or len(uids) == 0:
        return clusters
    in_mask, seen_by = incidence(table, uids)
    relation = _relate(table, in_mask, seen_by, config)
    usable = relation.sizes > 0
    divided = relation.divided_by / np.maximum(relation.observed.sum(1), 1) > config.max_divided
    kept = np.nonzero(usable & ~divided)[0]
    if len(kept) == 0:
        return clusters
    support, observers = _consensus_counts(relation, kept)
    clusters[kept] = _average_linkage(support, observers, config.consensus)
    return clusters


@dataclass(frozen=True)
class _Relation:
    sizes: np.ndarray  # [M] Gaussians in each mask
    observed: np.ndarray  # [M, K] bool: keyframe k sees mask m and has masks there
    container: np.ndarray  # [M, K] number of the mask of keyframe k that holds mask m, -1 where none does
    divided_by: np.ndarray  # [M] views that observe the mask but hold it in no single mask


def _relate(table: MaskTable, in_mask: sparse.csr_matrix, seen_by: sparse.csr_matrix, config: AssociationConfig) -> _Relation:
    sizes = np.asarray(in_mask.sum(axis=0)).ravel()
    overlap = (in_mask.T @ in_mask).toarray()  # [M, M] Gaussians in common
    seen = (in_mask.T @ seen_by).toarray()  # [M, K] Gaussians of mask m that keyframe k sees
    starts = table.offsets[:-1]
    total, keyframes = len(table), len(table.votes)
    best = np.zeros((total, keyframes))
    container = np.full((total, keyframes), -1, dtype=np.int64)
    masked = np.zeros((total, keyframes))
    for k in range(keyframes):
        block = overlap[:, starts[k] : table.offsets[k + 1]]
        if block.shape[1]:
            container[:, k] = starts[k] + block.argmax(axis=1)
            best[:, k] = block.max(axis=1)
            masked[:, k] = block.sum(axis=1)
    # A view in which the object's mask is missing says nothing about it: it observes only what it has masks for.
    observed = (seen >= np.maximum(config.visibility * sizes[:, None], 1)) & (masked >= 0.5 * np.maximum(seen, 1))
    contained = observed & (best >= config.containment * np.maximum(masked, 1))
    container[~contained] = -1
    return _Relation(sizes, observed, container, (observed & ~contained).sum(axis=1))


def _consensus_counts(relation: _Relation, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every pair of kept masks: views that hold both in one mask, and views that observe both; [L, L] float32."""
    observed = relation.observed[kept].astype(np.float32)
    container = relation.container[kept]
    rows, frames = np.nonzero(container >= 0)
    holds = sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, container[rows, frames])), shape=(len(kept), len(relation.sizes)))
    return (holds @ holds.T).toarray(), observed @ observed.T


def _average_linkage(support: np.ndarray, observers: np.ndarray, threshold: float) -> np.ndarray:
    """Merge masks, then groups, while their pooled consensus exceeds `threshold`, the strongest first; [L] int64.

    Pairs whose views agree almost without exception are joined at once; the few groups that are left are merged greedily
    by pooled counts (support summed over pairs by observers summed over pairs).
    """
    groups = np.arange(len(support))
    for level in (0.95, 0.85):
        sure = (support >= level * observers) & (observers >= 3)
        labels = connected_components(sparse.csr_matrix(sure), directed=False)[1]
        groups = labels[groups]
        support, observers = _pool(support, labels), _pool(observers, labels)
    labels = np.arange(len(support))
    # A pair needs more than one view's word unless hardly anything has been seen yet.
    prior = 0.5
    while len(support) > 1:
        rate = support / (observers + prior)
        np.fill_diagonal(rate, 0.0)
        a, b = np.unravel_index(int(rate.argmax()), rate.shape)
        if rate[a, b] <= threshold:
            break
        a, b = min(a, b), max(a, b)
        for counts in (support, observers):
            counts[a] += counts[b]
            counts[:, a] += counts[:, b]
            counts[b] = 0.0
            counts[:, b] = 0.0
        labels[labels == b] = a
    return labels[groups]


def _pool(counts: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Sum a pairwise matrix [L, L] over groups, [G, G]."""
    member = sparse.csr_matrix((np.ones(len(labels), np.float32), (labels, np.arange(len(labels)))))
    return np.ascontiguousarray((member @ (member @ counts).T).T)


def _binary(rows: list[np.ndarray], columns: list[np.ndarray], shape: tuple[int, int]) -> sparse.csr_matrix:
    rows, columns = np.concatenate(rows), np.concatenate(columns)
    return sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=shape)
