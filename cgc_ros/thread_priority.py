"""Threads that may wait give way to those that may not, by the operating system's scheduler."""

from __future__ import annotations

import os
import threading
from pathlib import Path

MASKS_NICENESS = 10  # beyond training's: masks may wait where all want the same cores


def lower_thread_priority(niceness: int) -> bool:
    """Make the calling thread, and threads it starts (OpenMP's), nicer by this much; False where that is unknown.

    On Linux niceness belongs to each thread. Of two threads that want the same core, one that is nicer by 5 gets a
    third of what the other gets, by 10 a ninth; alone it gets everything.
    """
    return raise_niceness(threading.get_native_id(), niceness)


def raise_niceness(thread: int, niceness: int) -> bool:
    """The same for any thread of this user, by its native id."""
    if niceness <= 0 or not hasattr(os, "setpriority"):
        return False
    try:
        os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + niceness))
    except OSError:  # it has ended, or not Linux: a thread id is no process id there
        return False
    return True


def process_threads(process: int) -> list[int]:
    """Native ids of a process's threads; the process alone where they are unknown."""
    try:
        return [int(name) for name in os.listdir(f"/proc/{process}/task")]
    except OSError:
        return [process]


class ProcessorShare:
    """How much of the time that a thread wants to run it does, by the scheduler's own accounts (Linux)."""

    def __init__(self, window_s: float):
        """Over the last `window_s` seconds or more that it wanted to run."""
        self._window_ns = round(window_s * 1e9)
        self._thread: int | None = None
        self._since = (0, 0)  # ns that it ran, ns that it waited for a processor

    def update(self, thread: int) -> float | None:
        """0 to 1, once for each window of a thread, by its native id; None in between and where it is unknown."""
        now = _run_and_wait_ns(thread)
        if now is None or thread != self._thread:
            self._thread, self._since = thread, now or (0, 0)
            return None
        ran, waited = now[0] - self._since[0], now[1] - self._since[1]
        if ran + waited < self._window_ns:
            return None
        self._since = now
        return ran / (ran + waited)


def _run_and_wait_ns(thread: int) -> tuple[int, int] | None:
    try:
        ran, waited, _ = Path(f"/proc/self/task/{thread}/schedstat").read_text().split()
    except (OSError, ValueError):  # it has ended, another system, or a kernel without these accounts
        return None
    return int(ran), int(waited)
