"""Threads that may wait give way to those that may not, by the operating system's scheduler."""

from __future__ import annotations

import os
import threading

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
