"""Nanoseconds as builtin_interfaces Time (back: messages/stamps.py)."""

from __future__ import annotations

from builtin_interfaces.msg import Time

_SECOND = 1_000_000_000


def time_message(stamp_ns: int) -> Time:
    """Nanoseconds as builtin_interfaces/Time, exact; negative times do not exist in it and become zero."""
    seconds, nanoseconds = divmod(max(0, int(stamp_ns)), _SECOND)
    return Time(sec=min(seconds, 2**31 - 1), nanosec=nanoseconds)
