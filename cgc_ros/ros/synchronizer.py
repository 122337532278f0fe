"""Joining an image with what belongs to it by stamp: exactly, else approximately, with a bounded wait. Free of ROS.

message_filters' policies emit only complete sets. A robot's streams are not so: depth may stop while mapping must
go on, camera_info may come once and never again. Here one stream leads, and each partner has its own answer to "what if
it is not there".
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_EMITTED_REMEMBERED = 64  # primaries whose late partners are still recognised


@dataclass(frozen=True)
class PartnerPolicy:
    """How long, and for what, a primary item waits."""

    tolerance_ns: int  # an approximate match may be this far off
    max_wait_ns: int  # from the primary's arrival
    reuse_newest: bool = False  # the newest item serves where none matches (camera_info); the stream need not keep up
    live_for_ns: int = 2_000_000_000  # a partner silent for longer is not waited for
    fits: Callable[[Any, Any], bool] = lambda primary, item: True  # an item that does not fit its primary is not reused
    history: int = 32  # items kept


@dataclass
class _Pending:
    stamp_ns: int
    item: Any
    arrived_ns: int


class StampSynchronizer:
    """Pairs items of a primary stream with one item (or None) of each partner stream; emits in the order of arrival.

    `counts` holds `<partner>_lost` (emitted without it although its stream is alive), `<partner>_late` (came after its
    primary had left), `<partner>_approximate` and `overflow` (primaries pushed out of the full queue, unmatched).
    Times of arrival are nanoseconds that never go back, given by the caller (WaitClock); stamps are the messages'
    own. Not thread-safe.
    """

    def __init__(self, partners: dict[str, PartnerPolicy], queue_size: int = 30):
        self._policies = dict(partners)
        self._queue_size = queue_size
        self.counts: Counter[str] = Counter()
        self.clear()

    def clear(self) -> None:
        """Forget everything but the counts and the newest item of reused partners: the clock jumped."""
        reused = {
            name: buffer[-1:]
            for name, buffer in getattr(self, "_buffers", {}).items()
            if self._policies[name].reuse_newest
        }
        self._pending: deque[_Pending] = deque()
        self._buffers: dict[str, list[tuple[int, Any]]] = {name: reused.get(name, []) for name in self._policies}
        self._last_arrival: dict[str, int] = {}
        self._changed: dict[str, bool] = dict.fromkeys(self._policies, False)
        self._missed: dict[str, deque[int]] = {name: deque(maxlen=_EMITTED_REMEMBERED) for name in self._policies}

    def add_partner(self, name: str, stamp_ns: int, item: Any, now_ns: int) -> None:
        """Store one item of a partner stream; call `poll` afterwards."""
        policy, buffer = self._policies[name], self._buffers[name]
        self._changed[name] = bool(buffer) and buffer[-1][1] != item if policy.reuse_newest else False
        self._last_arrival[name] = now_ns
        buffer.append((stamp_ns, item))
        if len(buffer) > 1 and buffer[-2][0] > stamp_ns:
            buffer.sort(key=lambda entry: entry[0])
        del buffer[: -policy.history]
        missed = self._missed[name]
        for primary_stamp in missed:
            if abs(primary_stamp - stamp_ns) <= policy.tolerance_ns:
                self.counts[f"{name}_late"] += 1
                missed.remove(primary_stamp)
                break

    def add_primary(self, stamp_ns: int, item: Any, now_ns: int) -> None:
        """Queue one primary item; call `poll` afterwards."""
        if len(self._pending) >= self._queue_size:
            self._pending.popleft()
            self.counts["overflow"] += 1
        self._pending.append(_Pending(stamp_ns, item, now_ns))

    def poll(self, now_ns: int) -> list[tuple[int, Any, dict[str, Any]]]:
        """(stamp, primary, {partner: item or None}) of every primary that is complete or has waited long enough."""
        emitted = []
        while self._pending:
            primary = self._pending[0]
            found = {name: self._match(name, policy, primary, now_ns) for name, policy in self._policies.items()}
            matches = {name: match for name, match in found.items() if match is not None}
            if len(matches) < len(found):
                break
            self._pending.popleft()
            emitted.append((primary.stamp_ns, primary.item, {name: match[0] for name, match in matches.items()}))
            for name, (_, kind) in matches.items():
                self._count(name, kind, primary.stamp_ns)
        return emitted

    def __len__(self) -> int:
        return len(self._pending)

    def buffered(self, name: str) -> int:
        """Partners of a kind that are held."""
        return len(self._buffers[name])

    def is_alive(self, name: str, now_ns: int) -> bool:
        """Whether a partner is waited for: its stream has not been silent for `live_for_ns`."""
        policy, last = self._policies[name], self._last_arrival.get(name)
        return policy.reuse_newest or (last is not None and now_ns - last <= policy.live_for_ns)

    def _match(self, name: str, policy: PartnerPolicy, primary: _Pending, now_ns: int) -> tuple[Any, str] | None:
        """(item, kind of match), or None to go on waiting."""
        buffer = self._buffers[name]
        nearest = min(
            reversed(buffer), key=lambda entry: abs(entry[0] - primary.stamp_ns), default=None
        )  # of equals the last
        distance = abs(nearest[0] - primary.stamp_ns) if nearest is not None else math.inf
        if nearest is not None and distance == 0:
            return nearest[1], "exact"
        is_reusable = policy.reuse_newest and bool(buffer) and policy.fits(primary.item, buffer[-1][1])
        if is_reusable and not self._changed[name]:
            return buffer[-1][1], "reused"
        has_passed = bool(buffer) and buffer[-1][0] > primary.stamp_ns and not policy.reuse_newest
        is_alive = self.is_alive(name, now_ns)
        if is_alive and not has_passed and now_ns - primary.arrived_ns < policy.max_wait_ns:
            return None
        if nearest is not None and distance <= policy.tolerance_ns:
            return nearest[1], "approximate"
        if policy.reuse_newest and buffer:
            return buffer[-1][1], "reused"
        return None, "lost" if is_alive else "absent"

    def _count(self, name: str, kind: str, stamp_ns: int) -> None:
        if kind in ("lost", "approximate"):
            self.counts[f"{name}_{kind}"] += 1
        if kind in ("lost", "absent"):
            self._missed[name].append(stamp_ns)
