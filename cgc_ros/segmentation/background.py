"""Telling background (floor, wall, table top, cupboard) from things that could be picked up or walked around."""

from __future__ import annotations

import numpy as np

MAX_THING = 1.0  # length of a thing that images show whole, in units of the scene's typical distance
MAX_CUT_THING = 0.4  # and of one that the image's border cuts in every view: what is seen of it is a part
MAX_THING_AREA = 0.35  # of the image, in a typical view
HYSTERESIS = 1.25  # evidence must be this much beyond the limit to change what an object was taken for


def object_length(points: np.ndarray) -> float:
    """Robust length of a point set [P, 3], in its unit: twice the distance within which 90% lie from its middle."""
    if len(points) == 0:
        return 0.0
    return 2.0 * float(np.percentile(np.linalg.norm(points - np.median(points, axis=0), axis=1), 90))


def is_background(
    length: float, touches_border: np.ndarray, area_share: np.ndarray, before: bool | None = None
) -> bool:
    """Whether an object is background.

    Args:
        length: of the object, relative to the scene's typical distance (`object_length`).
        touches_border, area_share: of its masks, [V] each: whether the image's border cuts it, and its share of the
            image.
        before: what it was taken for until now; None: it is new. Objects near a limit must not flicker.
    """
    limit = MAX_THING - (MAX_THING - MAX_CUT_THING) * float(np.mean(touches_border))
    evidence = max(length / limit, float(np.median(area_share)) / MAX_THING_AREA)
    if before is None:
        return evidence > 1.0
    return evidence > (1.0 / HYSTERESIS if before else HYSTERESIS)
