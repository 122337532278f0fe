"""Mapping has its full share of the machine until there are objects; then it gives way to labels and other programs, as
far as they leave it something.

A mapper that steps back from the start gets a thirtieth of a core on a machine that others keep busy, and nothing is
ever there to label. Niceness is only ever raised, which needs no privilege; for a smaller one, the mapper goes on in a
new thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cgc_ros.thread_priority import MASKS_NICENESS, ProcessorShare, process_threads, raise_niceness

if TYPE_CHECKING:
    from cgc_ros.mapping import MappingSession

_CROWDED_NICENESS = 9  # beside a busy program: an eighth of a core, where 15 leaves a thirtieth
_STARVED, _FREE = 0.1, 0.5  # shares of the time it wants to run
_WINDOW_S = 2.0


class StepBack:
    """`niceness` of training, beyond that of the thread that makes this; masks step back by MASKS_NICENESS more."""

    def __init__(self, session: MappingSession, niceness: int):
        self._session, self._niceness = session, niceness
        self._stepped: dict[int, int] = {}  # processes and threads, and how far
        self._share = ProcessorShare(_WINDOW_S)
        self._is_crowded = False

    def watch(self) -> None:
        """Look whether others leave the mapper something; a few times a second, also before there are objects."""
        thread = self._session.native_thread
        share = None if thread is None else self._share.update(thread)
        if thread is None or share is None:
            return
        if share < (_STARVED if thread in self._stepped else _FREE):
            self._is_crowded = True
        elif share > _FREE:
            self._is_crowded = False
        if self._stepped.get(thread, 0) > self._wanted:
            self._session.renew_thread()

    def update(self) -> None:
        """There are objects: step back, each thread as far as is wanted now; new ones of the masks, too."""
        if self._niceness <= 0:
            return
        thread, source = self._session.native_thread, self._session.mask_source
        if thread is not None:
            self._step(thread, [thread], self._wanted)
        process = None if source is None else source.pid
        if process is not None:
            self._step(process, process_threads(process), self._wanted + MASKS_NICENESS)

    @property
    def _wanted(self) -> int:
        return min(self._niceness, _CROWDED_NICENESS) if self._is_crowded else self._niceness

    def _step(self, key: int, threads: list[int], niceness: int) -> None:
        further = niceness - self._stepped.get(key, 0)
        if further > 0:
            self._stepped[key] = niceness
            for thread in threads:
                raise_niceness(thread, further)
