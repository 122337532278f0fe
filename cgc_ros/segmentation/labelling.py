"""From associated masks to one object per Gaussian, with ids that last."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import sparse
from scipy.optimize import linear_sum_assignment

from cgc_ros.gaussians.storage import SavedState
from cgc_ros.segmentation.association import MaskTable

OBSERVED_SHARE = 0.5  # of a cluster's Gaussians that a view must see to be asked about it
MAX_OBJECT_ID = 65534  # 65535 is the label image's "unlabelled"


@dataclass(frozen=True)
class Labelling:
    """The best-supported cluster of every Gaussian."""

    clusters: np.ndarray  # [N] int64, -1 = none
    confidence: np.ndarray  # [N] float32, the cluster's share of the Gaussian's votes
    undecided: np.ndarray  # [N] bool: without a cluster, though most views that see it have a mask there
    seen: np.ndarray  # [N] bool: at least one view sees it
    observers: np.ndarray  # [C] keyframes that see a good part of each cluster's Gaussians


def label_gaussians(table: MaskTable, mask_clusters: np.ndarray, uids: np.ndarray, min_share: float = 0.3) -> Labelling:
    """Majority vote: each keyframe gives a Gaussian's weight to the cluster of its mask; [N] labels over `uids`.

    Masks that cover several objects (cluster -1) do not vote. A view without a mask there votes for no object, so what
    most views leave out stays unlabelled, and what a view or two miss does not.
    """
    count = len(uids)
    num_clusters = int(mask_clusters.max(initial=-1)) + 1
    if num_clusters == 0 or count == 0:
        nothing = np.zeros(count, dtype=bool)
        none = np.full(count, -1, dtype=np.int64)
        return Labelling(none, np.zeros(count, np.float32), nothing, nothing, np.zeros(num_clusters, dtype=np.int64))
    rows, columns, weights, seen_rows = [], [], [], []
    silent, masked = np.zeros(count), np.zeros(count)
    for k, votes in enumerate(table.votes):
        at = np.searchsorted(uids, votes.uids).clip(max=count - 1)
        alive = uids[at] == votes.uids
        # Near views would outvote all others by their pixel count: a view's voice grows with the square root only.
        at, masks, voice = at[alive], votes.masks[alive], np.sqrt(votes.weights[alive])
        seen_rows.append(at)
        silent[at[masks == 0]] += voice[masks == 0]
        masked[at[masks > 0]] += voice[masks > 0]
        clusters = np.where(masks > 0, mask_clusters[table.offsets[k] + masks - 1], -1)
        voting = clusters >= 0
        rows.append(at[voting])
        columns.append(clusters[voting])
        weights.append(voice[voting])
    histogram = sparse.csr_matrix(
        (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))), shape=(count, num_clusters)
    )
    voted = np.asarray(histogram.sum(axis=1)).ravel()
    best, most = _strongest(histogram)
    chosen = (voted > 0) & (most >= min_share * (voted + silent))
    confidence = (most / np.maximum(voted, 1e-9)).astype(np.float32)
    clusters = np.where(chosen, best, -1)
    return Labelling(
        clusters,
        confidence,
        ~chosen & (masked > silent),
        masked + silent > 0,
        _observers(clusters, seen_rows, num_clusters),
    )


def object_confidence(shares: np.ndarray, views: int) -> float:
    """How sure, 0..1, it is that Gaussians are one object which `views` keyframes show as one; `shares` [n] are the
    shares of their votes that agree.

    The mean of the shares, as if one view more had denied it: what two views agree on is less sure than what forty do.
    """
    return float(shares.mean()) * views / (views + 1)


def _observers(clusters: np.ndarray, seen_rows: list[np.ndarray], num_clusters: int) -> np.ndarray:
    """How many views (the Gaussians that each sees, as rows) see a good part of every cluster, [C]."""
    sizes = np.bincount(clusters[clusters >= 0], minlength=num_clusters)
    observers = np.zeros(num_clusters, dtype=np.int64)
    for rows in seen_rows:
        seen = clusters[rows]
        observers += np.bincount(seen[seen >= 0], minlength=num_clusters) >= np.maximum(OBSERVED_SHARE * sizes, 1)
    return observers


def _strongest(histogram: sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Column of each row's largest entry, the first of equal ones, and that entry; 0 and 0 for empty rows.

    SciPy's own argmax of a sparse matrix is a Python loop over the rows.
    """
    histogram.sort_indices()
    filled = np.flatnonzero(np.diff(histogram.indptr))
    most = np.zeros(histogram.shape[0], dtype=histogram.dtype)
    best = np.zeros(histogram.shape[0], dtype=np.int64)
    if len(filled):
        most[filled] = np.maximum.reduceat(histogram.data, histogram.indptr[filled])
        rows = np.repeat(filled, np.diff(histogram.indptr)[filled])
        largest = np.flatnonzero(histogram.data == most[rows])[::-1]  # the first of a row is written last
        best[rows[largest]] = histogram.indices[largest]
    return best, most


@dataclass
class IdRegistry:
    """Gives clusters their lasting ids: the part that keeps most of an object's Gaussians keeps its id.

    An object that vanishes is remembered for `memory` further updates and gets its id back when its Gaussians return.
    """

    next_id: int = 1
    memory: int = 50
    members: dict[int, np.ndarray] = field(default_factory=dict)  # id -> sorted uids when last seen
    missing: dict[int, int] = field(default_factory=dict)  # id -> updates since it vanished

    def assign(self, clusters: np.ndarray, uids: np.ndarray) -> np.ndarray:
        """Lasting id of each cluster 0..C-1, [C] int64, given each Gaussian's cluster ([N], -1 none) and uid ([N],
        sorted).
        """
        count = int(clusters.max(initial=-1)) + 1
        ids = np.zeros(count, dtype=np.int64)
        known = list(self.members)
        if known and count:
            overlap = self._overlap(known, clusters, uids, count)
            old, new = linear_sum_assignment(-overlap)
            for i, c in zip(old, new, strict=True):
                if overlap[i, c] > 0:
                    ids[c] = known[i]
        for c in np.nonzero(ids == 0)[0]:
            ids[c] = self._fresh()
        self._remember(ids, clusters, uids)
        return ids

    def saved(self) -> SavedState:
        """For a map file."""
        arrays = {f"members/{object_id}": uids for object_id, uids in self.members.items()}
        return SavedState(arrays, {"next_id": self.next_id, "missing": self.missing})

    def restore(self, state: SavedState) -> None:
        """Go on from what `saved` gave; KeyError, TypeError or ValueError where it lacks or garbles something."""
        self.next_id = int(state.info["next_id"])
        self.missing = {int(key): int(value) for key, value in state.info["missing"].items()}
        self.members = {int(key): uids for key, uids in state.within("members/").arrays.items()}

    def _overlap(self, known: list[int], clusters: np.ndarray, uids: np.ndarray, count: int) -> np.ndarray:
        overlap = np.zeros((len(known), count))
        for i, object_id in enumerate(known):
            member_uids = self.members[object_id]
            at = np.searchsorted(uids, member_uids).clip(max=len(uids) - 1)
            found = clusters[at[uids[at] == member_uids]]
            overlap[i] = np.bincount(found[found >= 0], minlength=count)
            if object_id in self.missing:  # a living object's claim goes before a remembered one's
                overlap[i] *= 0.5
        return overlap

    def _fresh(self) -> int:
        if self.next_id > MAX_OBJECT_ID:
            raise OverflowError(f"all {MAX_OBJECT_ID} object ids are used up: reset the map")
        self.next_id += 1
        return self.next_id - 1

    def _remember(self, ids: np.ndarray, clusters: np.ndarray, uids: np.ndarray) -> None:
        seen = set(ids.tolist())
        for object_id in list(self.members):
            if object_id not in seen:
                self.missing[object_id] = self.missing.get(object_id, 0) + 1
                if self.missing[object_id] > self.memory:
                    del self.members[object_id], self.missing[object_id]
        order = np.argsort(clusters, kind="stable")
        edges = np.searchsorted(clusters[order], np.arange(len(ids) + 1))
        for c, object_id in enumerate(ids.tolist()):
            self.members[object_id] = uids[order[edges[c] : edges[c + 1]]]
            self.missing.pop(object_id, None)
