"""gsplat on CUDA, behind the same call."""

from __future__ import annotations


def why_unavailable() -> str:
    return "not written yet"
