"""How much memory mapping takes."""

from __future__ import annotations

import resource
import sys

import psutil


def resident_mb() -> float:
    """Resident memory now of this process and those that it started (masks have one of their own), MB (10^6 bytes)."""
    process = psutil.Process()
    total = process.memory_info().rss
    for child in process.children():
        try:
            total += child.memory_info().rss
        except psutil.Error:  # it has just ended
            continue
    return total / 1e6


def peak_resident_mb() -> float:
    """Largest resident memory of this process alone so far, MB (10^6 bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
