"""Telling background (floor, wall, table top, cupboard) from things that could be picked up or walked around."""

from __future__ import annotations

import numpy as np

from cgc_ros.segmentation.config import BackgroundConfig


def object_length(points: np.ndarray) -> float:
    """Robust length of a point set [P, 3], in its unit: twice the distance within which 90% lie from its middle."""
    if len(points) == 0:
        return 0.0
    distances = np.sort(np.linalg.norm(points - np.median(points, axis=0), axis=1))
    return 2.0 * float(np.interp(0.9 * (len(points) - 1), np.arange(len(points)), distances))


def is_background(
    length: float,
    touches_border: np.ndarray,
    area_share: np.ndarray,
    before: bool | None = None,
    config: BackgroundConfig | None = None,
    agreement: float = 1.0,
) -> bool:
    """Whether an object is background.

    Args:
        length: of the object, relative to the scene's typical distance (`object_length`).
        touches_border, area_share: of its masks, [V] each: whether the image's border cuts it, and its share of the
            image.
        before: what it was taken for until now; None: it is new. Objects near a limit must not flicker.
        agreement: mean share, 0..1, of its Gaussians' votes that are for it.
    """
    config = config or BackgroundConfig()
    limit = config.max_thing - (config.max_thing - config.max_cut_thing) * float(np.mean(touches_border))
    evidence = max(
        length / limit,
        float(np.median(area_share)) / config.max_thing_area,
        config.min_agreement / max(agreement, 1e-3),
    )
    if before is None:
        return evidence > 1.0
    return evidence > (1.0 / config.hysteresis if before else config.hysteresis)
