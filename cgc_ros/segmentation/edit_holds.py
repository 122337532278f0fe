"""One edit of the objects, and what it makes of the objects that association finds.

An edit holds on to Gaussians by their uids, which training and regrouping leave alone. What association finds is not
touched: an edit is laid over it, and taken away again without a trace.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.spatial import cKDTree

from cgc_ros.segmentation.evidence import number_among

_MAJORITY = 0.5  # of an object's Gaussians that are an edit's, from which on the rest goes with them
_LOOKED_AT = 10_000  # Gaussians of an object that new ones are compared with, at most


@dataclass
class Hold:
    """Gaussians that an edit speaks of as one thing."""

    id: int  # lasting: of the object that it was, of a part the one that it became
    uids: np.ndarray  # [M] int64 sorted; those that left the map included, they may come back
    lifted: bool = False  # a pin that was taken out since


@dataclass(frozen=True)
class Update:
    """What an edit learns from."""

    means: np.ndarray  # [N, 3] where the Gaussians are
    former: np.ndarray  # [N] int64, labels before the update, without the edit; -1 for what was of no object
    draw: Callable[[], int]  # an id that nobody has, -1 where none is left
    min_gaussians: int  # of something that gets an id


@dataclass
class Edit:
    """What was done by hand: `rename`, `delete`, `merge` (`ids[0]` is kept), `split`, `pin` or `unpin`."""

    kind: str
    ids: tuple[int, ...]  # of objects, as it was asked for
    holds: list[Hold] = field(default_factory=list)
    label: str = ""  # of a rename: the name that it gives, and
    label_before: str = ""  # the one that was given before
    #: What later came under one of this edit's ids without being of it, and the ids it goes by.
    stranger_uids: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # [S] sorted
    stranger_ids: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # [S]

    @property
    def spoken_for(self) -> set[int]:
        """Ids that nobody else may get while this edit holds."""
        return {*self.ids, *(hold.id for hold in self.holds), *np.unique(self.stranger_ids).tolist()}

    @property
    def targets(self) -> np.ndarray:
        """Id that each hold is published under, [H] int64, -1 none."""
        ids = {"delete": [-1] * len(self.holds), "merge": [self.ids[0]] * len(self.holds)}
        return np.array(ids.get(self.kind, [hold.id for hold in self.holds]), dtype=np.int64)

    def learn(self, uids: np.ndarray, labels: np.ndarray, settled: np.ndarray, update: Update) -> None:
        """Follow an update, given what `laid_over` is given. What is new is
        taken in, what was lost to others by the votes is let go, and what has come under an id of this edit's without
        being of it gets another one, which it keeps.
        """
        self._grow(uids, labels, update.former, update.means)
        laid = self._laid(uids, labels, settled, lifted=True)
        self._name_strangers(laid.strangers, uids, labels, update)
        for side in np.unique(laid.sides_lost).tolist():
            lost = uids[laid.lost[laid.sides_lost == side]]
            self.holds[side].uids = np.setdiff1d(self.holds[side].uids, lost, assume_unique=True)

    def laid_over(self, uids: np.ndarray, labels: np.ndarray, settled: np.ndarray) -> np.ndarray:
        """Labels [N] int64 of the Gaussians `uids` ([N] sorted) with this edit, given those without it; those of which
        it has decided are marked in `settled` [N] bool, beside those that earlier edits have.

        An object of which most is held goes with what is held of it, but for what is settled otherwise. What a hold has
        lost to others by the votes stays lost; where it has lost most, all of it comes back. What is pinned or deleted
        is so Gaussian by Gaussian.
        """
        laid = self._laid(uids, labels, settled, lifted=False)
        laid.labels[laid.strangers] = self._stranger_ids_of(uids[laid.strangers])
        settled[laid.taken] = True
        return laid.labels

    def _grow(self, uids: np.ndarray, labels: np.ndarray, former: np.ndarray, means: np.ndarray) -> None:
        """Take in what training added: Gaussians that were of no object and now are of one go with the nearest older
        one of the same object, which the edit may hold or not.

        An object that is mostly new is another one: it takes nothing over from the few old Gaussians in it.
        """
        held, new = self._held(uids), former < 0
        count = max(int(labels.max(initial=-1)), int(former.max(initial=-1))) + 2
        near, known = np.zeros(count, bool), np.zeros(count, bool)  # objects of which something is held; of before
        near[labels[held >= 0]] = known[former] = True
        near[-1] = False  # what is of no object
        fresh = np.flatnonzero(new & (held < 0) & near[labels])
        for label in np.unique(labels[fresh]).tolist():
            mine = np.flatnonzero(labels == label)
            old = mine[~new[mine] | (held[mine] >= 0)]
            if not known[label] and len(old) < _MAJORITY * len(mine):
                continue
            if self.kind != "delete" or (held[old] >= 0).mean() >= _MAJORITY:
                joining = fresh[labels[fresh] == label]
                self._take(uids[joining], _nearest_side(held[old], means[old], means[joining]))
        for side, hold in enumerate(self.holds):
            # All of its Gaussians were exchanged: the id says which they are.
            mine = np.flatnonzero(labels == hold.id)
            if len(mine) and not (held == side).any() and (held[mine] < 0).all():
                self._take(uids[mine], np.full(len(mine), side))

    def _laid(self, uids: np.ndarray, labels: np.ndarray, settled: np.ndarray, lifted: bool) -> _Laid:
        """`lifted`: as if no pin were."""
        held, targets = self._held(uids, lifted), self.targets
        rows = np.flatnonzero(held >= 0)
        sides, at = held[rows], labels[rows]
        count = max(int(labels.max(initial=-1)), 0) + 2  # the last is for what has no label
        shares = np.bincount(at % count * len(targets) + sides, minlength=count * len(targets)).reshape(count, -1)
        shares[-1] = 0
        total, sizes = shares.sum(axis=1), np.bincount(labels % count, minlength=count)
        follows = (total >= _MAJORITY * sizes) & (total > 0) & (self.kind != "pin")
        lost = np.bincount(sides[~follows[at]], minlength=len(targets))
        comes_back = 2 * lost > np.bincount(sides, minlength=len(targets))
        comes_back |= self.kind in ("pin", "delete")
        taken = follows[at] | comes_back[sides]
        own = np.zeros(count, bool)
        own[[each for each in self._own_ids(lifted) if each < count - 1]] = True
        going = follows[labels] & (~settled | own[labels])
        laid = np.where(going, targets[shares.argmax(axis=1)][labels], labels)
        laid[rows[taken]] = targets[sides[taken]]
        is_stranger = (own & ~follows)[labels]
        is_stranger[rows[taken]] = False
        away = ~taken & (at >= 0)
        return _Laid(laid, rows[taken], np.flatnonzero(is_stranger), rows[away], sides[away])

    def _name_strangers(self, rows: np.ndarray, uids: np.ndarray, labels: np.ndarray, update: Update) -> None:
        """Ids for the Gaussians `rows`, which `labels` [N] has under ids of this edit's: those that they had before, or
        else that of others beside them, or else a new one.
        """
        ids = self._stranger_ids_of(uids[rows])
        known = ids >= 0
        if known.all():
            return
        own = np.isin(update.former[rows], list(self._own_ids(lifted=True)))
        ids = np.where(known | own, ids, update.former[rows])
        for label in np.unique(labels[rows]).tolist():
            mine = labels[rows] == label
            unnamed, named = mine & (ids < 0), ids[mine & (ids >= 0)]
            if len(named):
                ids[unnamed] = np.bincount(named).argmax()
            elif unnamed.sum() >= update.min_gaussians:
                ids[unnamed] = update.draw()
        fresh = ~known & (ids >= 0)
        joined = np.concatenate([self.stranger_uids, uids[rows[fresh]]])
        order = np.argsort(joined, kind="stable")
        self.stranger_uids = joined[order]
        self.stranger_ids = np.concatenate([self.stranger_ids, ids[fresh]])[order]

    def _stranger_ids_of(self, uids: np.ndarray) -> np.ndarray:
        return np.append(self.stranger_ids, -1)[number_among(self.stranger_uids, uids)]

    def _own_ids(self, lifted: bool) -> set[int]:
        """Ids under which there is nothing but what this edit holds."""
        held = {hold.id for hold in self.holds if lifted or not hold.lifted}
        return held if self.kind == "pin" else held | set(self.ids)

    def _held(self, uids: np.ndarray, lifted: bool = True) -> np.ndarray:
        """Index of the hold of each of the Gaussians `uids` ([N] sorted), [N], -1 none; with pins that are `lifted`, or
        without them.
        """
        held = np.full(len(uids), -1, np.int64)
        for side, hold in enumerate(self.holds):
            if lifted or not hold.lifted:
                rows = number_among(uids, hold.uids)
                held[rows[rows >= 0]] = side
        return held

    def _take(self, uids: np.ndarray, sides: np.ndarray) -> None:
        for side in np.unique(sides[sides >= 0]).tolist():
            self.holds[side].uids = np.union1d(self.holds[side].uids, uids[sides == side])


@dataclass(frozen=True)
class _Laid:
    """An edit over labels."""

    labels: np.ndarray  # [N] with the edit, but for strangers
    taken: np.ndarray  # rows of Gaussians that are held, and go where the edit has them
    strangers: np.ndarray  # rows of Gaussians that are under an id of the edit's without being of it
    lost: np.ndarray  # [L] rows of Gaussians that are held, and are of other objects by the votes
    sides_lost: np.ndarray  # [L] index of their hold


def _nearest_side(sides: np.ndarray, means: np.ndarray, joining: np.ndarray) -> np.ndarray:
    """The side ([O], -1 none) of the nearest of the positions `means` [O, 3] to each of `joining` [J, 3]."""
    if len(sides) == 0 or (sides == sides[0]).all():
        return np.full(len(joining), sides[0] if len(sides) else -1)
    every = -(-len(sides) // _LOOKED_AT)
    return sides[::every][cKDTree(means[::every]).query(joining)[1]]
