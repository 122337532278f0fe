"""The object layer of a map: keyframes' mask votes in, a lasting object id for every Gaussian out."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.spatial import cKDTree

from cgc_ros.segmentation.association import AssociationConfig, MaskTable, associate
from cgc_ros.segmentation.labelling import IdRegistry, label_gaussians
from cgc_ros.segmentation.memory import VoteMemory
from cgc_ros.segmentation.votes import MaskVotes

ASSOCIATION_SAMPLE = 20_000  # Gaussians that the mask graph looks at; all of them are labelled


@dataclass(frozen=True)
class ObjectRecord:
    """What is known of an object beside its Gaussians."""

    id: int
    background: bool
    confidence: float  # mean share of its Gaussians' votes that agree
    num_views: int
    first_seen_ns: int
    last_seen_ns: int


@dataclass(frozen=True)
class ObjectState:
    """One consistent state of the layer; replaced as a whole by each update."""

    uids: np.ndarray  # [N] int64 sorted, Gaussians that were labelled
    ids: np.ndarray  # [N] int32 object id, -1 = none
    confidence: np.ndarray  # [N] float32
    records: dict[int, ObjectRecord]
    undecided: np.ndarray  # [N] bool: without an object, though most views that see it have a mask there

    def ids_of(self, uids: np.ndarray) -> np.ndarray:
        """Object id of each Gaussian by uid, [M] int32; -1 for those without one or younger than this state."""
        return self._of(uids, self.ids, -1).astype(np.int32)

    def open_of(self, uids: np.ndarray) -> np.ndarray:
        """Gaussians by uid that are undecided or younger than this state, [M] bool."""
        return self._of(uids, self.undecided, True)

    def _of(self, uids: np.ndarray, values: np.ndarray, missing: int | bool) -> np.ndarray:
        if len(self.uids) == 0:
            return np.full(len(uids), missing)
        at = np.searchsorted(self.uids, uids).clip(max=len(self.uids) - 1)
        return np.where(self.uids[at] == uids, values[at], missing)


def _empty_state() -> ObjectState:
    return ObjectState(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32), {}, np.zeros(0, bool))


@dataclass
class ObjectLayer:
    """Collects votes and turns them into objects; `mask_objects` tells the feature field which object each mask is."""

    association: AssociationConfig = field(default_factory=AssociationConfig)
    min_views: int = 2
    min_gaussians: int = 20
    votes: OrderedDict[int, MaskVotes] = field(default_factory=OrderedDict)  # by keyframe id
    registry: IdRegistry = field(default_factory=IdRegistry)
    state: ObjectState = field(default_factory=_empty_state)
    mask_objects: dict[int, np.ndarray] = field(
        default_factory=dict
    )  # keyframe id -> [num_masks + 1] object id, -1 none
    memory: VoteMemory = field(default_factory=VoteMemory)
    first_seen: dict[int, int] = field(default_factory=dict)

    def set_votes(self, votes: MaskVotes) -> None:
        """Add a keyframe's votes, or replace them with newer ones."""
        self.votes[votes.keyframe_id] = votes

    def drop_keyframe(self, keyframe_id: int) -> None:
        """A keyframe leaves; what it said about its Gaussians is remembered."""
        votes, objects = self.votes.pop(keyframe_id, None), self.mask_objects.pop(keyframe_id, None)
        if votes is not None and objects is not None:
            self.memory.fold(votes, objects)

    def update(self, uids: np.ndarray) -> ObjectState:
        """Associate all masks anew and label the living Gaussians (`uids` [N], sorted)."""
        remembered = self.memory.as_view(uids)
        if len(uids) == 0 or not (self.votes or remembered):
            return self.state
        table = MaskTable.of(list(self.votes.values()) + ([remembered] if remembered else []))
        mask_clusters = associate(table, self._sample(uids), self.association)
        mask_clusters = self._supported(table, mask_clusters)
        labelling = label_gaussians(table, mask_clusters, uids)
        sizes = np.bincount(
            labelling.clusters[labelling.clusters >= 0], minlength=int(mask_clusters.max(initial=-1)) + 1
        )
        mask_clusters, clusters = _renumber(mask_clusters, labelling.clusters, sizes >= self.min_gaussians)
        lasting = self.registry.assign(clusters, uids)
        ids = np.where(clusters >= 0, lasting[clusters] if len(lasting) else -1, -1).astype(np.int32)
        records = self._records(table, mask_clusters, lasting, ids, labelling.confidence)
        self._remember_masks(table, mask_clusters, lasting)
        self.state = ObjectState(uids.copy(), ids, labelling.confidence, records, labelling.undecided)
        return self.state

    def inherit(self, uids: np.ndarray, means: np.ndarray) -> ObjectState:
        """Give Gaussians that no keyframe has voted on yet (young ones) the object of their nearest neighbour.

        `means` [N, 3] are the positions of the Gaussians `uids` [N] that the last `update` was given.
        """
        if len(self.state.uids) != len(uids):
            return self.state
        young = np.ones(len(uids), dtype=bool)
        for votes in self.votes.values():
            at = np.searchsorted(uids, votes.uids).clip(max=len(uids) - 1)
            young[at[uids[at] == votes.uids]] = False
        if young.any() and not young.all():
            nearest = np.flatnonzero(~young)[cKDTree(means[~young]).query(means[young])[1]]
            ids = self.state.ids.copy()
            ids[young] = ids[nearest]
            self.state = replace(self.state, ids=ids)
        return self.state

    def _sample(self, uids: np.ndarray) -> np.ndarray:
        """A fixed pseudo-random sample of Gaussians, the same ones at every update."""
        if len(uids) <= ASSOCIATION_SAMPLE:
            return uids
        scattered = (uids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)
        return uids[np.sort(np.argpartition(scattered, ASSOCIATION_SAMPLE)[:ASSOCIATION_SAMPLE])]

    def _supported(self, table: MaskTable, mask_clusters: np.ndarray) -> np.ndarray:
        """Clusters that enough keyframes support; with few keyframes so far, as many as there are."""
        needed = min(self.min_views, len(table.votes))
        views = self._views(table, mask_clusters)
        return np.where((mask_clusters >= 0) & (views >= needed)[mask_clusters], mask_clusters, -1)

    def _views(self, table: MaskTable, mask_clusters: np.ndarray) -> np.ndarray:
        """Keyframes that support each cluster, those that have left included, [C]."""
        count = int(mask_clusters.max(initial=-1)) + 1
        pairs = np.unique(np.stack([mask_clusters, table.frame_of]), axis=1)
        pairs = pairs[:, pairs[0] >= 0]
        living = np.array([votes.keyframe_id != VoteMemory.KEYFRAME_ID for votes in table.votes])
        views = np.bincount(pairs[0][living[pairs[1]]], minlength=count)
        if not living.all():
            masks = np.arange(table.offsets[-2], table.offsets[-1])
            known = mask_clusters[masks] >= 0
            np.add.at(views, mask_clusters[masks[known]], self.memory.views_of_masks()[known])
        return views

    def _records(
        self, table: MaskTable, mask_clusters: np.ndarray, lasting: np.ndarray, ids: np.ndarray, confidence: np.ndarray
    ) -> dict[int, ObjectRecord]:
        border = np.concatenate([v.touches_border[1:] for v in table.votes])
        area = np.concatenate([v.area_share[1:] for v in table.votes])
        stamps = np.array([v.stamp_ns for v in table.votes])
        views = self._views(table, mask_clusters)
        records = {}
        for cluster, object_id in enumerate(lasting.tolist()):
            masks = np.nonzero(mask_clusters == cluster)[0]
            frames = np.unique(table.frame_of[masks])
            first = min(self.first_seen.get(object_id, int(stamps[frames].min())), int(stamps[frames].min()))
            self.first_seen[object_id] = first
            records[object_id] = ObjectRecord(
                object_id,
                background=is_background(border[masks], area[masks]),
                confidence=float(confidence[ids == object_id].mean()),
                num_views=int(views[cluster]),
                first_seen_ns=first,
                last_seen_ns=int(stamps[frames].max()),
            )
        return records

    def _remember_masks(self, table: MaskTable, mask_clusters: np.ndarray, lasting: np.ndarray) -> None:
        objects = np.where(mask_clusters >= 0, lasting[mask_clusters] if len(lasting) else -1, -1)
        self.mask_objects = {
            votes.keyframe_id: np.concatenate([[-1], objects[table.offsets[k] : table.offsets[k + 1]]])
            for k, votes in enumerate(table.votes)
            if votes.keyframe_id != VoteMemory.KEYFRAME_ID
        }


def is_background(touches_border: np.ndarray, area_share: np.ndarray) -> bool:
    """A thing is seen whole in most views that show it; a floor, wall or table top is cut by the image's border or
    fills it.
    """
    cut = touches_border.mean()
    return bool(area_share.max() > 0.5 or (cut > 0.6 and np.median(area_share) > 0.02) or cut > 0.85)


def _renumber(mask_clusters: np.ndarray, clusters: np.ndarray, keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Close the gaps that dropped clusters leave in both numberings."""
    if len(keep) == 0:
        return mask_clusters, clusters
    numbers = np.where(keep, np.cumsum(keep) - 1, -1)
    return np.where(mask_clusters >= 0, numbers[mask_clusters], -1), np.where(clusters >= 0, numbers[clusters], -1)
