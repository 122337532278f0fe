"""What Gaussians look like as a point cloud: points on their discs, and their colours."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cgc_ros.rendering.quaternions import rotation_matrices
from cgc_ros.rendering.spherical_harmonics import SH_C0

GOLDEN_ANGLE = math.pi * (3.0 - math.sqrt(5.0))
MAX_PER_GAUSSIAN = 64


def surface_points(means: Tensor, quats: Tensor, scales: Tensor, spacing: float, limit: int) -> tuple[Tensor, Tensor]:
    """Points about `spacing` metres apart on the discs (one standard deviation in the two longer axes) of N Gaussians.

    Returns points [P, 3] and the row of the Gaussian each lies on [P] int64; at most `limit` points, thinned evenly.
    """
    ordered, axes = scales.sort(dim=1, descending=True)
    area = math.pi * ordered[:, 0] * ordered[:, 1]
    counts = (area / max(spacing, 1e-9) ** 2).ceil().clamp(1, MAX_PER_GAUSSIAN).long()
    total = int(counts.sum())
    if total > limit:  # thin evenly along the running count, so that many small Gaussians keep their share too
        running = torch.cumsum(counts, 0) * limit // total
        counts = torch.diff(running, prepend=running.new_zeros(1))
    source = torch.repeat_interleave(torch.arange(len(means), device=means.device), counts)
    first = torch.cumsum(counts, 0) - counts
    nth = torch.arange(len(source), device=means.device) - first[source]
    # A sunflower spiral fills each disc evenly; a single point sits in the middle.
    radius = torch.where(counts[source] > 1, ((nth + 0.5) / counts[source]).sqrt(), 0.0)
    angle = nth * GOLDEN_ANGLE
    local = torch.zeros(len(source), 3, device=means.device)
    long, short = axes[source, 0:1], axes[source, 1:2]
    local.scatter_(1, long, (radius * angle.cos() * ordered[source, 0])[:, None])
    local.scatter_(1, short, (radius * angle.sin() * ordered[source, 1])[:, None])
    return means[source] + (rotation_matrices(quats)[source] @ local[:, :, None]).squeeze(2), source


def plain_colors(sh: Tensor) -> Tensor:
    """View-independent colour of spherical harmonics [N, K, 3], as [N, 3] uint8."""
    return ((sh[:, 0] * SH_C0 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
