"""How the masks of all views share Gaussians, kept up to date view by view.

What `association._mask_shares` computes of all masks at once, here for the masks of one view against all others: the
sample of Gaussians is a dense table of each one's mask in each view, and a view that comes, votes again or leaves
touches the Gaussians that it sees.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from scipy import sparse

from cgc_ros.segmentation.association import ROUNDING, MaskTable
from cgc_ros.segmentation.config import AssociationConfig
from cgc_ros.segmentation.votes import MaskVotes

UNSEEN = -1
ROOM_LEFT = 0.6  # of the sample's size is filled when it is drawn anew: maps grow
_GROWTH = 1.3  # of a table that is full


class MaskOverlaps:
    """Views' masks in one numbering (`table`), their distributions over each other's masks and who observes whom."""

    def __init__(self, config: AssociationConfig):
        self.config = config
        self.uids = np.zeros(0, np.int64)  # [S] sorted: the sample, Gaussians that died since included
        self.limit = np.uint64(2**32)  # hashes below it are in the sample
        self.newest = -1  # largest uid looked at
        self.keys: list[int] = []  # keyframe of each view
        self.table = MaskTable.of([])
        self.dirty = np.zeros(0, bool)  # [M] masks whose distribution has changed since `settle`
        self._masks: np.ndarray = np.zeros((0, 0), np.int32)  # [S, K] mask of the Gaussian in the view, 0 none, UNSEEN
        self._pixels: np.ndarray = np.zeros(
            (0, 0), np.float32
        )  # [S, K] what it takes there, in units of the mask's mean
        self._sizes = np.zeros(0, np.float32)  # [M] Gaussians of the sample in each mask
        self._observed = np.zeros((0, 0), np.float32)  # [M, K] 0 or 1
        self._purest = np.zeros((0, 0), np.float32)  # [M, K] share of the mask in the view's mask that has most of it
        self._entries: tuple[np.ndarray, ...] = _no_entries()  # rows, columns, values of the unit distributions
        self._matrix: sparse.csr_matrix | None = None  # of `unit`
        self._observers: np.ndarray | None = None

    def admit(self, living: np.ndarray) -> bool:
        """Take new Gaussians into the sample; False where it is overfull and has to be drawn anew (`drawn`)."""
        fresh = living[np.searchsorted(living, self.newest, side="right") :]
        if len(fresh) == 0:
            return True
        self.newest = int(fresh[-1])
        self.uids = np.concatenate([self.uids, fresh[_hashes(fresh) < self.limit]])
        self._reserve(len(self.uids), len(self.keys))
        return len(self.uids) <= self.config.association_sample

    def drawn(self, living: np.ndarray) -> MaskOverlaps:
        """An empty one whose sample is of the `living` uids ([N] sorted)."""
        other, size = MaskOverlaps(self.config), self.config.association_sample
        if len(living) > size:
            other.limit = np.partition(_hashes(living), int(ROOM_LEFT * size))[int(ROOM_LEFT * size)]
        other.admit(living)
        return other

    def set_view(self, votes: MaskVotes) -> None:
        """Add a view, or replace it."""
        self.drop_views([votes.keyframe_id])
        k, first = len(self.keys), len(self.table)
        self._reserve(len(self.uids), k + 1)
        self.keys.append(votes.keyframe_id)
        self.table = MaskTable.of([*self.table.votes, votes])
        count = len(self.table)
        self._sizes, self.dirty = _extended(self._sizes, (count,)), _extended(self.dirty, (count,))
        self._observed = _extended(self._observed, (count, k + 1))
        self._purest = _extended(self._purest, (count, k + 1))
        rows = np.searchsorted(self.uids, votes.uids).clip(max=max(len(self.uids) - 1, 0))
        found = self.uids[rows] == votes.uids if len(self.uids) else np.zeros(len(rows), bool)
        rows, masks, pixels = rows[found], votes.masks[found], votes.weights[found]
        counts = np.bincount(masks, minlength=votes.num_masks + 1)
        means = np.maximum(np.bincount(masks, weights=pixels, minlength=len(counts)), 1e-9) / np.maximum(counts, 1)
        self._masks[:, k] = UNSEEN
        self._masks[rows, k], self._pixels[rows, k] = masks, pixels / means[masks]
        self._sizes[first:] = counts[1:]
        self._compare(k, rows)

    def drop_views(self, keys: Collection[int]) -> None:
        """Forget views; those that are not known are no matter."""
        kept = np.array([key not in keys for key in self.keys], dtype=bool)
        if kept.all():
            return
        stays = kept[self.table.frame_of]
        number = (np.cumsum(stays) - 1).astype(np.int32)
        rows, columns, values = self._entries
        self.dirty[rows[~stays[columns]]] = True
        valid = stays[rows] & stays[columns]
        self._entries = (number[rows[valid]], number[columns[valid]], values[valid])
        self._matrix = self._observers = None
        self.dirty, self._sizes = self.dirty[stays], self._sizes[stays]
        self._observed, self._purest = (each[np.ix_(stays, kept)] for each in (self._observed, self._purest))
        views, left = len(kept), int(kept.sum())
        for each in (self._masks, self._pixels):
            each[:, :left] = each[:, :views][:, kept]
        self.keys = [key for key, stay in zip(self.keys, kept, strict=True) if stay]
        self.table = MaskTable.of([votes for votes, stay in zip(self.table.votes, kept, strict=True) if stay])

    def stale_views(self, living: np.ndarray, share: float) -> list[int]:
        """Views more than a `share` of whose Gaussians have died."""
        if len(self.uids) == 0 or not self.keys:
            return []
        at = np.searchsorted(living, self.uids).clip(max=max(len(living) - 1, 0))
        dead = living[at] != self.uids if len(living) else np.ones(len(self.uids), bool)
        if not dead.any():
            return []
        views = slice(len(self.keys))
        lost = (self._masks[: len(self.uids)][dead][:, views] > UNSEEN).sum(axis=0)
        seen = (self._masks[: len(self.uids), views] > UNSEEN).sum(axis=0)
        return [key for key, count, of in zip(self.keys, lost, seen, strict=True) if count > share * of]

    def settle(self) -> None:
        """Forget which masks have changed."""
        self.dirty[:] = False

    def standing(self) -> np.ndarray:
        """Keyframes that each view speaks for, [K] float32."""
        return np.array([votes.standing for votes in self.table.votes], dtype=np.float32)

    def pure(self) -> np.ndarray:
        """Masks that are observed and that other views do not scatter, [M] bool."""
        standing = self.standing()
        own = standing[self.table.frame_of] if len(self.table) else np.zeros(0, np.float32)
        others, purity = self._observed @ standing - own, self._purest @ standing - own
        return self._observed.any(axis=1) & (purity >= self.config.purity * others - ROUNDING)

    def unit(self) -> sparse.csr_matrix:
        """[M, M] each mask's distribution over every view's masks, of length the root of the view's standing."""
        if self._matrix is None:
            rows, columns, values = self._entries
            scaled = values * np.sqrt(self.standing())[self.table.frame_of[columns]] if len(rows) else values
            self._matrix = sparse.csr_matrix((scaled, (rows, columns)), shape=(len(self.table),) * 2)
        return self._matrix

    def observers(self) -> np.ndarray:
        """[M, K] float32: the root of the standing of each view that observes the mask, else 0."""
        if self._observers is None:
            self._observers = self._observed * np.sqrt(self.standing())
        return self._observers

    def _compare(self, k: int, rows: np.ndarray) -> None:
        """Fill in how the masks of view k and those of all views lie in each other; k sees the Gaussians `rows`."""
        table, views = self.table, len(self.keys)
        own = slice(int(table.offsets[k]), int(table.offsets[k + 1]))
        masks = self._masks[rows, :views]
        inside = masks > 0
        at = np.flatnonzero(inside)
        columns = (table.offsets[:-1] + masks - 1).ravel()[at]
        pixels = self._pixels[rows, :views].ravel()[at]
        pointers = np.concatenate([[0], np.cumsum(inside.sum(axis=1))])
        shape = (len(rows), len(table))
        in_mask = sparse.csr_matrix((np.ones(len(at), np.float32), columns, pointers), shape=shape)
        share = sparse.csr_matrix((pixels, columns, pointers), shape=shape)
        mine, here = masks[:, k], np.flatnonzero(masks[:, k] > 0)
        weights = self._pixels[rows[here], k]
        shape = (own.stop - own.start, len(rows))
        own_share = sparse.csr_matrix((weights, (mine[here] - 1, here)), shape=shape)
        own_mask = sparse.csr_matrix((np.ones(len(here), np.float32), (mine[here] - 1, here)), shape=shape)
        # The masks of k over those of every view.
        seen = own_share @ (masks > UNSEEN).astype(np.float32)
        self._take(*_coordinates(own_share @ in_mask, own.start), seen, np.arange(own.start, own.stop), None)
        # Those of the other views over the masks of k.
        seen = np.bincount(columns, weights=pixels, minlength=len(table)).astype(np.float32)
        others, theirs, values = _coordinates((own_mask @ share).T.tocsr(), 0)
        foreign = (others < own.start) | (others >= own.stop)
        touched = np.unique(others[foreign])
        self._take(others[foreign], theirs[foreign] + own.start, values[foreign], seen[touched][:, None], touched, k)
        self.dirty[own] = True
        self.dirty[touched] = True

    def _take(self, rows, columns, values, seen: np.ndarray, masks: np.ndarray, view: int | None) -> None:
        """Add what lies of `masks` ([m] rising) in which mask (entries, by row and column), of which each view sees
        `seen` [m, K], or [m, 1] for one `view`.
        """
        if len(masks) == 0:
            return
        views = seen.shape[1]
        frames = np.zeros(len(rows), np.int64) if view is not None else self.table.frame_of[columns]
        cells = np.searchsorted(masks, rows) * views + frames
        shape = (len(masks), views)
        masked = np.bincount(cells, weights=values, minlength=shape[0] * views).reshape(shape)
        norms = np.sqrt(np.bincount(cells, weights=values * values, minlength=shape[0] * views)).reshape(shape)
        most = np.zeros(shape[0] * views)
        if len(cells):  # entries come by row and column, so those of a cell stand together
            starts = np.flatnonzero(np.diff(cells, prepend=-1))
            most[cells[starts]] = np.maximum.reduceat(values, starts)
        enough = seen >= np.maximum(self.config.visibility * self._sizes[masks][:, None], 1)
        observed = enough & (masked >= self.config.masked_share * np.maximum(seen, 1))
        place = (masks,) if view is None else (masks, view)
        purest = np.where(observed, most.reshape(shape) / np.maximum(masked, 1.0), 0.0)
        self._observed[place] = observed if view is None else observed[:, 0]
        self._purest[place] = purest if view is None else purest[:, 0]
        taken = observed.ravel()[cells]
        unit = (values[taken] / np.maximum(norms.ravel()[cells[taken]], 1e-9)).astype(np.float32)
        new = (rows[taken].astype(np.int32), columns[taken].astype(np.int32), unit)
        self._entries = tuple(np.concatenate(pair) for pair in zip(self._entries, new, strict=True))
        self._matrix = self._observers = None

    def _reserve(self, rows: int, views: int) -> None:
        """Make room in the table."""
        have = self._masks.shape
        if rows <= have[0] and views <= have[1]:
            return
        shape = tuple(
            old if new <= old else int(_GROWTH * new) + 8 for old, new in zip(have, (rows, views), strict=True)
        )
        masks, pixels = np.full(shape, UNSEEN, np.int32), np.zeros(shape, np.float32)
        masks[: have[0], : have[1]], pixels[: have[0], : have[1]] = self._masks, self._pixels
        self._masks, self._pixels = masks, pixels


def _hashes(uids: np.ndarray) -> np.ndarray:
    """A pseudo-random number below 2^32 of every uid, [N] uint64: those of the smallest are a sample that lasts."""
    return (uids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)


def _coordinates(matrix: sparse.csr_matrix, first_row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows (counted from `first_row`), columns and values, sorted by row and column."""
    matrix.sort_indices()
    rows = np.repeat(np.arange(matrix.shape[0]) + first_row, np.diff(matrix.indptr))
    return rows, matrix.indices, matrix.data


def _no_entries() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.float32)


def _extended(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    larger = np.zeros(shape, values.dtype)
    larger[tuple(slice(0, size) for size in values.shape)] = values
    return larger
