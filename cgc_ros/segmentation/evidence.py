"""Votes of all views as objects are made of them: overlaps, groups and tally, brought up to date in small pieces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from cgc_ros.segmentation.association import MaskTable
from cgc_ros.segmentation.config import AssociationConfig, LabellingConfig
from cgc_ros.segmentation.groups import MaskGroups
from cgc_ros.segmentation.memory import VoteMemory
from cgc_ros.segmentation.overlaps import MaskOverlaps
from cgc_ros.segmentation.tally import GroupTally
from cgc_ros.segmentation.votes import MaskVotes

_DEAD_SHARE = 0.05  # of a view's Gaussians, from which on it is taken in anew
_DEAD_ROWS = 0.2  # of the tally's Gaussians, from which on it is counted anew
_NEIGHBOURHOODS = 4  # linked anew in one piece
_VIEWS_COUNTED = 25  # of which what they see of each group is counted in one piece


class ObjectEvidence:
    """Which group of masks every Gaussian belongs to. What has changed waits until `pieces` takes it in."""

    def __init__(self, association: AssociationConfig, labelling: LabellingConfig, min_views: int):
        self.min_views = min_views
        self.overlaps = MaskOverlaps(association)
        self.groups = MaskGroups(association)
        self.tally = GroupTally(labelling)
        self.views = np.zeros(0, np.int64)  # [G] keyframes that support each group, those that have left included
        self.mask_groups = np.zeros(0, np.int64)  # [M] group of every mask that votes, by the numbering of `table`
        self._to_compare: dict[int, MaskVotes] = {}  # with the overlaps
        self._to_count: dict[int, MaskVotes] = {}  # in the tally
        self._gone: set[int] = set()
        self._remembered = np.zeros(0, np.int64)  # departed keyframes behind each mask of the memory's view

    @property
    def table(self) -> MaskTable:
        """All masks that were taken in."""
        return self.overlaps.table

    def set_view(self, votes: MaskVotes) -> None:
        """A view is new, or has voted again."""
        self._to_compare[votes.keyframe_id] = self._to_count[votes.keyframe_id] = votes
        self._gone.discard(votes.keyframe_id)

    def drop_view(self, key: int) -> None:
        """A view has left."""
        self._to_compare.pop(key, None)
        self._to_count.pop(key, None)
        self._gone.add(key)

    def remember(self, view: MaskVotes | None, views_of_masks: np.ndarray, groups: np.ndarray) -> None:
        """What departed keyframes said, as one view; `groups` [num_masks] are those of its objects, -1 unknown."""
        self._remembered = views_of_masks
        if view is None:
            self.drop_view(VoteMemory.KEYFRAME_ID)
        else:
            self.set_view(view)
            self.groups.adopt(view.keyframe_id, groups)

    def adopt(self, mask_objects: Mapping[int, np.ndarray], known: np.ndarray) -> None:
        """Begin with the objects of keyframes' masks ([num_masks + 1] ids, -1 none) as groups: the `known` ids, rising,
        from 0.
        """
        for key, objects in mask_objects.items():
            self.groups.adopt(key, number_among(known, objects[1:]))

    def pieces(self, uids: np.ndarray, everything: bool) -> Iterator[None]:
        """Take in what has changed, a bounded piece of work between two yields; `uids` [N] sorted are the living
        Gaussians. With `everything`, nothing is left waiting.
        """
        yield from self._take_views(uids)
        while not self.groups.join(self.overlaps):
            yield
        yield
        while self.groups.relink(self.overlaps, _NEIGHBOURHOODS) and everything:
            yield
        yield
        self._support()
        for keys in _parts(self.overlaps.keys, _VIEWS_COUNTED):
            for key in keys:
                k = self.overlaps.keys.index(key)
                self.tally.assign(key, self.mask_groups[self.table.offsets[k] : self.table.offsets[k + 1]])
            yield
        self.tally.count()
        yield
        while not self.tally.count_seen(_VIEWS_COUNTED, len(self.views)) and everything:
            yield

    def _take_views(self, uids: np.ndarray) -> Iterator[None]:
        self.overlaps.drop_views(self._gone)
        for key in sorted(self._gone):
            self.tally.drop_view(key)
            self.groups.of_view.pop(key, None)
            self._gone.discard(key)
            yield
        held = {votes.keyframe_id: votes for votes in self.table.votes}
        stale = self.overlaps.stale_views(uids, _DEAD_SHARE)
        if not self.overlaps.admit(uids):
            self.overlaps, stale = self.overlaps.drawn(uids), list(held)
        self._to_compare = {key: held[key] for key in stale} | self._to_compare
        self.tally.admit(uids)
        if len(uids) < (1 - _DEAD_ROWS) * len(self.tally.uids):
            self.tally = GroupTally(self.tally.config)
            self.tally.admit(uids)
            self._to_count = held | self._to_compare | self._to_count
        for key in list(self._to_compare | self._to_count):
            if key in self._to_compare:
                self.overlaps.set_view(self._to_compare.pop(key))
            if key in self._to_count:
                self.tally.set_view(self._to_count.pop(key))
            yield

    def _support(self) -> None:
        """Let the groups that enough keyframes support vote; with few keyframes so far, as many as there are."""
        groups, table = self.groups.numbers(self.overlaps), self.table
        count, frames = int(groups.max(initial=-1)) + 1, max(len(table.votes), 1)
        masks = np.flatnonzero(groups >= 0)
        pairs = np.unique(groups[masks] * frames + table.frame_of[masks])
        living = np.array([votes.keyframe_id != VoteMemory.KEYFRAME_ID for votes in table.votes], dtype=bool)
        self.views = np.bincount(pairs[living[pairs % frames]] // frames, minlength=count)
        if not living.all():
            k = int(np.flatnonzero(~living)[0])
            remembered = groups[table.offsets[k] : table.offsets[k + 1]]
            np.add.at(self.views, remembered[remembered >= 0], self._remembered[remembered >= 0])
        supported = self.views >= min(self.min_views, len(table.votes))
        self.mask_groups = np.where((groups >= 0) & _looked_up(supported, groups), groups, -1)


def number_among(known: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Index of each id among the `known` ones (rising), -1 where it is none of them."""
    if len(known) == 0:
        return np.full(len(ids), -1, np.int64)
    at = np.searchsorted(known, ids).clip(max=len(known) - 1)
    return np.where(known[at] == ids, at, -1)


def _looked_up(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    return values[at] if len(values) else np.zeros(len(at), values.dtype)


def _parts(items: list[int], size: int) -> list[list[int]]:
    return [items[begin : begin + size] for begin in range(0, len(items), size)]
