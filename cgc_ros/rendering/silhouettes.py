"""Silhouettes of rigid triangle meshes, widened by a margin that grows as they come nearer, by a z-buffer in C++."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cgc_ros.frame import Intrinsics
from cgc_ros.rendering.kernels import kernels

#: Pixels: no silhouette is widened by more.
MAX_REACH = 120


@dataclass(frozen=True)
class MeshParts:
    """Meshes that move apart from each other, one array for all."""

    vertices: np.ndarray  # [V, 3] float32, each in its part's own frame, metres
    faces: np.ndarray  # [F, 3] int32 into `vertices`
    #: [P, 5] int64: first vertex, vertices, first face, faces, and whether the surface is closed and its faces turn
    #: counter-clockwise seen from outside: a camera inside of it does not see it
    ranges: np.ndarray

    @staticmethod
    def joined(meshes: list[tuple[np.ndarray, np.ndarray, bool]]) -> MeshParts:
        """One part for each mesh: vertices [V, 3], faces [F, 3] into them, closed."""
        vertices = [np.empty((0, 3), np.float32)]
        faces = [np.empty((0, 3), np.int32)]
        ranges, first_vertex, first_face = [], 0, 0
        for points, triangles, closed in meshes:
            vertices.append(points.astype(np.float32))
            faces.append(triangles.astype(np.int32) + first_vertex)
            ranges.append((first_vertex, len(points), first_face, len(triangles), closed))
            first_vertex, first_face = first_vertex + len(points), first_face + len(triangles)
        return MeshParts(np.concatenate(vertices), np.concatenate(faces), np.array(ranges, np.int64).reshape(-1, 5))


class Silhouette(NamedTuple):
    """Where meshes are in a view."""

    inverse_depth: (
        np.ndarray
    )  # [H, W] float32, 1 / z of the nearest surface at the pixel's centre, 0 where there is none
    mask: np.ndarray  # [H, W] bool, the widened silhouette


def draw_silhouette(
    meshes: MeshParts,
    camera_from_part: np.ndarray,  # [P, 4, 4]
    camera: Intrinsics,  # a pinhole view: its distortion is not looked at
    *,
    reach: np.ndarray | None = None,  # [P] pixels times metres: at distance z a part is widened by reach / z ...
    offset: float = 0.0,  # ... and by so many pixels, MAX_REACH in all
    near: float = 0.01,  # metres along z: what is nearer is cut away
) -> Silhouette:
    """The nearest surface at every pixel's centre, and the union of the discs of those radii around all such pixels."""
    count = len(meshes.ranges)
    radii = np.zeros(count, np.float32) if reach is None else np.ascontiguousarray(reach, np.float32)
    poses = np.ascontiguousarray(np.reshape(camera_from_part, (count, 4, 4))[:, :3], np.float32)
    return Silhouette(
        *kernels.silhouette(
            meshes.vertices,
            meshes.faces,
            meshes.ranges,
            poses,
            radii,
            offset=offset,
            width=camera.width,
            height=camera.height,
            fx=camera.fx,
            fy=camera.fy,
            cx=camera.cx,
            cy=camera.cy,
            near=near,
        )
    )
