"""Which masks are one object, kept from update to update.

The consensus of two groups of masks is a ratio of pooled sums. With P the sums of their members' unit distributions
and C the counts of members that each view observes, agreement = P P' and observers = C C': linkage goes on from the
groups that there are, at the cost of groups instead of masks. What it joined too early, before other views spoke, it
cannot part; so neighbourhoods that have changed are linked anew from single masks, the least consistent first.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from cgc_ros.segmentation.association import average_linkage
from cgc_ros.segmentation.config import AssociationConfig
from cgc_ros.segmentation.overlaps import MaskOverlaps

_MAX_MASKS = 300  # that a neighbourhood has, unless its group alone has more
_MAX_NEW = 500  # masks that join at once


class MaskGroups:
    """Group of every mask, by keyframe; groups have numbers from 0, which they keep while they have masks."""

    def __init__(self, config: AssociationConfig):
        self.config = config
        self.of_view: dict[int, np.ndarray] = {}  # [num_masks] group of each mask of a keyframe, -1 none
        self.waiting: set[int] = set()  # groups that have changed since they were last linked from single masks

    def numbers(self, overlaps: MaskOverlaps) -> np.ndarray:
        """Group of every mask in the numbering of `overlaps`, [M] int64, -1 = none (or not asked about yet)."""
        table = overlaps.table
        groups = np.full(len(table), -1, np.int64)
        for k, votes in enumerate(table.votes):
            known = self.of_view.get(votes.keyframe_id)
            if known is not None and len(known) == votes.num_masks:
                groups[table.offsets[k] : table.offsets[k + 1]] = known
        return groups

    def join(self, overlaps: MaskOverlaps) -> bool:
        """Take in masks that are new, some hundred at a time, and join what has come to agree with them or with others
        that changed; False where some are left.
        """
        groups, pure = self.numbers(overlaps), overlaps.pure()
        changed = np.unique(groups[(groups >= 0) & (overlaps.dirty | ~pure)])
        groups[~pure] = -1
        new = np.flatnonzero(pure & (groups < 0))
        complete, new = len(new) <= _MAX_NEW, new[:_MAX_NEW]
        fresh = _free(groups, len(new))
        groups[new] = fresh
        count = int(groups.max(initial=-1)) + 1
        hot = np.union1d(changed[changed < count], fresh)
        sums = _Sums.of(groups, overlaps)
        rows = _neighbours(hot[sums.filled[hot]], sums, self.config)
        if len(rows) > 1:
            agreement, observers = sums.pairs(rows)
            apart = (~np.isin(rows, fresh)).astype(np.float32)
            observers = observers * (1 + self.config.inertia * np.outer(apart, apart))  # the last groups are one view
            joined = average_linkage(agreement, observers, self.config)
            groups = _renamed(groups, rows, joined, np.bincount(groups[groups >= 0], minlength=count))
        self._keep(groups, overlaps)
        # Where a hot group was joined, its masks' new group is hot.
        hot = np.concatenate([hot, groups[new]])
        self.waiting = (self.waiting | set(hot.tolist())) & set(np.unique(groups[groups >= 0]).tolist())
        if complete:
            overlaps.settle()
        return complete

    def relink(self, overlaps: MaskOverlaps, neighbourhoods: int) -> bool:
        """Link so many neighbourhoods of groups that wait from single masks; False where none waits any more.

        The least consistent come first. Groups whose masks agree with each other need no look.
        """
        groups = self.numbers(overlaps)
        sums = _Sums.of(groups, overlaps)
        if self._move(np.flatnonzero(np.isin(groups, list(self.waiting))), groups, sums, overlaps):
            sums = _Sums.of(groups, overlaps)
        waiting = np.array(sorted(each for each in self.waiting if each < len(sums.filled) and sums.filled[each]), int)
        consistency = sums.consistency(overlaps, groups)
        waiting = waiting[consistency[waiting] < self.config.consistent]
        waiting = waiting[np.argsort(consistency[waiting], kind="stable")]
        sizes = np.bincount(groups[groups >= 0], minlength=1)
        taken = np.zeros(len(sizes), bool)
        for _ in range(neighbourhoods):
            waiting = waiting[~taken[waiting]]
            if len(waiting) == 0:
                break
            near = _by_nearness(int(waiting[0]), sums, self.config)
            near = near[~taken[near]]
            chosen = np.concatenate([waiting[:1], near[sizes[waiting[0]] + np.cumsum(sizes[near]) <= _MAX_MASKS]])
            taken[chosen] = True
            self._link_anew(chosen, groups, overlaps)
        self.waiting = set(waiting[~taken[waiting]].tolist())
        self._keep(groups, overlaps)
        return bool(self.waiting)

    def _move(self, masks: np.ndarray, groups: np.ndarray, sums: _Sums, overlaps: MaskOverlaps) -> bool:
        """Let those of the `masks` that agree with another group more than with the rest of their own go there, and
        those that agree with none stand alone; in `groups` [M]. Whether any did.
        """
        config, own = self.config, groups[masks]
        unit, observed = overlaps.unit()[masks], overlaps.observers()[masks]
        at_home = np.asarray(unit.multiply(sums.distributions[own] - unit).sum(axis=1)).ravel()
        mine = at_home / (np.einsum("mk,mk->m", observed, sums.observed[own] - observed) + config.prior_observers)
        weak = np.flatnonzero(mine < config.at_home)
        masks, own, mine, unit, observed = masks[weak], own[weak], mine[weak], unit[weak], observed[weak]
        agreement = (unit @ sums.distributions.T).tocsr()
        rows, columns = np.repeat(np.arange(len(masks)), np.diff(agreement.indptr)), agreement.indices
        rates = agreement.data / ((observed @ sums.observed.T)[rows, columns] + config.prior_observers)
        most, best = np.zeros(len(masks)), own.copy()
        rising = np.argsort(rates, kind="stable")
        rising = rising[columns[rising] != own[rows[rising]]]
        most[rows[rising]], best[rows[rising]] = rates[rising], columns[rising]  # the largest is written last
        margin = config.inertia / 2
        goes = most > np.maximum(mine + margin, config.consensus)
        sizes = np.bincount(groups[groups >= 0], minlength=len(sums.filled))
        lonely = ~goes & (mine < config.consensus - margin) & (sizes[own] > 1)
        groups[masks[goes]] = best[goes]
        groups[masks[lonely]] = _free(groups, int(lonely.sum()))
        return bool(goes.any() or lonely.any())

    def _link_anew(self, chosen: np.ndarray, groups: np.ndarray, overlaps: MaskOverlaps) -> None:
        """Link the masks of the `chosen` groups from scratch, in `groups` [M]."""
        members = np.flatnonzero(np.isin(groups, chosen))
        unit, observed = overlaps.unit()[members], overlaps.observers()[members]
        agreement, observers = (unit @ unit.T).toarray(), observed @ observed.T
        say = self.config.inertia * observers
        agreement += say * (groups[members][:, None] == groups[members])
        found = average_linkage(agreement, observers + say, self.config)
        groups[members] = _matched(groups[members], found, groups)

    def adopt(self, key: int, groups: np.ndarray) -> None:
        """Groups of a keyframe's masks ([num_masks], -1 unknown) that are known from elsewhere."""
        self.of_view[key] = groups.astype(np.int64)

    def _keep(self, groups: np.ndarray, overlaps: MaskOverlaps) -> None:
        offsets = overlaps.table.offsets
        self.of_view = {key: groups[offsets[k] : offsets[k + 1]] for k, key in enumerate(overlaps.keys)}


class _Sums:
    """Sums over the members of every group."""

    def __init__(self, distributions: sparse.csr_matrix, observed: np.ndarray, filled: np.ndarray):
        self.distributions = distributions  # [G, M]
        self.observed = observed  # [G, K]
        self.filled = filled  # [G] bool: has members

    @staticmethod
    def of(groups: np.ndarray, overlaps: MaskOverlaps) -> _Sums:
        members = np.flatnonzero(groups >= 0)
        shape = (int(groups.max(initial=-1)) + 1, len(groups))
        member = sparse.csr_matrix((np.ones(len(members), np.float32), (groups[members], members)), shape=shape)
        return _Sums(member @ overlaps.unit(), member @ overlaps.observers(), np.diff(member.indptr) > 0)

    def pairs(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Agreement and observers of some groups, [R, R] each."""
        mine, observed = self.distributions[rows], self.observed[rows]
        return (mine @ mine.T).toarray(), observed @ observed.T

    def rates(self, rows: np.ndarray, prior: float) -> sparse.csr_matrix:
        """Consensus of some groups with all, where they share anything, [R, G]."""
        agreement = (self.distributions[rows] @ self.distributions.T).tocoo()
        observers = (self.observed[rows] @ self.observed.T)[agreement.row, agreement.col]
        rate = agreement.data / (observers + prior)
        return sparse.csr_matrix((rate, (agreement.row, agreement.col)), shape=agreement.shape)

    def consistency(self, overlaps: MaskOverlaps, groups: np.ndarray) -> np.ndarray:
        """Mean consensus between the members of each group, [G]; 1 for single masks."""
        own = np.bincount(groups[groups >= 0], minlength=len(self.filled))
        unit, observed = overlaps.unit(), overlaps.observers()
        squares = np.asarray(unit.multiply(unit).sum(axis=1)).ravel(), np.einsum("mk,mk->m", observed, observed)
        within = [np.bincount(groups[groups >= 0], each[groups >= 0], minlength=len(own)) for each in squares]
        agreement = np.asarray(self.distributions.multiply(self.distributions).sum(axis=1)).ravel() - within[0]
        observers = np.einsum("gk,gk->g", self.observed, self.observed) - within[1]
        return np.where(own > 1, agreement / np.maximum(observers, 1e-6), 1.0)


def _neighbours(groups: np.ndarray, sums: _Sums, config: AssociationConfig) -> np.ndarray:
    """These groups and all that come near joining one of them, rising."""
    rates = sums.rates(groups, config.prior_observers)
    return np.union1d(groups, rates.indices[rates.data > config.near * config.consensus])


def _by_nearness(group: int, sums: _Sums, config: AssociationConfig) -> np.ndarray:
    """The other groups that come near joining this one, the nearest first."""
    rates = sums.rates(np.array([group]), config.prior_observers)
    near = (rates.data > config.near * config.consensus) & (rates.indices != group)
    return rates.indices[near][np.argsort(-rates.data[near], kind="stable")]


def _free(groups: np.ndarray, count: int) -> np.ndarray:
    """The smallest numbers that no group has."""
    taken = np.zeros(int(groups.max(initial=-1)) + 1 + count, bool)
    taken[groups[groups >= 0]] = True
    return np.flatnonzero(~taken)[:count]


def _renamed(groups: np.ndarray, rows: np.ndarray, joined: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """`groups` [M] in which those of `rows` that were joined ([R] clusters) have the number of the largest."""
    order = np.lexsort((rows, -sizes[rows], joined))
    leader = rows[order][np.unique(joined[order], return_index=True)[1]]
    name = np.arange(int(groups.max(initial=-1)) + 1)
    name[rows] = leader[joined]
    return np.where(groups >= 0, name[groups], -1)


def _matched(before: np.ndarray, found: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Numbers for the clusters `found` of some masks, [m]: that of the group with which a cluster shares most masks,
    each number once, and new ones for the rest.
    """
    numbers, old = np.unique(before, return_inverse=True)
    count = int(found.max(initial=-1)) + 1
    shared = np.bincount(old * count + found, minlength=len(numbers) * count).reshape(len(numbers), count)
    name = np.full(count, -1, np.int64)
    order = np.argsort(-shared, axis=None, kind="stable")
    used = np.zeros(len(numbers), bool)
    for row, column in zip(*np.unravel_index(order[: np.count_nonzero(shared)], shared.shape), strict=True):
        if not used[row] and name[column] < 0:
            used[row], name[column] = True, numbers[row]
    missing = np.flatnonzero(name < 0)
    name[missing] = _free(groups, len(missing))
    return name[found]
