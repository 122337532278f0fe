"""How often the viewer works: never more than a small share of one core, however much there is to show."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """Spaces the runs of one task: by `period` seconds, and by more where its CPU time would exceed a `share` of time.

    Use as a context around the task. CPU time is that of the calling thread, so that a busy machine does not slow the
    viewer further than its own work does.
    """

    def __init__(
        self,
        period: float,
        share: float,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.thread_time,
    ):
        self.period, self.share = period, share
        self._clock, self._cpu_clock = clock, cpu_clock
        self._due = self._started = 0.0

    @property
    def due(self) -> bool:
        """Whether its turn has come."""
        return self._clock() >= self._due

    def hurry(self) -> None:
        """Be due at once: someone asked."""
        self._due = 0.0

    def __enter__(self) -> Pace:
        self._started = self._cpu_clock()
        return self

    def __exit__(self, *_) -> None:
        cost = self._cpu_clock() - self._started
        self._due = self._clock() + max(self.period, cost / self.share)
