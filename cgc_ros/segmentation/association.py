"""Masks of many keyframes that show the same object, found by how the views agree on what belongs together.

For every view, a mask is the distribution of its Gaussians over that view's own masks, each counted by the pixels that
it takes in the mask: a strip of plain floor along a table is a few wide Gaussians, and many narrow ones of the table's
edge that a ragged border gave it. Two masks show one object
where these distributions agree in most views that see both: a soft form of the view consensus rate of Yan et al.,
MaskClustering (CVPR 2024), with no threshold on containment, so that cut, merged, missing and ragged masks in any one
view cost little. All keyframes are associated at once and in both directions, so the result does not depend on their
order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from cgc_ros.segmentation.config import AssociationConfig
from cgc_ros.segmentation.votes import MaskVotes

ROUNDING = 1e-3  # views: sums of shares are single precision


@dataclass(frozen=True)
class MaskTable:
    """All masks of all keyframes in one numbering, 0..M-1."""

    votes: Sequence[MaskVotes]
    offsets: np.ndarray  # [K + 1]: mask m (1-based) of keyframe k has number offsets[k] + m - 1
    frame_of: np.ndarray  # [M] index of the keyframe

    @staticmethod
    def of(votes: Sequence[MaskVotes]) -> MaskTable:
        """Number the masks of all keyframes through."""
        counts = np.array([v.num_masks for v in votes], dtype=np.int64)
        return MaskTable(votes, np.concatenate([[0], np.cumsum(counts)]), np.repeat(np.arange(len(votes)), counts))

    def __len__(self) -> int:
        return int(self.offsets[-1])


@dataclass(frozen=True)
class Incidence:
    """Gaussians of a map, by row, and who shows them."""

    in_mask: sparse.csr_matrix  # [N, M] 0 or 1: lies in the mask
    share: sparse.csr_matrix  # [N, M] pixels it takes in the mask, in units of their mean over the mask's Gaussians
    seen_by: sparse.csr_matrix  # [N, K] 0 or 1: is seen by the keyframe


def incidence(table: MaskTable, uids: np.ndarray) -> Incidence:
    """Which of the Gaussians `uids` lie in which masks."""
    mask_rows, mask_columns, seen_rows, seen_columns, weights = [], [], [], [], []
    for k, votes in enumerate(table.votes):
        rows = np.searchsorted(uids, votes.uids).clip(max=max(len(uids) - 1, 0))
        alive = uids[rows] == votes.uids
        rows, masks = rows[alive], votes.masks[alive]
        seen_rows.append(rows)
        seen_columns.append(np.full(len(rows), k))
        inside = masks > 0
        mask_rows.append(rows[inside])
        mask_columns.append(table.offsets[k] + masks[inside] - 1)
        weights.append(votes.weights[alive][inside])
    in_mask = _binary(mask_rows, mask_columns, (len(uids), len(table)))
    seen_by = _binary(seen_rows, seen_columns, (len(uids), len(table.votes)))
    rows, columns, weight = np.concatenate(mask_rows), np.concatenate(mask_columns), np.concatenate(weights)
    total = np.bincount(columns, weights=weight, minlength=len(table))
    mean = np.maximum(total, 1e-9) / np.maximum(np.bincount(columns, minlength=len(table)), 1)
    share = sparse.csr_matrix(((weight / mean[columns]).astype(np.float32), (rows, columns)), shape=in_mask.shape)
    return Incidence(in_mask, share, seen_by)


def associate(table: MaskTable, uids: np.ndarray, config: AssociationConfig) -> np.ndarray:
    """Cluster of every mask, [M] int64, -1 for masks that cover several objects or that no Gaussian carries.

    `uids` are the living Gaussians (sorted), or a sample of them. All at once: parts of objects are found so, and what
    `overlaps` and `groups` keep up to date is held against it.
    """
    clusters = np.full(len(table), -1, dtype=np.int64)
    if len(table) == 0 or len(uids) == 0:
        return clusters
    shares, observed = _mask_shares(table, incidence(table, uids), config)
    standing = np.array([votes.standing for votes in table.votes], dtype=np.float32)
    # Every mask is pure in its own view: only what the others say counts.
    others = observed @ standing - standing[table.frame_of]
    purity = _reduce_frames(np.maximum, shares, table) @ standing - standing[table.frame_of]
    kept = np.nonzero(observed.any(axis=1) & (purity >= config.purity * others - ROUNDING))[0]
    if len(kept) == 0:
        return clusters
    agreement, observers = _agreement(table, shares, observed, kept)
    clusters[kept] = average_linkage(agreement, observers, config)
    return clusters


def _mask_shares(table: MaskTable, found: Incidence, config: AssociationConfig) -> tuple[np.ndarray, np.ndarray]:
    """How each mask's Gaussians spread over the masks of every view, [M, M] rows summing to 1 per view that observes
    the mask and 0 elsewhere; and which views observe it, [M, K] bool.
    """
    sizes = np.asarray(found.share.sum(axis=0)).ravel()
    overlap = (found.share.T @ found.in_mask).toarray()  # [M, M] what of mask m (row) lies in the other
    seen = (found.share.T @ found.seen_by).toarray()  # [M, K] what of mask m view k sees
    masked = _reduce_frames(np.add, overlap, table)
    # A view in which the object's mask is missing says nothing about it: it observes only what it has masks for.
    observed = (seen >= np.maximum(config.visibility * sizes[:, None], 1)) & (
        masked >= config.masked_share * np.maximum(seen, 1)
    )
    scale = np.where(observed, 1.0 / np.maximum(masked, 1.0), 0.0).astype(np.float32)
    return overlap * scale[:, table.frame_of], observed


def _reduce_frames(reduce: np.ufunc, values: np.ndarray, table: MaskTable) -> np.ndarray:
    """Reduce the columns [.., M] of each view, [.., K]; views without masks give 0."""
    result = np.zeros((values.shape[0], len(table.votes)), dtype=values.dtype)
    filled = np.flatnonzero(np.diff(table.offsets))
    result[:, filled] = reduce.reduceat(values, table.offsets[:-1][filled], axis=1)
    return result


def _agreement(
    table: MaskTable, shares: np.ndarray, observed: np.ndarray, kept: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """For every pair of kept masks: cosine of their distributions summed over views, and views that observe both;
    [L, L].
    """
    shares = shares[kept]
    norms = np.sqrt(_reduce_frames(np.add, shares * shares, table))
    unit = sparse.csr_matrix(shares / np.maximum(norms, 1e-9)[:, table.frame_of])
    standing = np.sqrt([votes.standing for votes in table.votes]).astype(np.float32)
    unit = unit @ sparse.diags(standing[table.frame_of])
    seen = observed[kept] * standing
    return (unit @ unit.T).toarray(), seen @ seen.T


def average_linkage(agreement: np.ndarray, observers: np.ndarray, config: AssociationConfig) -> np.ndarray:
    """Merge masks (or groups of them), while their pooled consensus exceeds the config's, the strongest first.

    `agreement` and `observers` [L, L] are sums over pairs of masks; returns clusters [L] int64. Pairs whose views agree
    almost without exception are joined at once; the few groups that are left are merged greedily by pooled counts
    (agreement summed over pairs by observers summed over pairs).
    """
    groups = np.arange(len(agreement))
    for level in config.sure_levels:
        sure = (agreement >= level * observers) & (observers >= config.sure_observers)
        labels = connected_components(sparse.csr_matrix(sure), directed=False)[1]
        groups = labels[groups]
        agreement, observers = _pool(agreement, labels), _pool(observers, labels)
    labels = np.arange(len(agreement))
    rate = agreement / (observers + config.prior_observers)
    np.fill_diagonal(rate, 0.0)
    best = rate.argmax(axis=1) if len(rate) else np.zeros(0, np.int64)  # of each row, so that a merge looks at few rows
    most = rate[np.arange(len(rate)), best]
    while len(rate) > 1:
        a = int(most.argmax())
        b = int(best[a])
        if most[a] <= config.consensus:
            break
        for counts in (agreement, observers):
            counts[a] += counts[b]
            counts[:, a] += counts[:, b]
            counts[b] = 0.0
            counts[:, b] = 0.0
        rate[a] = rate[:, a] = agreement[a] / (observers[a] + config.prior_observers)  # only theirs have changed
        rate[b] = rate[:, b] = rate[a, a] = 0.0
        labels[labels == b] = a
        better = (rate[:, a] > most) | ((rate[:, a] == most) & (best > a))
        best[better], most[better] = a, rate[better, a]
        lost = np.flatnonzero(((best == a) & ~better) | (best == b))
        lost = np.union1d(lost, [a, b])
        best[lost] = rate[lost].argmax(axis=1)
        most[lost] = rate[lost, best[lost]]
    return np.unique(labels[groups], return_inverse=True)[1]


def _pool(counts: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Sum a pairwise matrix [L, L] over groups, [G, G]."""
    member = sparse.csr_matrix((np.ones(len(labels), np.float32), (labels, np.arange(len(labels)))))
    return np.ascontiguousarray((member @ (member @ counts).T).T)


def _binary(rows: list[np.ndarray], columns: list[np.ndarray], shape: tuple[int, int]) -> sparse.csr_matrix:
    cells = (np.concatenate(rows), np.concatenate(columns))
    return sparse.csr_matrix((np.ones(len(cells[0]), np.float32), cells), shape=shape)
