"""What keyframes that have left said about their Gaussians, in bounded memory: one object and one weight per
Gaussian.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from cgc_ros.gaussians.storage import SavedState
from cgc_ros.segmentation.votes import MaskVotes


@dataclass
class VoteMemory:
    """Majority vote of departed keyframes (Boyer and Moore 1981: agreement adds to the weight, contradiction takes
    from it).

    `as_view` turns it into one more view whose masks are the remembered objects, so that association and labelling
    need no second mechanism.
    """

    KEYFRAME_ID = -1

    uids: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # [R] sorted
    objects: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # [R] object id
    weights: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))  # [R] sums of square roots of pixels
    views: dict[int, int] = field(default_factory=dict)  # object id -> departed keyframes that supported it
    stamp_ns: int = 0  # newest departed keyframe

    def fold(self, votes: MaskVotes, objects: np.ndarray) -> None:
        """Take in a departing keyframe; `objects` [num_masks + 1] is the object id of each of its masks, -1 none."""
        ids = objects[votes.masks]
        said = ids >= 0
        uids, ids, weights = votes.uids[said], ids[said], np.sqrt(votes.weights[said])
        merged = np.union1d(self.uids, uids)
        old_ids, old_weights = np.full(len(merged), -1, np.int64), np.zeros(len(merged), np.float32)
        at = np.searchsorted(merged, self.uids)
        old_ids[at], old_weights[at] = self.objects, self.weights
        at = np.searchsorted(merged, uids)
        balance = np.where(old_ids[at] == ids, old_weights[at] + weights, old_weights[at] - weights)
        old_ids[at] = np.where(balance < 0, ids, old_ids[at])
        old_weights[at] = np.abs(balance)
        self.uids, self.objects, self.weights = merged, old_ids, old_weights
        for object_id in np.unique(ids).tolist():
            self.views[object_id] = self.views.get(object_id, 0) + 1
        self.stamp_ns = max(self.stamp_ns, votes.stamp_ns)

    def as_view(self, living: np.ndarray, max_standing: float) -> MaskVotes | None:
        """The memory as one view's votes, which speak for `max_standing` keyframes at most; Gaussians that are not
        among `living` uids ([N], sorted) are forgotten.
        """
        alive = np.isin(self.uids, living, assume_unique=True)
        self.uids, self.objects, self.weights = self.uids[alive], self.objects[alive], self.weights[alive]
        if len(self.uids) == 0:
            return None
        known, masks = np.unique(self.objects, return_inverse=True)
        self.views = {object_id: self.views.get(object_id, 1) for object_id in known.tolist()}
        count = len(known)
        return MaskVotes(
            self.KEYFRAME_ID,
            self.stamp_ns,
            self.uids,
            (masks + 1).astype(np.int32),
            self.weights**2,
            count,
            np.zeros(count + 1, dtype=bool),
            np.zeros(count + 1, dtype=np.float32),
            standing=min(max_standing, float(np.median(list(self.views.values())))),
        )

    def forget(self, object_id: int) -> None:
        """Nothing that was said of an object holds any more."""
        kept = self.objects != object_id
        self.uids, self.objects, self.weights = self.uids[kept], self.objects[kept], self.weights[kept]
        self.views.pop(object_id, None)

    def renumber(self, object_id: int, new_id: int) -> None:
        """What was said of an object is said of another id."""
        self.objects = np.where(self.objects == object_id, new_id, self.objects)
        if object_id in self.views:
            self.views[new_id] = self.views.pop(object_id)

    def saved(self) -> SavedState:
        """For a map file."""
        arrays = {"memory/uids": self.uids, "memory/objects": self.objects, "memory/weights": self.weights}
        return SavedState(arrays, {"memory_views": self.views, "memory_stamp_ns": self.stamp_ns})

    def restore(self, state: SavedState) -> None:
        """Go on from what `saved` gave; KeyError, TypeError or ValueError where it lacks or garbles something."""
        self.uids, self.objects, self.weights = (
            state.arrays[f"memory/{name}"] for name in ("uids", "objects", "weights")
        )
        if not self.uids.shape == self.objects.shape == self.weights.shape or self.uids.ndim != 1:
            raise ValueError(f"the memory has {self.uids.shape} Gaussians and {self.objects.shape} objects")
        self.views = {int(key): int(value) for key, value in state.info["memory_views"].items()}
        self.stamp_ns = int(state.info["memory_stamp_ns"])

    def views_of_masks(self) -> np.ndarray:
        """Departed keyframes behind each mask of `as_view`, [num_masks]."""
        return np.array([self.views[object_id] for object_id in np.unique(self.objects).tolist()], dtype=np.int64)
