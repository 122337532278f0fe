"""What lies apart from the body of its object.

A mask that covers a thing and a patch of the wall behind it is mostly that thing, and votes for it on the patch, too.
Where the patch's own masks are too ragged to be kept, nothing speaks against it.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from cgc_ros.segmentation.config import StrayConfig


def strays(objects: np.ndarray, means: np.ndarray, config: StrayConfig | None = None) -> np.ndarray:
    """Gaussians that lie in small groups away from the body of their object, [N] bool.

    `objects` [N] are numbers from 0, -1 = none; `means` [N, 3] positions. The body is an object's largest group.
    """
    config = config or StrayConfig()
    stray = np.zeros(len(objects), dtype=bool)
    members = np.flatnonzero(objects >= 0)
    if len(members) == 0:
        return stray
    members = members[np.argsort(objects[members], kind="stable")]
    owner, points = objects[members], means[members]
    lengths = _lengths(owner, points)
    group, sizes, owner_of_group = _groups(owner, points, lengths[owner] / config.cells)
    body = np.zeros(int(owner[-1]) + 1, dtype=np.int64)
    rising = np.argsort(sizes, kind="stable")
    body[owner_of_group[rising]] = rising  # the largest group of an object is written last
    body_sizes = sizes[body[owner_of_group]]
    small = (sizes < config.min_share * body_sizes) & (body_sizes >= config.min_body)
    for number in np.unique(owner_of_group[small]):
        mine = slice(*np.searchsorted(owner, [number, number + 1]))
        apart = np.flatnonzero(small[group[mine]])
        gaps = cKDTree(points[mine][group[mine] == body[number]]).query(points[mine][apart])[0]
        stray[members[mine][apart[gaps > config.min_gap * lengths[number]]]] = True
    return stray


def _lengths(owner: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Of every object: twice the distance within which three quarters of its points lie from their middle."""
    edges = np.searchsorted(owner, np.arange(owner[-1] + 2))
    lengths = np.zeros(int(owner[-1]) + 1)
    for number, (begin, end) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        if end > begin:
            mine = points[begin:end]
            lengths[number] = 2.0 * np.quantile(np.linalg.norm(mine - np.median(mine, axis=0), axis=1), 0.75)
    return lengths


def _groups(owner: np.ndarray, points: np.ndarray, cell_sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Group of every point, [P]; points in each group, and whose it is, [G]. Objects share no group.

    `cell_sizes` [P] is the side of the cells of the object that a point is of.
    """
    cells = np.floor(points / np.maximum(cell_sizes, 1e-9)[:, None])
    cells = np.column_stack((owner * 10, cells))  # objects ten cells apart in a fourth dimension
    cells, cell_of = np.unique(cells, axis=0, return_inverse=True)
    near = cKDTree(cells).query_pairs(1.8, output_type="ndarray")  # the 26 around a cell
    # A matrix, no array: SciPy 1.11's csgraph takes 32-bit indices only, which arrays do not have.
    joined = sparse.coo_matrix((np.ones(len(near), bool), (near[:, 0], near[:, 1])), shape=(len(cells),) * 2)
    group_of_cell = connected_components(joined, directed=False)[1]
    group = group_of_cell[cell_of.ravel()]
    owner_of_group = np.zeros(int(group_of_cell.max()) + 1, dtype=np.int64)
    owner_of_group[group] = owner
    return group, np.bincount(group), owner_of_group
