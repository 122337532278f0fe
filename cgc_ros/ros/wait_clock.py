"""The time that messages wait in for each other: the node's clock where it is simulated, whatever its pace. Free of
ROS.
"""

from __future__ import annotations

import time
from collections.abc import Callable

_JUMP_NS = 10_000_000_000  # a longer step of a simulated clock is a jump, not time that went by


class WaitClock:
    """Nanoseconds that never go back: call it for the time now.

    With a simulated clock (`is_simulated()`) they go on as `clock_ns()` does: at a tenth of real time a transform may
    take ten times as long, and a pause ends no wait. Jumps of that clock count for nothing; before its first message
    (0), and without simulation, the steady clock counts. Not thread-safe.
    """

    def __init__(
        self,
        clock_ns: Callable[[], int],
        is_simulated: Callable[[], bool],
        steady_ns: Callable[[], int] = time.monotonic_ns,
    ):
        self._clock_ns, self._is_simulated, self._steady_ns = clock_ns, is_simulated, steady_ns
        self._last_ns, self._last_steady_ns = 0, steady_ns()
        self._elapsed_ns = 0

    def __call__(self) -> int:
        steady_ns = self._steady_ns()
        now_ns = self._clock_ns() if self._is_simulated() else 0
        if now_ns > 0:
            step_ns = now_ns - self._last_ns if self._last_ns > 0 else 0
            self._elapsed_ns += step_ns if 0 < step_ns < _JUMP_NS else 0
        else:
            self._elapsed_ns += steady_ns - self._last_steady_ns
        self._last_ns, self._last_steady_ns = now_ns, steady_ns
        return self._elapsed_ns
