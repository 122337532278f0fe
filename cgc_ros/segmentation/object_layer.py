"""The object layer of a map: keyframes' mask votes in, a lasting object id for every Gaussian out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Generator
from dataclasses import asdict, dataclass, field

import numpy as np

from cgc_ros.gaussians.storage import SavedState
from cgc_ros.segmentation.background import is_background, object_length
from cgc_ros.segmentation.config import AssociationConfig, BackgroundConfig, LabellingConfig, StrayConfig
from cgc_ros.segmentation.edit_holds import Edit
from cgc_ros.segmentation.evidence import ObjectEvidence, number_among
from cgc_ros.segmentation.labelling import IdRegistry, object_confidence
from cgc_ros.segmentation.membership import Membership
from cgc_ros.segmentation.memory import VoteMemory
from cgc_ros.segmentation.object_edits import ObjectEdits
from cgc_ros.segmentation.object_names import ObjectNames
from cgc_ros.segmentation.object_state import ObjectRecord, ObjectState, empty_state
from cgc_ros.segmentation.votes import MaskVotes, restored_votes, saved_votes, without

_DEPARTED = 16  # keyframes that leave before their votes and the memory of them are exchanged for each other


def _nothing() -> np.ndarray:
    return np.zeros(0, np.int64)


@dataclass
class ObjectLayer:
    """Collects votes and turns them into objects; `mask_objects` tells the feature field which object each mask is.

    What association has `found`, and all that is kept of masks, knows nothing of edits by hand: `state`, which is to be
    shown, is that with the `edits` laid over it.

    An update costs what has changed: `pieces` is one as a sequence of small steps, between which `state` is that of the
    last update.
    """

    association: AssociationConfig = field(default_factory=AssociationConfig)
    min_views: int = 2
    min_gaussians: int = 20
    labelling: LabellingConfig = field(default_factory=LabellingConfig)
    strays: StrayConfig = field(default_factory=StrayConfig)
    background: BackgroundConfig = field(default_factory=BackgroundConfig)
    votes: OrderedDict[int, MaskVotes] = field(default_factory=OrderedDict)  # by keyframe id
    registry: IdRegistry = field(default_factory=IdRegistry)
    found: ObjectState = field(default_factory=empty_state)
    state: ObjectState = field(default_factory=empty_state)
    mask_objects: dict[int, np.ndarray] = field(
        default_factory=dict
    )  # keyframe id -> [num_masks + 1] object id, -1 none
    memory: VoteMemory = field(default_factory=VoteMemory)
    first_seen: dict[int, int] = field(default_factory=dict)
    names: Callable[[], ObjectNames] = ObjectNames  # an id that has a name is never given to another object
    apart: Callable[[], np.ndarray] = _nothing  # uids of Gaussians that are new where something else was mapped
    reserved: Callable[[], Collection[int]] = frozenset  # nor is one of these: objects that are not in the map now

    def __post_init__(self) -> None:
        self.edits = ObjectEdits(self.draw_id, self.min_gaussians)
        self._begin_anew()

    def set_votes(self, votes: MaskVotes) -> None:
        """Add a keyframe's votes, or replace them with newer ones."""
        self.votes[votes.keyframe_id] = votes
        if self._evidence is not None:
            self._evidence.set_view(votes)

    def drop_keyframe(self, keyframe_id: int) -> None:
        """A keyframe leaves; what it said about its Gaussians is remembered."""
        votes, objects = self.votes.pop(keyframe_id, None), self.mask_objects.pop(keyframe_id, None)
        if votes is not None:
            self._departed.append(keyframe_id)
            if objects is not None:
                self.memory.fold(votes, objects)

    def publish(self, found: ObjectState, means: np.ndarray) -> None:
        """Put what an update `found` in the place of the state; `means` [N, 3] are its Gaussians' positions."""
        self.state = self.edits.follow(found, self.found, means)
        self.found = found

    def edit(self, edit: Edit) -> None:
        """Edit the objects by hand."""
        self.edits.add(edit, self.state)
        self.state = self.edits.laid_over(self.found)

    def take_back(self) -> Edit:
        """Take back the last edit, and tell which it was; IndexError where there is none."""
        edit = self.edits.take_back()
        self.state = self.edits.laid_over(self.found)
        return edit

    def draw_id(self) -> int:
        """An id that no object has, -1 where none is left."""
        drawn = self.registry.draw(self._reserved())
        self._forget_reused()
        return drawn

    def withdraw(self, object_id: int) -> None:
        """An object's Gaussians leave the map while its id stays taken: masks that showed it say nothing any more, and
        what else they gave to it is nobody's.
        """
        for key, objects in self.mask_objects.items():
            votes = self.votes.get(key)
            if votes is not None and (objects == object_id).any():
                self.set_votes(without(votes, (objects == object_id)[votes.masks]))
        self.memory.forget(object_id)
        self.registry.withdraw(object_id)
        self.found, self.state = (state.without(object_id) for state in (self.found, self.state))

    def renumber(self, object_id: int, new_id: int) -> None:
        """Give an object the id of one that was withdrawn: they are the same."""
        self.registry.renumber(object_id, new_id)
        self.memory.renumber(object_id, new_id)
        self.mask_objects = {key: np.where(o == object_id, new_id, o) for key, o in self.mask_objects.items()}
        self._lasting[self._lasting == object_id] = new_id
        first = self.first_seen.pop(object_id, None)
        if first is not None:
            self.first_seen[new_id] = min(first, self.first_seen.get(new_id, first))
        self.found, self.state = (
            state.renumbered(object_id, new_id, self.first_seen.get(new_id)) for state in (self.found, self.state)
        )

    def saved(self, living: np.ndarray) -> SavedState:
        """For a map file; `living` [N] sorted are the uids of the map's Gaussians.

        The next update begins with the votes and the objects of masks alone, here as in what is restored: both go on
        alike.
        """
        self._begin_anew()
        state = self.found
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
        own = SavedState(arrays | registry.arrays, info)
        return SavedState.joined([own, self.memory.saved(), votes, self.edits.saved()])

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
        self.found = ObjectState(uids, of_gaussians, confidence, records, undecided)
        self.edits.restore(state)
        self.state = self.edits.laid_over(self.found)
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
        """Take in everything that has changed.

        `uids` [N] (sorted) are the living Gaussians' lasting numbers (new ones have larger ones than all before),
        `means` [N, 3] their positions and `scene_depth` the typical distance of what keyframes see, in one unit.
        Gaussians that no keyframe has voted on yet (young ones) take the object of their nearest neighbour.
        """
        pieces = self.pieces(uids, means, scene_depth, everything=True)
        while True:
            try:
                next(pieces)
            except StopIteration as done:
                if done.value is not self.found:
                    self.publish(done.value, means)
                return self.state

    def pieces(
        self, uids: np.ndarray, means: np.ndarray, scene_depth: float, everything: bool = False
    ) -> Generator[None, None, ObjectState]:
        """An update in pieces of bounded work, one to each `next`; returns what was found, for the caller to `publish`.

        What comes in meanwhile is a matter of the next update. Unless `everything` is asked for, groups of masks that
        may have been joined too early, and the smallest changes, wait for later ones. One that is not run to its end
        leaves nothing half done.
        """
        if len(uids) == 0 or not (self.votes or len(self.memory.uids)):
            return self.found
        evidence = self._prepared(uids, everything)
        if evidence is None:
            return self.found
        yield
        yield from evidence.pieces(uids, everything)
        yield
        membership = self._membership
        clusters = membership.follow(evidence, uids, means, everything, self.apart())
        yield
        membership.part(clusters, means, self.strays)
        yield
        lasting = self._ids_of_groups(len(evidence.views), clusters, uids, self._reserved())
        self._forget_reused()
        ids = np.where(clusters >= 0, lasting[clusters], -1).astype(np.int32)
        yield
        changed = membership.take_changed()
        records = self._records(evidence, lasting, changed, ids, membership.confidence, means, scene_depth)
        self._remember_masks(evidence, lasting)
        return ObjectState(uids.copy(), ids, membership.confidence, records, membership.undecided)

    def _reserved(self) -> set[int]:
        """Ids that are given to no new object though none in the map has them."""
        return {*self.memory.views, *self.names().resolved(), *self.edits.spoken_for, *self.reserved()}

    def _forget_reused(self) -> None:
        """What is known by ids that were just given again is of other objects."""
        self.names().forget(self.registry.reused)
        for object_id in self.registry.reused:
            self.first_seen.pop(object_id, None)

    def _begin_anew(self) -> None:
        """Forget what was made of the votes, not the votes."""
        self._evidence: ObjectEvidence | None = None
        self._membership = Membership(self.labelling, self.min_gaussians)
        self._lasting = np.zeros(0, np.int64)  # [G + 1] lasting id of each group, -1 none
        self._departed: list[int] = []  # keyframes that have left the votes and not yet the evidence

    def _prepared(self, uids: np.ndarray, everything: bool) -> ObjectEvidence | None:
        """The evidence with the memory of departed keyframes in it; None where there is nothing to go by."""
        evidence = self._evidence
        if evidence is None:
            evidence = ObjectEvidence(self.association, self.labelling, self.min_views)
            evidence.adopt(self.mask_objects, self._known())
            for votes in self.votes.values():
                evidence.set_view(votes)
        elif len(self._departed) < (1 if everything else _DEPARTED):
            return evidence
        for key in self._departed:
            evidence.drop_view(key)
        remembered = self.memory.as_view(uids, self.labelling.max_standing)
        if remembered is None and not self.votes:
            return None
        self._evidence, self._departed = evidence, []
        objects = np.unique(self.memory.objects)
        evidence.remember(remembered, self.memory.views_of_masks(), self._groups_of(objects))
        return evidence

    def _known(self) -> np.ndarray:
        """All objects that masks or the memory name, rising."""
        named = np.unique(np.concatenate([self.memory.objects, *self.mask_objects.values(), [-1]]))
        return named[named >= 0]

    def _groups_of(self, objects: np.ndarray) -> np.ndarray:
        """Group of each object id, -1 where none has it."""
        if self._membership.is_new:
            return number_among(self._known(), objects)
        lasting = self._lasting
        carried = np.flatnonzero(lasting >= 0)
        order = carried[np.argsort(lasting[carried])]
        at = number_among(lasting[order], objects)
        return np.where(at >= 0, order[at] if len(order) else -1, -1)

    def _ids_of_groups(self, count: int, clusters: np.ndarray, uids: np.ndarray, reserved: set[int]) -> np.ndarray:
        """Lasting id of each of `count` groups, -1 for those that are no object; [count + 1], the last for no group."""
        sizes = np.bincount(clusters[clusters >= 0], minlength=count)
        objects = np.flatnonzero(sizes)
        compact = np.full(count + 1, -1, np.int64)
        compact[objects] = np.arange(len(objects))
        lasting = np.full(count + 1, -1, np.int64)
        lasting[objects] = self.registry.assign(compact[clusters], uids, reserved)
        self._lasting = lasting
        return lasting

    def _records(
        self,
        evidence: ObjectEvidence,
        lasting: np.ndarray,
        changed: np.ndarray,
        ids: np.ndarray,
        confidence: np.ndarray,
        means: np.ndarray,
        scene_depth: float,
    ) -> dict[int, ObjectRecord]:
        """What is known of each object; where nothing `changed` ([G + 1] bool), what was known."""
        table = evidence.table
        border = np.concatenate([np.zeros(0, bool), *(v.touches_border[1:] for v in table.votes)])
        area = np.concatenate([np.zeros(0, np.float32), *(v.area_share[1:] for v in table.votes)])
        stamps = np.array([v.stamp_ns for v in table.votes], dtype=np.int64)
        masks_of, rows_of = _Members(evidence.mask_groups), _Members(ids)
        records = {}
        for group in np.flatnonzero(lasting >= 0).tolist():
            object_id = int(lasting[group])
            known, views = self.found.records.get(object_id), int(evidence.views[group])
            if known is not None and not changed[group] and known.num_views == views:
                records[object_id] = known
                continue
            masks, rows = masks_of.get(group), rows_of.get(object_id)
            seen = stamps[table.frame_of[masks]]
            first = min(self.first_seen.get(object_id, int(seen.min())), int(seen.min()))
            self.first_seen[object_id] = first
            length = object_length(means[rows]) / max(scene_depth, 1e-9)
            before = known.background if known is not None else None
            records[object_id] = ObjectRecord(
                object_id,
                background=is_background(
                    length,
                    border[masks],
                    area[masks],
                    before,
                    self.background,
                    agreement=float(confidence[rows].mean()),
                ),
                confidence=object_confidence(confidence[rows], views),
                num_views=views,
                first_seen_ns=first,
                last_seen_ns=int(seen.max()),
            )
        return records

    def _remember_masks(self, evidence: ObjectEvidence, lasting: np.ndarray) -> None:
        objects, table = lasting[evidence.mask_groups], evidence.table
        self.mask_objects = {
            votes.keyframe_id: np.concatenate([[-1], objects[table.offsets[k] : table.offsets[k + 1]]])
            for k, votes in enumerate(table.votes)
            if votes.keyframe_id in self.votes and self.votes[votes.keyframe_id].num_masks == votes.num_masks
        }


class _Members:
    """Positions of every number in an array."""

    def __init__(self, numbers: np.ndarray):
        small = np.min_scalar_type(-int(numbers.max(initial=0)) - 2)  # of 16 bits, a radix sort
        self._order = np.argsort(numbers.astype(small), kind="stable")
        edges = np.searchsorted(numbers[self._order], np.arange(int(numbers.max(initial=-1)) + 2))
        self._edges = edges.tolist()

    def get(self, number: int) -> np.ndarray:
        """Where it is, rising."""
        known = 0 <= number < len(self._edges) - 1
        return self._order[self._edges[number] : self._edges[number + 1]] if known else self._order[:0]
