"""From scores of depth hypotheses to depth: the sweep's volume, its winners, and the checks that they must pass.

Volumes are [D, h, w], one plane of inverse depth each (matching.py); scores are ZNCC, -1..1, more is better.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from cgc_ros.stereo.matching import MatchLevel


def plane_sweep(score: Callable[[Tensor], Tensor], planes: Tensor, chunk: int) -> Tensor:
    """Scores of fronto-parallel planes at the inverse depths `planes` [D], [D, h, w] (Collins, CVPR 1996)."""
    return torch.cat([score(part[:, None, None]) for part in planes.split(chunk)])


def semi_global(volume: Tensor, guide: Tensor, small_step: float, large_step: float, edge: float) -> Tensor:
    """Scores [D, h, w] smoothed along the four axis directions, same shape, mean over them (Hirschmueller, PAMI 2008).

    A step of one plane between neighbours costs `small_step`; a larger one `large_step`, less where the grey value of
    `guide` [h, w] changes: half as much more than `small_step` at a change of `edge`.
    """
    cost = (1.0 - volume).permute(1, 2, 0).contiguous()
    total = torch.zeros_like(cost)
    for axis in (0, 1):
        _sweep_both_ways(
            cost.transpose(0, axis), guide.transpose(0, axis), total.transpose(0, axis), small_step, large_step, edge
        )
    return total.mul_(-0.25).permute(2, 0, 1)


def _sweep_both_ways(
    cost: Tensor, guide: Tensor, total: Tensor, small_step: float, large_step: float, edge: float
) -> None:
    """Adds to `total` [n, m, D] the path costs along the first axis, forwards and backwards at once."""
    length, across, planes = cost.shape
    change = (guide[1:] - guide[:-1]).abs()
    jump = small_step + (large_step - small_step) / (1.0 + change / edge)  # [n - 1, m]
    jump = torch.stack((jump, jump.flip(0)), dim=1)[..., None]  # [n - 1, 2, m, 1]
    path = torch.stack((cost[0], cost[-1]))  # [2, m, D]
    padded = torch.full((2, across, planes + 2), math.inf, device=cost.device)
    total[0] += path[0]
    total[-1] += path[1]
    for i in range(1, length):
        least = path.amin(-1, keepdim=True)
        padded[..., 1:-1] = path
        neighbour = torch.minimum(padded[..., :-2], padded[..., 2:]).add_(small_step)
        path = torch.minimum(torch.minimum(path, neighbour), least + jump[i - 1]).sub_(least)
        path[0] += cost[i]
        path[1] += cost[-1 - i]
        total[i] += path[0]
        total[-1 - i] += path[1]


def best_plane(volume: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Winner of each pixel of a volume [D, h, w].

    Returns its index [h, w] int64; its position [h, w] between planes by a parabola through three scores; and its lead
    [h, w] over the best score more than two planes away (how unique it is).
    """
    score, index = volume.max(0)
    inner = index.clamp(1, volume.shape[0] - 2)
    below, at, above = volume.gather(0, torch.stack((inner - 1, inner, inner + 1)))
    position = index + torch.where(inner == index, parabola_peak(below, at, above).clamp_(-0.5, 0.5), 0.0)
    steps_away = (torch.arange(volume.shape[0], device=volume.device)[:, None, None] - index).abs()
    rival = torch.where(steps_away > 2, volume, -math.inf).amax(0)
    return index, position, score - rival


def parabola_peak(below: Tensor, at: Tensor, above: Tensor) -> Tensor:
    """Where the parabola through scores at -1, 0, 1 has its maximum; towards the higher end where it has none."""
    curvature = below - 2.0 * at + above
    return torch.where(curvature < -1e-6, 0.5 * (below - above) / curvature, torch.sign(above - below))


def share_of_alike_neighbours(color: Tensor, w: Tensor, tolerance: float, color_sigma: float, reach: int) -> Tensor:
    """Of the neighbours of like colour, the share whose inverse depth `w` [h, w] is within `tolerance`, [h, w], 0..1.

    Low on fattened edges (the background's colour at the foreground's depth) and where depth is noise. `color` is
    [3, h, w], 0..1; 12 neighbours are asked, up to `reach` pixels away.
    """
    height, width = w.shape
    planes = torch.cat((color / (color_sigma * math.sqrt(2.0)), w[None] / tolerance))
    padded = F.pad(planes[None], (reach,) * 4, mode="constant", value=math.inf)[0]
    agree, total = torch.zeros_like(w), torch.full_like(w, 1e-6)
    near, diagonal = round(reach / 2), round(reach * 2 / 3)
    axes = [(dy * r, dx * r) for r in (reach, near) for dy, dx in ((1, 0), (-1, 0), (0, 1), (0, -1))]
    for dy, dx in (*axes, *((dy * diagonal, dx * diagonal) for dy in (-1, 1) for dx in (-1, 1))):
        difference = padded[:, reach + dy : reach + dy + height, reach + dx : reach + dx + width] - planes
        weight = difference[:3].square().sum(0).neg_().exp_()
        total += weight
        agree += weight * (difference[3].abs() < 1.0)
    return agree / total


def agreeing_neighbours(w: Tensor, confidence: Tensor, tolerance: float, reach: int) -> tuple[Tensor, Tensor]:
    """Mean of `w` [h, w] over the neighbours within `tolerance` of a pixel, weighted by confidence; and their support.

    The window is (2 reach + 1)^2 pixels. Support [h, w] is the confidence of those who agree, over the whole window:
    low on speckles.
    """
    height, width = w.shape
    padded = F.pad(torch.stack((w, confidence))[None], (reach,) * 4)[0]
    weight, moved = torch.zeros_like(w), torch.zeros_like(w)
    for y in range(2 * reach + 1):
        for x in range(2 * reach + 1):
            other, trust = padded[:, y : y + height, x : x + width]
            difference = other - w
            trust = trust * (difference.abs() < tolerance)
            weight += trust
            moved.addcmul_(trust, difference)
    return w + moved / weight.clamp(min=1e-6), weight / (2 * reach + 1) ** 2


def keeps_its_match(level: MatchLevel, w: Tensor, confidence: Tensor, tolerance: float) -> Tensor:
    """Where at least one source does not contradict the match, [h, w] bool: a source pixel is one surface's only.

    Of the reference pixels that land on the same source pixel, those further than `tolerance` in inverse depth from the
    most confident one contradict it (the uniqueness constraint of Zitnick and Kanade, PAMI 2000).
    """
    unique = torch.zeros_like(w, dtype=torch.bool)
    for index, source in enumerate(level.sources):
        rows, columns = source.shape
        x, y = level.source_grid(index, w[None])[0].unbind(-1)
        x, y = ((x + 1.0) * (0.5 * columns) - 0.5).round(), ((y + 1.0) * (0.5 * rows) - 0.5).round()
        lands = (x >= 0) & (x < columns) & (y >= 0) & (y < rows) & (confidence > 0)
        pixel = torch.where(lands, y * columns + x, 0.0).long()
        strongest = torch.zeros(rows * columns, device=w.device)
        strongest.scatter_reduce_(0, pixel[lands], confidence[lands], "amax")
        holder = lands & (confidence >= strongest[pixel])
        held = torch.zeros_like(strongest)
        held.scatter_reduce_(0, pixel[holder], w[holder], "amax")
        unique |= lands & ((w - held[pixel]).abs() < tolerance)
    return unique
