"""Which object a ray through the 3D view means."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from cgc_ros.mapping import MapObject

TOLERANCE = 0.006  # radians: about 5 pixels of an 800 pixels high view
THING_ADVANTAGE = 0.05  # of the distance: background must lie this much nearer to win over a thing


def pick_object(
    origin: np.ndarray, direction: np.ndarray, objects: Iterable[MapObject], tolerance: float = TOLERANCE
) -> int | None:
    """Id of the object whose cloud a ray meets first, None where it meets none.

    origin: [3] metres; direction: [3] unit; both in the map frame. The ray is a cone of `tolerance` radians. Things
    stand on background, whose points lie in front of their feet in the cone: they have the advantage there.
    """
    best, best_distance = None, np.inf
    for candidate in objects:
        distance = _first_hit(origin, direction, candidate, tolerance)
        if candidate.background:
            distance *= 1 + THING_ADVANTAGE
        if distance < best_distance:
            best, best_distance = candidate.id, distance
    return best


def _first_hit(origin: np.ndarray, direction: np.ndarray, candidate: MapObject, tolerance: float) -> float:
    """Distance along the ray of the object's first point in the cone; inf where there is none."""
    reach = np.linalg.norm(candidate.box.size) / 2
    to_center = candidate.box.center - origin
    along = to_center @ direction
    if along < -reach or np.linalg.norm(to_center - along * direction) > reach + tolerance * (abs(along) + reach):
        return np.inf
    offsets = candidate.points - origin.astype(np.float32)
    distances = offsets @ direction.astype(np.float32)
    squared_misses = np.einsum("ij,ij->i", offsets, offsets) - distances**2
    hits = (distances > 0) & (squared_misses <= (tolerance * distances) ** 2)
    return float(distances[hits].min()) if hits.any() else np.inf
