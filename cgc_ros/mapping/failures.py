"""Unexpected errors: what kind they are, and what is kept of them once their traceback is gone."""

from __future__ import annotations

import logging
import math
import threading
import time
import traceback
from dataclasses import dataclass

import torch

LOG_PERIOD = 10.0  # seconds between two log entries of one failure

#: torch before 2.5 has it in torch.cuda only.
_OutOfMemoryError = getattr(torch, "OutOfMemoryError", None) or torch.cuda.OutOfMemoryError
#: What torch raises, from 2.8 on, where a GPU's error is not its memory.
_AcceleratorError = getattr(torch, "AcceleratorError", None)


def is_out_of_memory(error: Exception) -> bool:
    """Of the GPU or of the machine, whichever way torch says it."""
    # On the CPU torch raises a plain RuntimeError. "CUDA error: out of memory" is what the driver says.
    text = str(error)
    said = "DefaultCPUAllocator" in text or ("CUDA error" in text and "out of memory" in text)
    return isinstance(error, _OutOfMemoryError | MemoryError) or said


def is_gpu_lost(error: Exception) -> bool:
    """Whether the GPU failed so that nothing runs on it any more in this process (CUDA calls such errors sticky)."""
    if is_out_of_memory(error):
        return False
    is_accelerator = _AcceleratorError is not None and isinstance(error, _AcceleratorError)
    return is_accelerator or (isinstance(error, RuntimeError) and "CUDA error" in str(error))


@dataclass(frozen=True)
class Failure:
    """An error in words. Its traceback would keep the failed work's tensors alive while memory is made free: note the
    error, leave the `except`, then act.
    """

    kind: str  # out_of_memory | gpu_lost | other
    message: str  # type and text
    trace: str  # the whole traceback as text
    place: str  # file and line that raised it

    @staticmethod
    def of(error: Exception) -> Failure:
        """What is known of an exception, without what it holds on to: its frames' tensors."""
        kind = "out_of_memory" if is_out_of_memory(error) else "gpu_lost" if is_gpu_lost(error) else "other"
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
        trace = "".join(traceback.format_exception(error)).rstrip()
        return Failure(kind, f"{type(error).__name__}: {error}", trace, place)


class FailureLog:
    """Writes failures to a log: each once, then at most every `LOG_PERIOD` seconds with how often it came meanwhile.

    Failures from one place are one. Thread-safe.
    """

    def __init__(self, log: logging.Logger):
        self._log = log
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], tuple[float, int]] = {}  # (what, place) -> when logged, how often since

    def write(self, what: str, failure: Failure) -> None:
        """`what` failed."""
        key, now = (what, failure.place), time.monotonic()
        with self._lock:
            logged, count = self._known.get(key, (-math.inf, 0))
            is_due = now - logged >= LOG_PERIOD
            self._known[key] = (now, 0) if is_due else (logged, count + 1)
        if not is_due:
            return
        often = f" ({count} times more in the last {now - logged:.0f} s)" if count else ""
        self._log.error("%s%s: %s", what, often, failure.trace)
