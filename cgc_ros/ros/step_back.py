"""Mapping has its full share of the machine until there are objects; then it gives way to labels and other programs.

On a busy machine a mapper that steps back from the start gets a thirtieth of a core, and nothing is ever there to
label. Niceness is only ever raised, which needs no privilege.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cgc_ros.thread_priority import MASKS_NICENESS, process_threads, raise_niceness

if TYPE_CHECKING:
    from cgc_ros.mapping import MappingSession


class StepBack:
    """`niceness` of training, beyond that of the thread that makes this; masks step back by MASKS_NICENESS more."""

    def __init__(self, session: MappingSession, niceness: int):
        self._session, self._niceness = session, niceness
        self._have_stepped: set[int] = set()  # processes and threads

    def update(self) -> None:
        """There are objects: step back, each thread once; a process of masks that was started anew, too."""
        if self._niceness <= 0:
            return
        thread, source = self._session.native_thread, self._session.mask_source
        if thread is not None:
            self._step(thread, [thread], self._niceness)
        process = None if source is None else source.pid
        if process is not None:
            self._step(process, process_threads(process), self._niceness + MASKS_NICENESS)

    def _step(self, key: int, threads: list[int], niceness: int) -> None:
        if key not in self._have_stepped:
            self._have_stepped.add(key)
            for thread in threads:
                raise_niceness(thread, niceness)
