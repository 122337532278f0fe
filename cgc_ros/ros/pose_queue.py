"""Images that wait for the camera's pose at their own stamp: bounded in number and in time, and nobody blocks. Free of
ROS.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cgc_ros.transform_buffer import TransformError

#: Waiting cannot help: time does not run backwards, a refused frame name stays refused, a place is where it is.
_FINAL = frozenset({"extrapolation_past", "bad_frame", "far_from_origin"})


@dataclass
class _Waiting:
    item: Any
    frame_id: str
    stamp_ns: int
    arrived_ns: int


class PoseQueue:
    """Hands on each item with its pose as soon as the lookup answers; gives it up with the last error at the deadline.

    `lookup(frame_id, stamp_ns)`, say map_from_frame [4, 4], raises TransformError and must not block.
    `on_posed(item, found)`, `on_lost(item, TransformError)`. Times are nanoseconds that never go back
    (WaitClock). Not thread-safe.
    """

    def __init__(
        self,
        lookup: Callable[[str, int], Any],
        on_posed: Callable[[Any, Any], None],
        on_lost: Callable[[Any, TransformError], None],
        max_wait_ns: int,
        size: int = 30,
    ):
        self._lookup, self._on_posed, self._on_lost = lookup, on_posed, on_lost
        self.max_wait_ns = max_wait_ns
        self._size = size
        self._waiting: deque[_Waiting] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, item: Any, frame_id: str, stamp_ns: int, now_ns: int) -> None:
        """Take one item; it leaves at once where its pose is known."""
        self._waiting.append(_Waiting(item, frame_id, stamp_ns, now_ns))
        self.poll(now_ns)
        if len(self._waiting) > self._size:
            oldest = self._waiting.popleft()
            self._on_lost(
                oldest.item,
                TransformError(
                    "queue_full",
                    f"more than {self._size} images wait for their transforms: transforms come too late for this image "
                    "rate",
                ),
            )

    def poll(self, now_ns: int) -> None:
        """Look again: after a transform arrived, and every few milliseconds."""
        still_waiting: deque[_Waiting] = deque()
        waiting, self._waiting = self._waiting, still_waiting
        for entry in waiting:
            try:
                found = self._lookup(entry.frame_id, entry.stamp_ns)
            except TransformError as error:
                if error.reason in _FINAL or now_ns - entry.arrived_ns >= self.max_wait_ns:
                    self._on_lost(entry.item, error)
                else:
                    still_waiting.append(entry)
            else:
                self._on_posed(entry.item, found)

    def clear(self) -> int:
        """Forget all that wait (the clock jumped); how many they were."""
        count = len(self._waiting)
        self._waiting.clear()
        return count
