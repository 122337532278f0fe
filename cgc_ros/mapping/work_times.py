"""Where the mapper's time goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Kinds of work, as `busy` of metrics.json has them.
KINDS = ("train", "stereo", "objects", "votes", "snapshot", "frames", "other")


class WorkTimes:
    """Seconds that one thread spent on each kind of work. Read by any thread."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter):
        self._clock = clock
        self.busy = dict.fromkeys(KINDS, 0.0)  # seconds

    @contextmanager
    def spend(self, kind: str) -> Iterator[None]:
        """What is done inside is work of `kind`, also where it fails."""
        begin = self._clock()
        try:
            yield
        finally:
            self.busy[kind] += self._clock() - begin

    @property
    def training_share(self) -> float | None:
        """Of the busy time, the share of training steps; None before any work."""
        total = sum(self.busy.values())
        return self.busy["train"] / total if total > 0 else None
