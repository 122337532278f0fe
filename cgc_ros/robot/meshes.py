"""The shapes of a robot's links as triangles: primitives, and mesh files found by their URI and thinned out once."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from cgc_ros.rendering.silhouettes import MeshParts
from cgc_ros.robot.description import Link, RobotModel, Shape
from cgc_ros.robot.errors import RobotError

#: Triangles of one shape: more of them change no silhouette that a camera could tell.
MAX_TRIANGLES = 2000
_SIDES = 64  # of a cylinder
_SPHERE_SUBDIVISIONS = 3  # 1280 triangles
_SCHEME = re.compile(r"^[a-z]+://", re.IGNORECASE)
_UNIT = re.compile(r"^([0-9.eE+-]+) \* meters$")  # as trimesh tells COLLADA's <unit>


@dataclass(frozen=True)
class RobotShapes:
    """All that a camera can see of a robot."""

    meshes: MeshParts  # in the frames of their links
    links: tuple[str, ...]  # of each part, its link
    corners: np.ndarray  # [P, 8, 3] of each part's bounding box, in its link's frame
    problems: tuple[str, ...]  # what is not drawn, and why, in words


def load_shapes(model: RobotModel, folders: Sequence[Path] = ()) -> RobotShapes:
    """Triangles of all links: what is visible, or what stands for it in collisions where that cannot be had.

    Mesh files are looked for as `find_mesh` says. What is missing is named in `problems`, the rest is drawn all the
    same. RobotError (no_shapes) where nothing is left to draw.
    """
    meshes: list[tuple[np.ndarray, np.ndarray, bool]] = []
    links: list[str] = []
    problems: list[str] = []
    for link in model.links.values():
        for mesh in _link_meshes(link, folders, problems):
            meshes.append(mesh)
            links.append(link.name)
    if not meshes:
        told = f": {'; '.join(problems[:3])}" if problems else ", neither <visual> nor <collision>"
        raise RobotError("no_shapes", f"the URDF of {model.name!r} has no shape that can be drawn{told}")
    corners = np.stack([_box_corners(vertices) for vertices, _, _ in meshes])
    return RobotShapes(MeshParts.joined(meshes), tuple(links), corners, tuple(problems))


def find_mesh(uri: str, folders: Sequence[Path]) -> Path | None:
    """The file of a mesh's URI.

    An absolute path or file:// as it is; package://NAME/PATH in the `share` folders of ROS' installations
    (AMENT_PREFIX_PATH); anything below `folders`, by as much of the path's end as is there.
    """
    scheme = _SCHEME.match(uri)
    path = Path(unquote(uri[scheme.end() :] if scheme else uri).replace("\\", "/"))
    is_package = scheme is not None and scheme.group().lower() == "package://"
    if path.is_absolute() and path.is_file():
        return path
    parts = path.parts[1:] if path.is_absolute() else path.parts
    ends = [Path(*parts[first:]) for first in range(len(parts))]
    candidates = [folder / end for end in ends for folder in folders]
    if is_package:
        prefixes = filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep))
        candidates = [Path(prefix) / "share" / path for prefix in prefixes] + candidates
    return next((each for each in candidates if each.is_file()), None)


def _link_meshes(
    link: Link, folders: Sequence[Path], problems: list[str]
) -> Iterator[tuple[np.ndarray, np.ndarray, bool]]:
    """Of the first of the link's two descriptions that is there whole, else of what there is of the visible one."""
    found, lacking = _read_shapes(link.name, link.visual, folders)
    if (lacking or not found) and link.collision:
        instead, lacking_too = _read_shapes(link.name, link.collision, folders)
        if instead and not lacking_too:
            problems += [f"{text}; its collision shape is drawn instead" for text in lacking]
            yield from instead
            return
    problems += lacking
    yield from found


def _read_shapes(
    link: str, shapes: Sequence[Shape], folders: Sequence[Path]
) -> tuple[list[tuple[np.ndarray, np.ndarray, bool]], list[str]]:
    """Meshes in the link's frame, and what is said of those that cannot be had."""
    found, lacking = [], []
    for shape in shapes:
        try:
            vertices, faces, closed = _triangles(shape, folders)
        except RobotError as error:
            lacking.append(f"link {link!r}: {error}")
            continue
        pose = shape.link_from_shape
        found.append((vertices @ pose[:3, :3].T + pose[:3, 3], faces, closed))
    return found, lacking


def _triangles(shape: Shape, folders: Sequence[Path]) -> tuple[np.ndarray, np.ndarray, bool]:
    """Vertices [V, 3] in metres, faces [F, 3], closed. RobotError (missing_mesh)."""
    import trimesh

    if shape.kind == "mesh":
        return _mesh_file(shape, folders)
    if shape.kind == "box":
        mesh = trimesh.creation.box(extents=shape.size)
    elif shape.kind == "cylinder":
        mesh = trimesh.creation.cylinder(radius=shape.size[0], height=shape.size[1], sections=_SIDES)
    else:
        mesh = trimesh.creation.icosphere(subdivisions=_SPHERE_SUBDIVISIONS, radius=shape.size[0])
    return mesh.vertices, mesh.faces, True


def _mesh_file(shape: Shape, folders: Sequence[Path]) -> tuple[np.ndarray, np.ndarray, bool]:
    import trimesh

    path = find_mesh(shape.uri, folders)
    if path is None:
        where = f" below {', '.join(map(str, folders))}" if folders else " (source the robot's workspace)"
        raise RobotError("missing_mesh", f"mesh {shape.uri} was not found{where}")
    try:
        scene = trimesh.load_scene(path)
        mesh = scene.to_mesh()
        unit = _unit(scene)
    except Exception as error:  # of whichever library reads this format: named, and the rest is drawn
        raise RobotError("missing_mesh", f"mesh {path} cannot be read ({type(error).__name__}: {error})") from error
    if not len(mesh.faces) or not np.isfinite(mesh.vertices).all():
        raise RobotError("missing_mesh", f"mesh {path} holds no triangles, or some that are not finite")
    mesh.merge_vertices(merge_tex=True, merge_norm=True)
    mesh.apply_scale(unit * np.array(shape.size))  # a mirroring scale turns the faces, too
    return _thinned(mesh)


def _unit(scene) -> float:
    """Metres of a COLLADA file's unit; every other format is in metres, as for ROS."""
    for geometry in scene.geometry.values():
        if found := _UNIT.match(str(geometry.metadata.get("units", ""))):
            return float(found.group(1))
    return 1.0


def _thinned(mesh) -> tuple[np.ndarray, np.ndarray, bool]:
    """At most MAX_TRIANGLES of a trimesh's triangles, by quadric error (Garland and Heckbert, SIGGRAPH 1997)."""
    closed = bool(mesh.is_watertight and mesh.is_winding_consistent)
    if closed and mesh.volume < 0:
        mesh.invert()
    if len(mesh.faces) <= MAX_TRIANGLES:
        return np.array(mesh.vertices), np.array(mesh.faces), closed
    import open3d as o3d
    import trimesh

    dense = o3d.geometry.TriangleMesh(
        o3d.utility.Vector3dVector(np.ascontiguousarray(mesh.vertices)),
        o3d.utility.Vector3iVector(np.ascontiguousarray(mesh.faces, np.int32)),
    )
    thin = dense.simplify_quadric_decimation(MAX_TRIANGLES)
    vertices, faces = np.asarray(thin.vertices), np.asarray(thin.triangles)
    thin_mesh = trimesh.Trimesh(vertices, faces, process=False)
    return vertices, faces, closed and bool(thin_mesh.is_watertight and thin_mesh.is_winding_consistent)


def _box_corners(vertices: np.ndarray) -> np.ndarray:
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    picks = np.array([[bool(corner >> axis & 1) for axis in range(3)] for corner in range(8)])
    return np.where(picks, high, low)
