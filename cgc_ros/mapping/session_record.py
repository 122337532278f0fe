"""A session's books: frames that came and what became of them, the pace of training, what went wrong."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field

RATE_WINDOW = 100  # steps over which steps per second are measured
RESTING_AFTER = 2.0  # seconds without a step after which training counts as at rest
FAULT_LIFETIME = 5.0  # seconds for which a fault stays active after it last happened
LASTING_FAULTS = {"mask_source_failed", "mask_source_hung"}  # active until the source works again


@dataclass(frozen=True)
class SessionStatus:
    """Counters since the start or the last reset."""

    state: str  # waiting | mapping | paused | stopped
    frames_received: int
    frames_used: int  # reached the mapper and were tracked or became keyframes
    dropped: dict[str, int]  # by reason
    keyframes: int
    gaussians: int
    objects: int
    steps: int
    steps_per_second: float
    train_psnr: float  # dB, running mean; NaN before the first step
    backend: str
    mask_source: str
    faults: dict[str, str] = field(default_factory=dict)  # active faults: name -> what happened and what to do


@dataclass(frozen=True)
class FrameCounts:
    """Frames since the session was made."""

    received: int
    used: int
    dropped: dict[str, int]  # by reason


class SessionRecord:
    """Thread-safe."""

    def __init__(self):
        self._lock = threading.Lock()
        self._gpu_lost = ""
        self.clear()

    def clear(self) -> None:
        """Begin anew; a GPU that is lost stays lost."""
        with self._lock:
            self._received = self._used = 0
            self._dropped: Counter[str] = Counter()
            self._faults: dict[str, tuple[str, float]] = {}  # name -> message and when it last happened
            self._step_times: deque[float] = deque(maxlen=RATE_WINDOW)

    def receive(self) -> None:
        """Count one more frame."""
        with self._lock:
            self._received += 1

    def use(self) -> None:
        """Count one more frame that the mapper took."""
        with self._lock:
            self._used += 1

    def count(self, reason: str) -> None:
        """Count one more drop."""
        with self._lock:
            self._dropped[reason] += 1

    def counts(self) -> FrameCounts:
        """Of frames."""
        with self._lock:
            return FrameCounts(self._received, self._used, dict(self._dropped))

    def step(self) -> None:
        """A training step has ended."""
        with self._lock:
            self._step_times.append(time.monotonic())

    @property
    def since_step(self) -> float:
        """Seconds since the last training step; infinite before the first."""
        with self._lock:
            return time.monotonic() - self._step_times[-1] if self._step_times else float("inf")

    @property
    def steps_per_second(self) -> float:
        """Of late; 0 while training rests."""
        resting = self.since_step > RESTING_AFTER
        with self._lock:
            times = self._step_times
            if resting or len(times) < 2 or times[-1] <= times[0]:
                return 0.0
            return (len(times) - 1) / (times[-1] - times[0])

    @property
    def is_gpu_lost(self) -> bool:
        """Whether nothing can be trained any more in this process."""
        return bool(self._gpu_lost)

    def lose_gpu(self, message: str) -> None:
        """The fault `gpu_lost`, for good."""
        self._gpu_lost = message

    def fault(self, name: str, message: str) -> None:
        """A fault has happened; it stays active for a while."""
        with self._lock:
            self._faults[name] = (message, time.monotonic())

    def clear_fault(self, name: str) -> None:
        """A fault is over."""
        with self._lock:
            self._faults.pop(name, None)

    def faults(self) -> dict[str, str]:
        """Faults that last, and those that happened a moment ago: name -> what happened."""
        recent = time.monotonic() - FAULT_LIFETIME
        with self._lock:
            active = {name: text for name, (text, at) in self._faults.items() if at > recent or name in LASTING_FAULTS}
        return active | ({"gpu_lost": self._gpu_lost} if self._gpu_lost else {})
