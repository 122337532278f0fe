"""Objects of the map as users see them: cloud, oriented box, confidence, background or thing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from cgc_ros.segmentation.config import FloaterConfig


@dataclass(frozen=True)
class OrientedBox:
    """A box around an object, upright: its third axis is the map's vertical."""

    center: np.ndarray  # [3] map frame, metres
    rotation: np.ndarray  # [3, 3] map_from_box, right-handed
    size: np.ndarray  # [3] full size along the box's axes, metres


@dataclass(frozen=True)
class MapObject:
    """A lasting object of the map, or a part of one, at the moment of a snapshot; stamps are those of images, in
    nanoseconds.
    """

    id: int  # lasting, 1..65533
    label: str  # name, empty while unknown
    label_confidence: float  # 0..1
    confidence: float  # 0..1, how consistently views show it as one object, and how many
    background: bool  # floor, wall, table top
    box: OrientedBox
    points: np.ndarray  # [P, 3] float32, map frame, metres
    colors: np.ndarray  # [P, 3] uint8
    num_views: int  # keyframes whose masks support it
    first_seen_ns: int  # oldest and
    last_seen_ns: int  # newest keyframe whose masks support it
    parent_id: int = 0  # of a part: the object that it belongs to; 0: a whole object
    pinned: bool = False  # by hand: it stays as it is
    state: str = "present"  # present | gone (not in the map, its id is kept) | held (by the robot)
    existence: float = 1.0  # 0..1, how sure it is that it still stands there
    last_confirmed_ns: int = 0  # when it was last seen to be there; 0: never held against a view


def without_floaters(points: np.ndarray, config: FloaterConfig | None = None) -> np.ndarray:
    """Mask [P] of the points of an object's body: neither strays far from all others, nor small groups away from it.

    Groups are the connected parts of the graph that joins near neighbours; one with a share of `min_part` of the points
    belongs to the body.
    """
    config = config or FloaterConfig()
    if len(points) <= config.neighbours:
        return np.ones(len(points), dtype=bool)
    distances, neighbours = cKDTree(points).query(points, k=config.neighbours + 1)
    distances, neighbours = distances[:, 1:], neighbours[:, 1:]
    gap = distances.mean(axis=1)
    typical = np.median(gap)
    steady = gap <= config.max_mean_gap * typical
    near = (distances <= config.max_gap * typical) & steady[:, None] & steady[neighbours]
    rows, columns = np.nonzero(near)
    joined = (np.ones(len(rows), dtype=bool), (rows, neighbours[rows, columns]))
    # A matrix, no array: SciPy 1.11's csgraph takes 32-bit indices only, which arrays do not have.
    part = connected_components(sparse.coo_matrix(joined, shape=(len(points),) * 2), directed=False)[1]
    sizes = np.bincount(part)
    return steady & ((sizes >= config.min_part * len(points)) | (sizes == sizes.max()))[part]


def oriented_box(points: np.ndarray, up: np.ndarray) -> OrientedBox:
    """Smallest box with one axis along `up` ([3] unit) around points [P, 3]: things on tables stand upright.

    The two other axes are those of the smallest rectangle around the points' shadow (rotating calipers over its hull).
    """
    import cv2

    helper = np.array([1.0, 0.0, 0.0]) if abs(up[0]) < 0.9 else np.array([0.0, 1.0, 0.0])
    x_axis = np.cross(helper, up)
    x_axis /= np.linalg.norm(x_axis)
    y_axis = np.cross(up, x_axis)
    shadow = np.stack([points @ x_axis, points @ y_axis], axis=1).astype(np.float32)
    corners = cv2.boxPoints(cv2.minAreaRect(shadow)).astype(np.float64)
    edge = corners[1] - corners[0] if np.linalg.norm(corners[1] - corners[0]) > 1e-9 else corners[2] - corners[1]
    direction = edge / max(np.linalg.norm(edge), 1e-12) if np.linalg.norm(edge) > 1e-9 else np.array([1.0, 0.0])
    first = direction[0] * x_axis + direction[1] * y_axis
    rotation = np.stack([first, np.cross(up, first), up], axis=1)
    local = points @ rotation
    low, high = local.min(axis=0), local.max(axis=0)
    return OrientedBox(rotation @ ((low + high) / 2), rotation, high - low)
