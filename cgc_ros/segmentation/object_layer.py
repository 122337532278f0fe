"""The object layer of a map: keyframes' mask votes in, a lasting object id for every Gaussian out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import numpy as np
from scipy.spatial import cKDTree

from cgc_ros.gaussians.storage import SavedState
from cgc_ros.segmentation.association import MaskTable, associate
from cgc_ros.segmentation.background import is_background, object_length
from cgc_ros.segmentation.config import AssociationConfig, BackgroundConfig, LabellingConfig, StrayConfig
from cgc_ros.segmentation.labelling import IdRegistry, Labelling, label_gaussians, object_confidence
from cgc_ros.segmentation.memory import VoteMemory
from cgc_ros.segmentation.object_names import ObjectNames
from cgc_ros.segmentation.pieces import strays
from cgc_ros.segmentation.votes import MaskVotes, restored_votes, saved_votes


@dataclass(frozen=True)
class ObjectRecord:
    """What is known of an object beside its Gaussians."""

    id: int
    background: bool
    confidence: float  # 0..1, `object_confidence`
    num_views: int
    first_seen_ns: int
    last_seen_ns: int


@dataclass(frozen=True)
class GaussianIds:
    """Which Gaussian has which id."""

    uids: np.ndarray  # [N] int64 sorted, Gaussians that were labelled
    ids: np.ndarray  # [N] int32, -1 = none

    def ids_of(self, uids: np.ndarray) -> np.ndarray:
        """Id of each Gaussian by uid, [M] int32; -1 for those without one or younger than this state."""
        if len(self.uids) == 0:
            return np.full(len(uids), -1, dtype=np.int32)
        at = np.searchsorted(self.uids, uids).clip(max=len(self.uids) - 1)
        return np.where(self.uids[at] == uids, self.ids[at], -1).astype(np.int32)


@dataclass(frozen=True)
class ObjectState(GaussianIds):
    """One consistent state of the layer, of object ids; replaced as a whole by each update."""

    confidence: np.ndarray  # [N] float32
    records: dict[int, ObjectRecord]
    undecided: np.ndarray  # [N] bool: without an object, though most views that see it have a mask there


def _empty_state() -> ObjectState:
    return ObjectState(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32), {}, np.zeros(0, bool))


@dataclass
class ObjectLayer:
    """Collects votes and turns them into objects; `mask_objects` tells the feature field which object each mask is."""

    association: AssociationConfig = field(default_factory=AssociationConfig)
    min_views: int = 2
    min_gaussians: int = 20
    labelling: LabellingConfig = field(default_factory=LabellingConfig)
    strays: StrayConfig = field(default_factory=StrayConfig)
    background: BackgroundConfig = field(default_factory=BackgroundConfig)
    votes: OrderedDict[int, MaskVotes] = field(default_factory=OrderedDict)  # by keyframe id
    registry: IdRegistry = field(default_factory=IdRegistry)
    state: ObjectState = field(default_factory=_empty_state)
    mask_objects: dict[int, np.ndarray] = field(
        default_factory=dict
    )  # keyframe id -> [num_masks + 1] object id, -1 none
    memory: VoteMemory = field(default_factory=VoteMemory)
    first_seen: dict[int, int] = field(default_factory=dict)
    names: Callable[[], ObjectNames] = ObjectNames  # an id that has a name is never given to another object

    def set_votes(self, votes: MaskVotes) -> None:
        """Add a keyframe's votes, or replace them with newer ones."""
        self.votes[votes.keyframe_id] = votes

    def drop_keyframe(self, keyframe_id: int) -> None:
        """A keyframe leaves; what it said about its Gaussians is remembered."""
        votes, objects = self.votes.pop(keyframe_id, None), self.mask_objects.pop(keyframe_id, None)
        if votes is not None and objects is not None:
            self.memory.fold(votes, objects)

    def saved(self, living: np.ndarray) -> SavedState:
        """For a map file; `living` [N] sorted are the uids of the map's Gaussians."""
        state = self.state
        arrays = {f"objects/{name}": getattr(state, name) for name in ("uids", "ids", "confidence", "undecided")}
        asked = {key: objects for key, objects in self.mask_objects.items() if key in self.votes}
        arrays["mask_objects"] = np.concatenate([np.zeros(0, np.int64), *asked.values()]).astype(np.int64)
        registry = self.registry.saved()
        info = {
            "objects": [asdict(record) for record in state.records.values()],
            "first_seen": self.first_seen,
            "next_object_id": registry.info["next_id"],
            "missing": registry.info["missing"],
            "mask_objects": [[key, len(objects)] for key, objects in asked.items()],
        }
        votes = saved_votes(self.votes.values(), living).below("votes/")
        return SavedState.joined([SavedState(arrays | registry.arrays, info), self.memory.saved(), votes])

    def restore(self, state: SavedState, living: np.ndarray) -> None:
        """Go on from what `saved` gave; without votes where the file is older than they are kept.

        KeyError, TypeError or ValueError where it lacks or garbles something.
        """
        arrays, info = state
        records = {int(entry["id"]): ObjectRecord(**entry) for entry in info["objects"]}
        columns = [arrays[f"objects/{name}"] for name in ("uids", "ids", "confidence", "undecided")]
        if any(column.shape != columns[0].shape for column in columns) or columns[0].ndim != 1:
            raise ValueError(f"objects have columns of {[column.shape for column in columns]}")
        uids, of_gaussians, confidence, undecided = columns
        self.state = ObjectState(uids, of_gaussians, confidence, records, undecided)
        self.first_seen = {int(key): int(value) for key, value in info["first_seen"].items()}
        self.memory.restore(state)
        ids = {"next_id": info["next_object_id"], "missing": info["missing"]}
        self.registry.restore(SavedState(arrays, ids))
        if "votes/keyframes" not in info:
            return
        self.votes = restored_votes(state.within("votes/"), living)
        ends = np.cumsum([length for _, length in info["mask_objects"]], dtype=np.int64)
        parts = np.split(arrays["mask_objects"], ends)[:-1]
        self.mask_objects = {int(key): objects for (key, _), objects in zip(info["mask_objects"], parts, strict=True)}
        for key, objects in self.mask_objects.items():
            if key not in self.votes or len(objects) != self.votes[key].num_masks + 1:
                raise ValueError(f"the masks of keyframe {key} are {len(objects)}, which is not what it voted with")

    def update(self, uids: np.ndarray, means: np.ndarray, scene_depth: float) -> ObjectState:
        """Associate all masks anew and label the living Gaussians.

        `uids` [N] (sorted) are their lasting numbers, `means` [N, 3] their positions and `scene_depth` the typical
        distance of what keyframes see, in one unit. Gaussians that no keyframe has voted on yet (young ones) take the
        object of their nearest neighbour.
        """
        remembered = self.memory.as_view(uids, self.labelling.max_standing)
        if len(uids) == 0 or not (self.votes or remembered):
            return self.state
        views = list(self.votes.values()) + ([remembered] if remembered else [])
        table = MaskTable.of(views)
        mask_clusters = associate(table, self._sample(uids), self.association, self._last(uids))
        mask_clusters = self._supported(table, mask_clusters)
        labelling = label_gaussians(table, mask_clusters, uids, self.labelling)
        mask_clusters, clusters = _renumber(
            mask_clusters, labelling.clusters, self._lasting(table, mask_clusters, labelling)
        )
        clusters = _inherited(clusters, labelling.seen, means)
        clusters[strays(clusters, means, self.strays)] = -1
        names = self.names()
        lasting = self.registry.assign(clusters, uids, {*self.memory.views, *names.resolved()})
        names.forget(self.registry.reused)
        for object_id in self.registry.reused:
            self.first_seen.pop(object_id, None)
        ids = np.where(clusters >= 0, lasting[clusters] if len(lasting) else -1, -1).astype(np.int32)
        records = self._records(table, mask_clusters, lasting, ids, labelling.confidence, means, scene_depth)
        self._remember_masks(table, mask_clusters, lasting)
        self.state = ObjectState(uids.copy(), ids, labelling.confidence, records, labelling.undecided)
        return self.state

    def _last(self, uids: np.ndarray) -> MaskVotes | None:
        """The last state as a view whose masks are the objects; None where nothing is left of it."""
        at = np.searchsorted(uids, self.state.uids).clip(max=len(uids) - 1)
        known = (self.state.ids >= 0) & (uids[at] == self.state.uids)
        if not known.any():
            return None
        objects, masks = np.unique(self.state.ids[known], return_inverse=True)
        count = len(objects)
        return MaskVotes(
            VoteMemory.KEYFRAME_ID,
            0,
            self.state.uids[known],
            (masks + 1).astype(np.int32),
            np.ones(int(known.sum()), dtype=np.float32),
            count,
            np.zeros(count + 1, dtype=bool),
            np.zeros(count + 1, dtype=np.float32),
        )

    def _lasting(self, table: MaskTable, mask_clusters: np.ndarray, labelling: Labelling) -> np.ndarray:
        """Clusters that are large enough, and seen as one by enough of the views that see their Gaussians, [C] bool."""
        count = int(mask_clusters.max(initial=-1)) + 1
        sizes = np.bincount(labelling.clusters[labelling.clusters >= 0], minlength=count)
        needed = self.labelling.min_support * labelling.observers
        return (sizes >= self.min_gaussians) & (self._views(table, mask_clusters) >= needed)

    def _sample(self, uids: np.ndarray) -> np.ndarray:
        """A fixed pseudo-random sample of Gaussians, the same ones at every update."""
        size = self.association.association_sample
        if len(uids) <= size:
            return uids
        scattered = (uids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)
        return uids[np.sort(np.argpartition(scattered, size)[:size])]

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
        self,
        table: MaskTable,
        mask_clusters: np.ndarray,
        lasting: np.ndarray,
        ids: np.ndarray,
        confidence: np.ndarray,
        means: np.ndarray,
        scene_depth: float,
    ) -> dict[int, ObjectRecord]:
        border = np.concatenate([v.touches_border[1:] for v in table.votes])
        area = np.concatenate([v.area_share[1:] for v in table.votes])
        stamps = np.array([v.stamp_ns for v in table.votes])
        views = self._views(table, mask_clusters)
        records = {}
        for cluster, object_id in enumerate(lasting.tolist()):
            if object_id < 0:
                continue
            masks = np.nonzero(mask_clusters == cluster)[0]
            frames = np.unique(table.frame_of[masks])
            first = min(self.first_seen.get(object_id, int(stamps[frames].min())), int(stamps[frames].min()))
            self.first_seen[object_id] = first
            known = self.state.records.get(object_id)
            length = object_length(means[ids == object_id]) / max(scene_depth, 1e-9)
            before = known.background if known is not None else None
            records[object_id] = ObjectRecord(
                object_id,
                background=is_background(length, border[masks], area[masks], before, self.background),
                confidence=object_confidence(confidence[ids == object_id], int(views[cluster])),
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


def _inherited(clusters: np.ndarray, seen: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Clusters [N] in which Gaussians that no view has voted on yet (not `seen`) have that of their nearest
    neighbour.
    """
    clusters = clusters.copy()
    if seen.all() or not seen.any():
        return clusters
    nearest = np.flatnonzero(seen)[cKDTree(means[seen]).query(means[~seen])[1]]
    clusters[~seen] = clusters[nearest]
    return clusters


def _renumber(mask_clusters: np.ndarray, clusters: np.ndarray, keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Close the gaps that dropped clusters leave in both numberings."""
    if len(keep) == 0:
        return mask_clusters, clusters
    numbers = np.where(keep, np.cumsum(keep) - 1, -1)
    return np.where(mask_clusters >= 0, numbers[mask_clusters], -1), np.where(clusters >= 0, numbers[clusters], -1)
