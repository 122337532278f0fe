"""Whether mapping gets enough of the machine to come to anything. Free of ROS."""

from __future__ import annotations

from collections import deque

_WINDOW_NS = 10_000_000_000
_MIN_STEPS_PER_S = 0.5  # a map of a table needs some 40 steps and masks of a few keyframes for its first objects


class StarvationWatch:
    """Notices training that hardly goes on while images are there to map. Times: monotonic ns."""

    def __init__(self):
        self._steps: deque[tuple[int, int]] = deque()  # when, training steps so far

    def update(self, now_ns: int, steps: int, is_mapping: bool, wanted_hz: float = 0.0) -> str:
        """What is wrong, in words; empty while nothing is, or not for 10 s yet.

        `is_mapping`: there is something to train on, and nothing keeps the mapper from it but the machine.
        `wanted_hz`: the user's own bound on steps per second; 0: none.
        """
        if not is_mapping or (self._steps and steps < self._steps[-1][1]):  # paused, or another map
            self._steps.clear()
            return ""
        self._steps.append((now_ns, steps))
        while len(self._steps) > 2 and now_ns - self._steps[1][0] >= _WINDOW_NS:
            self._steps.popleft()
        start_ns, start_steps = self._steps[0]
        if now_ns - start_ns < _WINDOW_NS:
            return ""
        seconds, done = (now_ns - start_ns) * 1e-9, steps - start_steps
        least_hz = min(_MIN_STEPS_PER_S, wanted_hz / 2) if wanted_hz > 0 else _MIN_STEPS_PER_S
        return f"{done} training steps in {seconds:.0f} s" if done < least_hz * seconds else ""
