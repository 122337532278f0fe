"""Matter that is no object for sure and that views see through again and again."""

from __future__ import annotations

import numpy as np

from cgc_ros.gaussians.storage import SavedState


class StaleMatter:
    """Counts, by Gaussian, the views that saw through it since one agreed with it."""

    def __init__(self) -> None:
        self.uids, self.views = np.zeros(0, np.int64), np.zeros(0, np.int64)  # [S] rising; [S]

    def __len__(self) -> int:
        return len(self.uids)

    def hear(self, seen_through: np.ndarray, refuted: np.ndarray, living: np.ndarray, enough: int) -> np.ndarray:
        """A view saw through some Gaussians, and others are there or somebody's; uids of those that `enough` views saw
        through by now, which are forgotten, like those that are not `living` any more.
        """
        kept = np.isin(self.uids, living) & ~np.isin(self.uids, refuted)
        merged = np.union1d(self.uids[kept], seen_through)
        views = np.zeros(len(merged), np.int64)
        views[np.searchsorted(merged, self.uids[kept])] = self.views[kept]
        views[np.searchsorted(merged, seen_through)] += 1
        stale = views >= enough
        self.uids, self.views = merged[~stale], views[~stale]
        return merged[stale]

    def saved(self) -> SavedState:
        """For a map file."""
        return SavedState({"stale/uids": self.uids, "stale/views": self.views}, {})

    def restore(self, state: SavedState) -> None:
        """Go on from what `saved` gave; ValueError where it is garbled."""
        self.uids = state.arrays.get("stale/uids", np.zeros(0, np.int64))
        self.views = state.arrays.get("stale/views", np.zeros(0, np.int64))
        if self.uids.shape != self.views.shape:
            raise ValueError("what is seen through of the map is garbled")
