"""Every Gaussian's votes for groups of masks, kept up to date as views come and masks change their group.

Sums are whole numbers, so what is added can be taken away again without a trace.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cgc_ros.segmentation.config import LabellingConfig
from cgc_ros.segmentation.votes import MaskVotes

_SLOTS = 8  # groups that a Gaussian's votes are counted for; of more, the least voted for is lost
_UNIT = 1024.0  # a voice (root of pixels) of one
_NONE = -1


@dataclass
class _Ballot:
    """What a view has said: Gaussians by mask."""

    rows: np.ndarray  # [V] int32
    voices: np.ndarray  # [V] int32
    starts: np.ndarray  # [num_masks + 2] where the Gaussians of each mask begin
    groups: np.ndarray  # [num_masks] group that each mask's votes went to
    seen: np.ndarray  # [G] Gaussians of each group that the view sees
    is_counted: bool = False  # `seen` is of the groups as they are


class GroupTally:
    """Group of every Gaussian by the votes of all views."""

    def __init__(self, config: LabellingConfig):
        self.config = config
        self.uids = np.zeros(0, np.int64)  # [N] sorted; Gaussians that died since included
        self.labels = np.zeros(0, np.int32)  # [N] group of most votes, -1 where none has enough
        self.confidence = np.zeros(0, np.float32)  # [N] its share of the votes for any group
        self.silent, self.masked = np.zeros(0, np.int32), np.zeros(0, np.int32)  # voices without and with a mask
        self._groups, self._sums = np.zeros((0, _SLOTS), np.int32), np.zeros((0, _SLOTS), np.int32)
        self._touched = np.zeros(0, bool)
        self._ballots: dict[int, _Ballot] = {}

    def admit(self, living: np.ndarray) -> None:
        """Take in Gaussians that are new."""
        fresh = living[np.searchsorted(living, self.uids[-1] if len(self.uids) else -1, side="right") :]
        if len(fresh) == 0:
            return
        count = len(fresh)
        self.uids = np.concatenate([self.uids, fresh])
        self.labels = np.concatenate([self.labels, np.full(count, _NONE, np.int32)])
        self.confidence = np.concatenate([self.confidence, np.zeros(count, np.float32)])
        self.silent, self.masked = (
            np.concatenate([each, np.zeros(count, np.int32)]) for each in (self.silent, self.masked)
        )
        self._groups = np.concatenate([self._groups, np.full((count, _SLOTS), _NONE, np.int32)])
        self._sums = np.concatenate([self._sums, np.zeros((count, _SLOTS), np.int32)])
        self._touched = np.concatenate([self._touched, np.zeros(count, bool)])

    def keys(self) -> list[int]:
        """Keyframes that have voted."""
        return list(self._ballots)

    def set_view(self, votes: MaskVotes) -> None:
        """Count a view's votes, in place of those that it cast before."""
        self.drop_view(votes.keyframe_id)
        rows = np.searchsorted(self.uids, votes.uids).clip(max=max(len(self.uids) - 1, 0))
        found = np.flatnonzero(self.uids[rows] == votes.uids) if len(self.uids) else np.zeros(0, int)
        order = found[np.argsort(votes.masks[found].astype(np.int16), kind="stable")]  # a radix sort
        # Near views would outvote all others by their pixel count: a view's voice grows with the square root only.
        voices = np.maximum(np.sqrt(votes.weights[order]) * _UNIT, 1).astype(np.int32)
        starts = np.searchsorted(votes.masks[order], np.arange(votes.num_masks + 2))
        ballot = _Ballot(
            rows[order].astype(np.int32), voices, starts, np.full(votes.num_masks, _NONE), np.zeros(0, np.int64)
        )
        self._ballots[votes.keyframe_id] = ballot
        self._hear(ballot, 1)

    def drop_view(self, key: int) -> None:
        """Take back a view's votes."""
        ballot = self._ballots.pop(key, None)
        if ballot is not None:
            self._move(ballot, np.full(len(ballot.groups), _NONE))
            self._hear(ballot, -1)

    def assign(self, key: int, groups: np.ndarray) -> None:
        """A view's masks vote for these groups ([num_masks], -1 none)."""
        self._move(self._ballots[key], groups)

    def count(self) -> np.ndarray:
        """Decide what has changed; rows whose group is another one than before."""
        rows = np.flatnonzero(self._touched)
        self._touched[:] = False
        groups, sums = self._groups[rows], self._sums[rows]
        voted = sums.sum(axis=1)
        # Of equal sums the smallest group's, wherever its slot is.
        most = sums.max(axis=1, initial=0)
        best = np.where(sums == most[:, None], groups, np.iinfo(np.int32).max).min(axis=1, initial=2**31 - 1)
        chosen = (voted > 0) & (most >= self.config.min_share * (voted + self.silent[rows]))
        labels = np.where(chosen, best, _NONE).astype(np.int32)
        self.confidence[rows] = most / np.maximum(voted, 1)
        changed = rows[labels != self.labels[rows]]
        self.labels[rows] = labels
        if len(changed):
            for ballot in self._ballots.values():
                ballot.is_counted = False
        return changed

    def count_seen(self, views: int, num_groups: int) -> bool:
        """For so many views, count anew the Gaussians of each group that they see; False where some are out of date."""
        waiting = [ballot for ballot in self._ballots.values() if not ballot.is_counted]
        for ballot in waiting[:views]:
            ballot.seen = np.bincount(self.labels[ballot.rows] + 1, minlength=num_groups + 1)[1:]
            ballot.is_counted = True
        return len(waiting) <= views

    def observers(self, sizes: np.ndarray) -> np.ndarray:
        """Views that see a good part of each group, which has `sizes` [G] Gaussians, [G]."""
        needed = np.maximum(self.config.observed_share * sizes, 1)
        found = np.zeros(len(sizes), np.int64)
        for ballot in self._ballots.values():
            count = min(len(ballot.seen), len(sizes))
            found[:count] += ballot.seen[:count] >= needed[:count]
        return found

    def _hear(self, ballot: _Ballot, sign: int) -> None:
        """Count voices with a mask and without one; a Gaussian is in one mask of a view."""
        first = ballot.starts[1]
        self.silent[ballot.rows[:first]] += sign * ballot.voices[:first]
        self.masked[ballot.rows[first:]] += sign * ballot.voices[first:]
        self._touched[ballot.rows] = True

    def _move(self, ballot: _Ballot, groups: np.ndarray) -> None:
        """The votes of a view's masks go from the groups that they went to, to others."""
        changed = np.flatnonzero(ballot.groups != groups)
        if len(changed) == 0:
            return
        sizes = ballot.starts[changed + 2] - ballot.starts[changed + 1]
        first = np.cumsum(sizes) - sizes
        at = np.repeat(ballot.starts[changed + 1] - first, sizes) + np.arange(int(sizes.sum()))
        rows, voices = ballot.rows[at], ballot.voices[at]
        self._take(rows, np.repeat(ballot.groups[changed], sizes), voices)
        self._give(rows, np.repeat(groups[changed], sizes), voices)
        self._touched[rows] = True
        ballot.groups = groups.copy()

    def _take(self, rows: np.ndarray, groups: np.ndarray, voices: np.ndarray) -> None:
        voting = groups >= 0
        rows, groups, voices = rows[voting], groups[voting], voices[voting]
        hit = self._groups[rows] == groups[:, None]
        found = hit.any(axis=1)
        rows, slots, voices = rows[found], hit.argmax(axis=1)[found], voices[found]
        left = np.maximum(self._sums[rows, slots] - voices, 0)
        self._sums[rows, slots] = left
        self._groups[rows[left == 0], slots[left == 0]] = _NONE

    def _give(self, rows: np.ndarray, groups: np.ndarray, voices: np.ndarray) -> None:
        voting = groups >= 0
        rows, groups, voices = rows[voting], groups[voting], voices[voting]
        hit = self._groups[rows] == groups[:, None]
        found = hit.any(axis=1)
        # Where the group has no slot, the emptiest one is its.
        slots = np.where(found, hit.argmax(axis=1), self._sums[rows].argmin(axis=1)) if len(rows) else found
        self._sums[rows, slots] = np.where(found, self._sums[rows, slots], 0) + voices
        self._groups[rows, slots] = groups
