"""Parts of objects: the finer level of masks, associated object by object.

Where a mask source cuts images at two levels of detail, the coarser one makes the objects. Of the finer one, only what
lies inside an object is looked at, and only together with what other views have there: small problems instead of one
large one, and every part belongs to one object by construction.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from cgc_ros.gaussians.storage import SavedState
from cgc_ros.segmentation.association import MaskTable, associate
from cgc_ros.segmentation.config import AssociationConfig, LabellingConfig, PartConfig
from cgc_ros.segmentation.labelling import IdRegistry, label_gaussians, object_confidence
from cgc_ros.segmentation.object_state import GaussianIds
from cgc_ros.segmentation.votes import MaskVotes, restored_votes, saved_votes


@dataclass(frozen=True)
class PartRecord:
    """What is known of a part beside its Gaussians."""

    id: int  # lasting, among parts: a part's id says nothing of the object with the same number
    object_id: int  # the object that it is a part of
    confidence: float  # 0..1, `object_confidence`
    num_views: int
    first_seen_ns: int
    last_seen_ns: int


@dataclass(frozen=True)
class PartState(GaussianIds):
    """One consistent state, of part ids; replaced as a whole by each update."""

    records: dict[int, PartRecord]


def no_parts() -> PartState:
    """Of a map that has not been cut."""
    return PartState(np.zeros(0, np.int64), np.zeros(0, np.int32), {})


@dataclass
class PartLayer:
    """Collects the finer masks' votes and cuts objects into parts."""

    association: AssociationConfig = field(default_factory=AssociationConfig)
    min_views: int = 2
    min_gaussians: int = 20
    parts: PartConfig = field(default_factory=PartConfig)
    labelling: LabellingConfig = field(default_factory=LabellingConfig)
    votes: OrderedDict[int, MaskVotes] = field(default_factory=OrderedDict)  # by keyframe id
    registry: IdRegistry = field(default_factory=IdRegistry)
    state: PartState = field(default_factory=no_parts)

    def update(self, uids: np.ndarray, object_ids: np.ndarray) -> PartState:
        """Cut every object anew; `object_ids` [N] is the object of the living Gaussians `uids` ([N], sorted), -1 none.

        An object that is not cut has no parts.
        """
        if len(uids) == 0 or not self.votes:
            return self.state
        parts = np.full(len(uids), -1, dtype=np.int64)
        found: list[PartRecord] = []  # ids to be given below
        entries = _Entries.of(list(self.votes.values()), uids, object_ids)
        for object_id in np.unique(object_ids[object_ids >= 0]).tolist():
            rows = np.flatnonzero(object_ids == object_id)
            cut, records = self._cut(object_id, uids[rows], entries.votes_on(object_id, self.parts.min_share))
            if len(records) > 1:
                parts[rows] = np.where(cut >= 0, cut + len(found), -1)
                found += records
        lasting = self.registry.assign(parts, uids)
        ids = np.where(parts >= 0, lasting[parts] if len(lasting) else -1, -1).astype(np.int32)
        given = [(record, int(part_id)) for record, part_id in zip(found, lasting, strict=True) if part_id >= 0]
        records = [replace(record, id=part_id) for record, part_id in given]
        self.state = PartState(uids.copy(), ids, {record.id: record for record in records})
        return self.state

    def adopt(self, state: PartState, next_id: int) -> None:
        """Go on from parts that are known, whatever they were cut by: they keep their ids."""
        self.state = state
        members = {part_id: state.uids[state.ids == part_id] for part_id in state.records}
        self.registry = IdRegistry(next_id=next_id, members=members)

    def saved(self, living: np.ndarray) -> SavedState:
        """For a map file; `living` [N] sorted are the uids of the map's Gaussians."""
        registry = self.registry.saved()
        arrays = {"parts/uids": self.state.uids, "parts/ids": self.state.ids}
        info = {
            "parts": [asdict(record) for record in self.state.records.values()],
            "next_part_id": registry.info["next_id"],
            "missing_parts": registry.info["missing"],
        }
        members = SavedState(registry.arrays, {}).below("parts/")
        votes = saved_votes(self.votes.values(), living).below("part_votes/")
        return SavedState.joined([SavedState(arrays, info), members, votes])

    def restore(self, state: SavedState, living: np.ndarray) -> None:
        """Go on from what `saved` gave; without votes, or without any parts, where the file is older than they are
        kept.

        KeyError, TypeError or ValueError where it lacks or garbles something.
        """
        arrays, info = state
        if "parts/uids" not in arrays:
            return
        uids, ids = arrays["parts/uids"], arrays["parts/ids"]
        if uids.shape != ids.shape or uids.ndim != 1:
            raise ValueError(f"parts have {uids.shape} Gaussians and {ids.shape} ids")
        records = {int(entry["id"]): PartRecord(**entry) for entry in info["parts"]}
        self.adopt(PartState(uids, ids, records), int(info.get("next_part_id", 1)))
        if "part_votes/keyframes" not in info:
            return
        numbers = {"next_id": info["next_part_id"], "missing": info["missing_parts"]}
        self.registry.restore(SavedState(state.within("parts/").arrays, numbers))
        self.votes = restored_votes(state.within("part_votes/"), living)

    def _cut(self, object_id: int, uids: np.ndarray, votes: list[MaskVotes]) -> tuple[np.ndarray, list[PartRecord]]:
        """Parts of one object: of each of its Gaussians ([n], -1 none), and what is known of each."""
        if not votes:
            return np.full(len(uids), -1, dtype=np.int64), []
        table = MaskTable.of(votes)
        size = self.parts.sample
        sample = uids if len(uids) <= size else uids[:: -(-len(uids) // size)]
        clusters = associate(table, sample, self.association)
        labelling = label_gaussians(table, clusters, uids, self.labelling)
        records: list[PartRecord] = []
        cut = np.full(len(uids), -1, dtype=np.int64)
        for cluster in range(int(clusters.max(initial=-1)) + 1):
            frames = np.unique(table.frame_of[clusters == cluster])
            members = labelling.clusters == cluster
            if len(frames) < min(self.min_views, len(votes)) or members.sum() < self.min_gaussians:
                continue
            cut[members] = len(records)
            stamps = [votes[frame].stamp_ns for frame in frames]
            confidence = object_confidence(labelling.confidence[members], len(frames))
            records.append(PartRecord(0, object_id, confidence, len(frames), min(stamps), max(stamps)))
        return cut, records


@dataclass(frozen=True)
class _Entries:
    """All votes of all keyframes, one entry per keyframe and Gaussian, sorted by the Gaussian's object, then
    keyframe.
    """

    votes: list[MaskVotes]
    objects: np.ndarray  # [E]
    frames: np.ndarray  # [E] index into votes
    uids: np.ndarray  # [E] rising within a frame
    masks: np.ndarray  # [E]
    weights: np.ndarray  # [E]

    @staticmethod
    def of(votes: list[MaskVotes], uids: np.ndarray, object_ids: np.ndarray) -> _Entries:
        owners = []
        for each in votes:
            at = np.searchsorted(uids, each.uids).clip(max=len(uids) - 1)
            owners.append(np.where(uids[at] == each.uids, object_ids[at], -1))
        frames = np.repeat(np.arange(len(votes)), [len(each.uids) for each in votes])
        objects = np.concatenate(owners)
        order = np.argsort(objects, kind="stable")
        joined = (np.concatenate([getattr(each, name) for each in votes]) for name in ("uids", "masks", "weights"))
        return _Entries(votes, objects[order], frames[order], *(values[order] for values in joined))

    def votes_on(self, object_id: int, min_share: float) -> list[MaskVotes]:
        """Each keyframe's votes on one object's Gaussians, its masks renumbered; keyframes that do not see it are left
        out, and masks with less than `min_share` of what a keyframe sees of it.
        """
        begin, end = np.searchsorted(self.objects, [object_id, object_id + 1])
        frames = self.frames[begin:end]
        found = []
        for frame in np.unique(frames).tolist():
            low, high = begin + np.searchsorted(frames, [frame, frame + 1])
            masks, numbers = np.unique(self.masks[low:high], return_inverse=True)
            weights = np.bincount(numbers, weights=self.weights[low:high])
            kept = (masks > 0) & (weights >= min_share * weights.sum())
            numbers = (np.cumsum(kept) * kept)[numbers]  # 1.., 0 = no mask
            count = int(kept.sum())
            whole = self.votes[frame]
            if count > 0:
                found.append(
                    MaskVotes(
                        whole.keyframe_id,
                        whole.stamp_ns,
                        self.uids[low:high],
                        numbers.astype(np.int32),
                        self.weights[low:high],
                        count,
                        np.zeros(count + 1, bool),
                        np.zeros(count + 1, np.float32),
                    )
                )
        return found
