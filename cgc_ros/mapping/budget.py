"""What the mapper does beside training, and when: training has its share of the time whatever the scene makes the
rest cost.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cgc_ros.mapping.config import BudgetConfig
from cgc_ros.mapping.work_times import WorkTimes

#: Kinds of work that can wait, in the order in which they go where they are level.
SIDE = ("stereo", "votes", "objects")


@dataclass
class _Queue:
    """One queue's virtual time."""

    virtual: float = 0.0  # seconds of work done, over its share
    active: bool = False  # had something to do when last asked

    def wake(self, level: float, due: bool) -> None:
        """What had nothing to do begins level with the others: what it did not need is not saved up."""
        if due and not self.active:
            self.virtual = max(self.virtual, level)
        self.active = due


class WorkBudget:
    """Start-time fair queueing of one thread's work (Goyal, Vin and Cheng, Start-time Fair Queuing, SIGCOMM 1996), in
    two levels: training and the rest, and within the rest depth by stereo, votes and objects.

    Work advances the virtual time of its kind by what it cost over the kind's share, and what is furthest behind goes
    next. Over any stretch training gets its share, less one piece of the others, and all that they leave. Frames,
    snapshots and housekeeping cannot wait: they count against the rest, which then has to, but always gets `least`, so
    that nothing starves. While frames come, the rest has more.

    In a session work costs the seconds it took. A mapper that is driven by hand counts what the work would take on a
    reference machine (`nominal`), so that what is done depends on nothing but the work, and a seeded run repeats.
    """

    def __init__(self, config: BudgetConfig, work: WorkTimes, by_clock: bool = False):
        self.config, self.work, self.by_clock = config, work, by_clock
        self._shares = {"stereo": config.stereo, "votes": config.votes, "objects": config.objects}
        self._kinds = {kind: _Queue() for kind in SIDE}
        self._level = 0.0  # virtual time, among these, of the newest piece of work
        self._train = 0.0  # virtual time of training, which is never without something to do
        self._rest, self._least = _Queue(), _Queue()
        self._since_frame = math.inf  # seconds of work since the newest frame

    @contextmanager
    def spend(self, kind: str, nominal: float, urgency: float = 1.0) -> Iterator[None]:
        """What is done inside is work of `kind`, also where it fails; `nominal`: seconds that it would take on the
        reference machine. What is twice as urgent counts half against its kind.
        """
        before = self.work.busy[kind]
        try:
            with self.work.spend(kind):
                yield
        finally:
            self._charge(kind, self.work.busy[kind] - before if self.by_clock else nominal, urgency)

    def note_frame(self) -> None:
        """A frame was taken in."""
        self._since_frame = 0.0

    def next(self, due: Collection[str]) -> str | None:
        """Which of the kinds `due`, those that have something to do, goes before the next step of training; None where
        it is training's turn.
        """
        for kind, queue in self._kinds.items():
            queue.wake(self._level, kind in due)
        for queue in (self._rest, self._least):
            queue.wake(self._train, bool(due))
        if not due or min(self._rest.virtual, self._least.virtual) > self._train:
            return None
        chosen = min(due, key=lambda kind: (self._kinds[kind].virtual, SIDE.index(kind)))
        self._level = self._kinds[chosen].virtual
        return chosen

    @property
    def training_share(self) -> float:
        """What training is due at this moment."""
        config = self.config
        return config.train if self._since_frame > config.calm_after else config.train_while_frames

    def _charge(self, kind: str, cost: float, urgency: float) -> None:
        share = self.training_share
        self._since_frame += cost
        if kind == "train":
            self._train += cost / share
            return
        self._rest.virtual += cost / (1.0 - share)
        if kind in self._kinds:
            self._least.virtual += cost / self.config.least
            self._kinds[kind].virtual += cost / (self._shares[kind] * urgency)
