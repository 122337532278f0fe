"""From associated masks to one object per Gaussian, with ids that last."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from scipy import sparse
from scipy.optimize import linear_sum_assignment

from cgc_ros.frame import MAX_OBJECT_ID
from cgc_ros.gaussians.storage import SavedState
from cgc_ros.segmentation.association import MaskTable
from cgc_ros.segmentation.config import LabellingConfig

LOW_SHARE = 0.9  # of all ids in use: then the end is near


@dataclass(frozen=True)
class Labelling:
    """The best-supported cluster of every Gaussian."""

    clusters: np.ndarray  # [N] int64, -1 = none
    confidence: np.ndarray  # [N] float32, the cluster's share of the Gaussian's votes
    undecided: np.ndarray  # [N] bool: without a cluster, though most views that see it have a mask there
    seen: np.ndarray  # [N] bool: at least one view sees it
    observers: np.ndarray  # [C] keyframes that see a good part of each cluster's Gaussians


def label_gaussians(
    table: MaskTable, mask_clusters: np.ndarray, uids: np.ndarray, config: LabellingConfig | None = None
) -> Labelling:
    """Majority vote: each keyframe gives a Gaussian's weight to the cluster of its mask; [N] labels over `uids`.

    Masks that cover several objects (cluster -1) do not vote. A view without a mask there votes for no object, so what
    most views leave out stays unlabelled, and what a view or two miss does not.
    """
    config = config or LabellingConfig()
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
    chosen = (voted > 0) & (most >= config.min_share * (voted + silent))
    confidence = (most / np.maximum(voted, 1e-9)).astype(np.float32)
    clusters = np.where(chosen, best, -1)
    return Labelling(
        clusters,
        confidence,
        ~chosen & (masked > silent),
        masked + silent > 0,
        _observers(clusters, seen_rows, num_clusters, config.observed_share),
    )


def object_confidence(shares: np.ndarray, views: int) -> float:
    """How sure, 0..1, it is that Gaussians are one object which `views` keyframes show as one; `shares` [n] are the
    shares of their votes that agree.

    The mean of the shares, as if one view more had denied it: what two views agree on is less sure than what forty do.
    """
    return float(shares.mean()) * views / (views + 1)


def _observers(clusters: np.ndarray, seen_rows: list[np.ndarray], num_clusters: int, share: float) -> np.ndarray:
    """How many views (the Gaussians that each sees, as rows) see a `share` of every cluster, [C]."""
    sizes = np.bincount(clusters[clusters >= 0], minlength=num_clusters)
    observers = np.zeros(num_clusters, dtype=np.int64)
    for rows in seen_rows:
        seen = clusters[rows]
        observers += np.bincount(seen[seen >= 0], minlength=num_clusters) >= np.maximum(share * sizes, 1)
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
    Once every id was given, those forgotten are given again, the one forgotten longest ago first. Where none is left,
    new objects wait without one.
    """

    next_id: int = 1
    memory: int = 50
    max_id: int = MAX_OBJECT_ID
    members: dict[int, np.ndarray] = field(default_factory=dict)  # id -> sorted uids when last seen
    missing: dict[int, int] = field(default_factory=dict)  # id -> updates since it vanished
    forgotten: dict[int, None] = field(default_factory=dict)  # ids in the order in which they were forgotten
    reused: set[int] = field(default_factory=set)  # by the last `assign`
    taken: int = 0  # ids that the last `assign` found in use or reserved
    waiting: int = 0  # clusters that the last `assign` had no id for

    def assign(self, clusters: np.ndarray, uids: np.ndarray, reserved: Collection[int] = ()) -> np.ndarray:
        """Lasting id of each cluster 0..C-1, [C] int64, given each Gaussian's cluster ([N], -1 none) and uid ([N],
        sorted); -1 for a new cluster where no id is left. `reserved` ids are not reused, though they were forgotten.
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
        new = np.nonzero(ids == 0)[0]
        ids[new] = self._fresh(len(new), reserved)
        self._remember(ids, clusters, uids)
        self.waiting = int((ids < 0).sum())
        self.taken = len(self.members.keys() | set(reserved))
        return ids

    def withdraw(self, object_id: int) -> None:
        """An object has left the map: none of what shares its Gaussians is it."""
        self.members.pop(object_id, None)
        self.missing.pop(object_id, None)

    def renumber(self, object_id: int, new_id: int) -> None:
        """An object goes on under another id, which nobody else has."""
        if object_id in self.members:
            self.members[new_id] = self.members.pop(object_id)
        if object_id in self.missing:
            self.missing[new_id] = self.missing.pop(object_id)
        self.forgotten.pop(new_id, None)

    def shortage(self, what: str) -> str:
        """What to say about ids that run out, "" while there are enough; `what` they belong to."""
        if self.waiting == 0 and self.taken < LOW_SHARE * self.max_id:
            return ""
        waiting = f"; {self.waiting} new {what} wait for one" if self.waiting else ""
        return f"{self.taken} of {self.max_id} ids of {what} are in use{waiting}"

    def saved(self) -> SavedState:
        """For a map file."""
        arrays = {f"members/{object_id}": uids for object_id, uids in self.members.items()}
        info = {"next_id": self.next_id, "missing": self.missing, "forgotten": list(self.forgotten)}
        return SavedState(arrays, info)

    def restore(self, state: SavedState) -> None:
        """Go on from what `saved` gave; KeyError, TypeError or ValueError where it lacks or garbles something."""
        self.next_id = int(state.info["next_id"])
        self.missing = {int(key): int(value) for key, value in state.info["missing"].items()}
        self.forgotten = {int(key): None for key in state.info.get("forgotten", [])}
        self.members = {int(key): uids for key, uids in state.within("members/").arrays.items()}

    def draw(self, reserved: Collection[int] = ()) -> int:
        """An id that no cluster has, and none gets while it is among the `reserved`; -1 where none is left."""
        return self._fresh(1, reserved)[0]

    def _overlap(self, known: list[int], clusters: np.ndarray, uids: np.ndarray, count: int) -> np.ndarray:
        members = [self.members[object_id] for object_id in known]
        owner = np.repeat(np.arange(len(known)), [len(each) for each in members])
        member_uids = np.concatenate(members)
        at = np.searchsorted(uids, member_uids).clip(max=len(uids) - 1)
        found = np.where(uids[at] == member_uids, clusters[at], -1)
        owner, found = owner[found >= 0], found[found >= 0]
        overlap = (
            np.bincount(owner * count + found, minlength=len(known) * count).reshape(len(known), count).astype(float)
        )
        # A living object's claim goes before a remembered one's.
        overlap[[object_id in self.missing for object_id in known]] *= 0.5
        return overlap

    def _fresh(self, count: int, reserved: Collection[int]) -> list[int]:
        """So many ids, -1 for those that are missing."""
        first = self.next_id
        self.next_id = max(first, min(first + count, self.max_id + 1))
        found, self.reused = list(range(first, self.next_id)), set()
        if len(found) < count:
            self.reused = set(islice(self._reusable(first, reserved), count - len(found)))
            found += sorted(self.reused)
            self.forgotten = {each: None for each in self.forgotten if each not in self.reused}
        return found + [-1] * (count - len(found))

    def _reusable(self, end: int, reserved: Collection[int]) -> Iterator[int]:
        """Ids below `end` that nobody has any more, the one forgotten longest ago first."""
        taken = self.members.keys() | set(reserved)
        # Of those forgotten before the map was loaded, the order is not known: they are the oldest.
        known = self.forgotten
        yield from (each for each in range(1, min(end, self.max_id + 1)) if each not in taken and each not in known)
        yield from (each for each in known if each not in taken)

    def _remember(self, ids: np.ndarray, clusters: np.ndarray, uids: np.ndarray) -> None:
        seen = set(ids.tolist())
        for object_id in list(self.members):
            if object_id not in seen:
                self.missing[object_id] = self.missing.get(object_id, 0) + 1
                if self.missing[object_id] > self.memory:
                    del self.members[object_id], self.missing[object_id]
                    self.forgotten[object_id] = None
        order = np.argsort(
            clusters.astype(np.min_scalar_type(-max(len(ids), 1))), kind="stable"
        )  # 16 bits: a radix sort
        edges = np.searchsorted(clusters[order], np.arange(len(ids) + 1))
        for c, object_id in enumerate(ids.tolist()):
            if object_id < 0:
                continue
            self.members[object_id] = uids[order[edges[c] : edges[c + 1]]]
            self.missing.pop(object_id, None)
