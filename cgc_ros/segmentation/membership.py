"""Which Gaussian belongs to which group of masks, from the votes for it and from where it lies."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from cgc_ros.segmentation.config import LabellingConfig, StrayConfig
from cgc_ros.segmentation.evidence import ObjectEvidence, number_among
from cgc_ros.segmentation.pieces import strays

_MOVED = 0.1  # share of a group's Gaussians that come or go before it is looked at again
_TURNS = 32  # updates in which every group is looked at once: Gaussians move


class Membership:
    """Group of every living Gaussian, kept from update to update; looks again only at groups that have changed."""

    def __init__(self, config: LabellingConfig, min_gaussians: int):
        self.config, self.min_gaussians = config, min_gaussians
        self.uids = np.zeros(0, np.int64)  # [N] sorted
        self.confidence = np.zeros(0, np.float32)  # [N]
        self.undecided = np.zeros(0, bool)  # [N] without a group, though most views that see it have a mask there
        self._clusters = np.zeros(0, np.int64)  # [N] before strays were taken away
        self._stray = np.zeros(0, bool)  # [N]
        self._moved = np.zeros(0, np.int64)  # [G + 1] Gaussians that came or went since a group was looked at
        self._changed = np.zeros(0, bool)  # [G + 1]
        self._turn = 0

    @property
    def is_new(self) -> bool:
        """Whether nothing was followed so far."""
        return len(self.uids) == 0

    def follow(
        self, evidence: ObjectEvidence, uids: np.ndarray, means: np.ndarray, everything: bool, apart: np.ndarray
    ) -> np.ndarray:
        """Group of each Gaussian of `uids` ([N] sorted, at `means` [N, 3]) as votes have it, [N] int64, -1 none. Those
        that lie `apart` (uids) are of no neighbour's group before votes say so.
        """
        tally, count = evidence.tally, len(evidence.views)
        rows = rows_among(tally.uids, uids)
        labels = tally.labels[rows].astype(np.int64)
        sizes = np.bincount(labels[labels >= 0], minlength=count)
        lasting = (sizes >= self.min_gaussians) & (evidence.views >= self.config.min_support * tally.observers(sizes))
        clusters = np.where(labels >= 0, np.where(np.append(lasting, False), np.arange(count + 1), -1)[labels], -1)
        silent, masked = tally.silent[rows], tally.masked[rows]
        seen = silent + masked > 0
        clusters = _inherited(clusters, seen, means)
        clusters[~seen & np.isin(uids, apart)] = -1
        self.confidence, self.undecided = tally.confidence[rows], (labels < 0) & (masked > silent)
        self._note(clusters, uids, count, everything)
        return clusters

    def part(self, clusters: np.ndarray, means: np.ndarray, config: StrayConfig) -> None:
        """Take strays out of `clusters` ([N], changed in place)."""
        due = self._changed[clusters] & (clusters >= 0)
        if due.any():
            self._stray[due] = strays(clusters[due], means[due], config)
        clusters[self._stray] = -1

    def take_changed(self) -> np.ndarray:
        """Groups that were looked at again in this update, [G + 1] bool."""
        self._moved[self._changed] = 0
        return self._changed

    def _note(self, clusters: np.ndarray, uids: np.ndarray, count: int, everything: bool) -> None:
        """Find the groups that are to be looked at again."""
        at = rows_among(self.uids, uids)
        known = at >= 0
        before, stray = np.full(len(uids), -1, np.int64), np.zeros(len(uids), bool)
        before[known], stray[known] = self._clusters[at[known]], self._stray[at[known]]
        others = np.flatnonzero(before != clusters)
        moved = np.zeros(max(count, int(before.max(initial=-1)) + 1, len(self._moved) - 1) + 1, np.int64)
        moved[: len(self._moved)] += self._moved
        for groups in (before[others], clusters[others]):
            moved += np.bincount(groups[groups >= 0], minlength=len(moved))
        sizes = np.bincount(clusters[clusters >= 0], minlength=len(moved))
        stray[others] = False
        self._turn = (self._turn + 1) % _TURNS
        turn = np.arange(len(moved)) % _TURNS == self._turn
        self._changed = (moved > _MOVED * sizes) | turn | everything
        self.uids, self._clusters, self._stray, self._moved = uids.copy(), clusters.copy(), stray, moved


def rows_among(known: np.ndarray, uids: np.ndarray) -> np.ndarray:
    """Row of each uid among the `known` ones, both rising; -1 for those that are not."""
    return np.arange(len(uids)) if np.array_equal(known, uids) else number_among(known, uids)


def _inherited(clusters: np.ndarray, seen: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Clusters [N] in which Gaussians that no view has voted on yet (not `seen`) have that of their nearest
    neighbour.
    """
    if seen.all() or not seen.any():
        return clusters
    # The quick way to build a tree: it is asked little.
    tree = cKDTree(means[seen], balanced_tree=False, compact_nodes=False)
    nearest = np.flatnonzero(seen)[tree.query(means[~seen])[1]]
    clusters[~seen] = clusters[nearest]
    return clusters
