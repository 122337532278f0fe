"""Gaussians that were put where something new stands: keyframes of before know nothing of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from cgc_ros.gaussians.storage import SavedState

_ARRAYS = ("fresh/uids", "fresh/stamps_ns", "fresh/views", "fresh/is_sure")


@dataclass
class FreshMatter:
    """By Gaussian: when it came, and how many views agreed since."""

    uids: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # [F] rising
    stamps_ns: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # [F]
    views: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # [F] that agree; -1: enough did
    is_sure: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))  # [F] seen to be new, not only beside such

    def add(self, uids: np.ndarray, stamp_ns: int, is_sure: np.ndarray) -> None:
        """Gaussians ([M] uids, rising, larger than all before) of a keyframe."""
        self.is_sure = np.concatenate([self.is_sure, is_sure])
        self.uids = np.concatenate([self.uids, uids])
        self.stamps_ns = np.concatenate([self.stamps_ns, np.full(len(uids), stamp_ns, np.int64)])
        self.views = np.concatenate([self.views, np.zeros(len(uids), np.int64)])

    @property
    def sure_uids(self) -> np.ndarray:
        """Those that were seen to be new, rising."""
        return self.uids[self.is_sure]

    @property
    def is_waiting(self) -> bool:
        """Whether views are still to bear some of them out."""
        return bool((self.views >= 0).any())

    def came_since(self, stamp_ns: int) -> bool:
        """Whether any came after a stamp."""
        return bool((self.stamps_ns > stamp_ns).any())

    def hear(
        self, agrees: np.ndarray, through: np.ndarray, living: np.ndarray, enough: int
    ) -> tuple[np.ndarray, int | None]:
        """A view agrees with some Gaussians and sees through others (uids); which of those that are `living` have by
        now been borne out by so many views, rising, and when the first of them came. Each is told once.
        """
        self._keep(np.isin(self.uids, living))
        waiting = self.views >= 0
        self.views[waiting] += np.isin(self.uids[waiting], agrees)
        self.views[waiting & np.isin(self.uids, through)] = 0
        settled = self.views >= enough
        self.views[settled] = -1
        return self.uids[settled], int(self.stamps_ns[settled].min()) if settled.any() else None

    def since(self, stamp_ns: int) -> np.ndarray:
        """Those that came after a stamp, by uid, rising."""
        return self.uids[self.stamps_ns > stamp_ns]

    def saved(self) -> SavedState:
        """For a map file."""
        return SavedState({name: getattr(self, name[6:]) for name in _ARRAYS}, {})

    def restore(self, state: SavedState) -> None:
        """Go on from what `saved` gave, nothing in files of before it was kept; ValueError where it is garbled."""
        if _ARRAYS[0] not in state.arrays:
            return
        self.uids, self.stamps_ns, self.views, self.is_sure = (state.arrays[name] for name in _ARRAYS)
        shapes = {state.arrays[name].shape for name in _ARRAYS}
        if len(shapes) > 1 or self.uids.ndim != 1 or (np.diff(self.uids) <= 0).any():
            raise ValueError("what is new of the map is garbled")

    def _keep(self, kept: np.ndarray) -> None:
        self.uids, self.stamps_ns, self.views = self.uids[kept], self.stamps_ns[kept], self.views[kept]
        self.is_sure = self.is_sure[kept]
