"""builtin_interfaces/Time in nanoseconds."""

from __future__ import annotations


def stamp_of(time) -> int:
    """builtin_interfaces/Time as nanoseconds."""
    return int(time.sec) * 1_000_000_000 + int(time.nanosec)
