"""Silhouettes of meshes, against what geometry says."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from cgc_ros.frame import Intrinsics
from cgc_ros.rendering.silhouettes import MeshParts, draw_silhouette

trimesh = pytest.importorskip("trimesh", reason="requirements/robot.txt is not installed")
CAMERA = Intrinsics(120, 90, 100.0, 110.0, 58.5, 45.25)
BALL = trimesh.creation.icosphere(subdivisions=4, radius=1.0)
BOX = trimesh.creation.box((1.0, 1.0, 1.0))
ROWS, COLUMNS = np.mgrid[:90, :120]
RAYS = np.stack([(COLUMNS - CAMERA.cx) / CAMERA.fx, (ROWS - CAMERA.cy) / CAMERA.fy, np.ones(ROWS.shape)], -1)


def placed(place, rotation=(0.0, 0.0, 0.0)) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = Rotation.from_rotvec(rotation).as_matrix(), place
    return pose


def drawn(mesh, pose, size=1.0, closed=True, **options):
    return draw_silhouette(
        MeshParts.joined([(mesh.vertices * size, mesh.faces, closed)]), pose[None], CAMERA, **options
    )


def ray_depths(pose, size) -> np.ndarray:
    """Depth along z at which each pixel's ray enters a cube with edges of `size`, inf where it misses: slabs."""
    origin, directions = pose[:3, :3].T @ -pose[:3, 3], RAYS @ pose[:3, :3]
    with np.errstate(divide="ignore"):
        crossings = np.sort(np.stack([(side * size / 2 - origin) / directions for side in (-1, 1)]), axis=0)
    enter, leave = crossings[0].max(axis=-1), crossings[1].min(axis=-1)
    return np.where((enter <= leave) & (leave > 0), enter, np.inf)


places = st.tuples(st.floats(-0.8, 0.8), st.floats(-0.6, 0.6), st.floats(1.2, 4.0))
turns = st.tuples(*[st.floats(-2.0, 2.0)] * 3)


@settings(max_examples=60, deadline=None)
@given(place=places, turn=turns, size=st.floats(0.05, 1.0))
def test_a_cube_is_where_its_rays_are_and_as_far(place, turn, size):
    pose = placed(place, turn)
    found, wanted = drawn(BOX, pose, size), ray_depths(pose, size)
    differs = found.mask != np.isfinite(wanted)
    edge = cv2.dilate(np.isfinite(wanted).astype(np.uint8), np.ones((3, 3))) > 0
    edge &= ~(cv2.erode(np.isfinite(wanted).astype(np.uint8), np.ones((3, 3)), borderValue=1) > 0)
    assert not (differs & ~edge).any() and differs.sum() <= 0.05 * edge.sum() + 1
    both = found.mask & np.isfinite(wanted)
    np.testing.assert_allclose(found.inverse_depth[both] * wanted[both], 1.0, atol=2e-3)
    np.testing.assert_array_equal(found.mask, found.inverse_depth > 0)


@settings(max_examples=40, deadline=None)
@given(place=places, radius=st.floats(0.1, 0.5))
def test_a_ball_is_the_cone_that_touches_it(place, radius):
    found = drawn(BALL, placed(place), radius)
    centre = np.array(place)
    along = RAYS @ centre / np.linalg.norm(RAYS, axis=-1)
    distance = np.sqrt(np.maximum(centre @ centre - along**2, 0.0))  # of each ray to the centre
    assert found.mask[distance < 0.985 * radius].all() and not found.mask[distance > radius + 1e-6].any()


@settings(max_examples=40, deadline=None)
@given(
    place=places,
    turn=turns,
    size=st.floats(0.02, 0.6),
    reach=st.floats(0.0, 12.0),
    offset=st.floats(0.0, 6.0),
)
def test_widening_is_the_union_of_discs(place, turn, size, reach, offset):
    found = drawn(BOX, placed(place, turn), size, reach=np.array([reach]), offset=offset)
    rows, columns = np.nonzero(found.inverse_depth)
    wanted = np.zeros(found.mask.shape, bool)
    for row, column in zip(rows, columns, strict=True):
        radius = reach * found.inverse_depth[row, column] + offset
        wanted |= (ROWS - row) ** 2 + (COLUMNS - column) ** 2 <= int(np.float32(radius) ** 2)
    differs = found.mask != wanted
    assert differs.sum() <= 0.002 * wanted.sum() + 2  # squares of radii are cut to whole numbers, in float32


def test_the_nearest_of_several_parts_is_seen_and_moves_by_itself():
    parts = MeshParts.joined([(BALL.vertices, BALL.faces, True), (0.2 * BOX.vertices, BOX.faces, True)])
    found = draw_silhouette(parts, np.stack([placed((0, 0, 4.0)), placed((0.1, 0, 1.0))]), CAMERA)
    assert 1 / found.inverse_depth[45, 68] == pytest.approx(0.9, abs=1e-4)
    assert 1 / found.inverse_depth[45, 50] == pytest.approx(3.0, abs=0.1)


def test_what_the_camera_is_inside_of_is_not_seen_unless_it_is_open():
    inside = placed((0.0, 0.0, 0.1))
    assert not drawn(BOX, inside, closed=True).mask.any()
    assert drawn(BOX, inside, closed=False).mask.all()


def test_what_crosses_the_near_plane_is_cut_there():
    board = trimesh.creation.box((0.4, 0.05, 4.0))  # from behind the camera to 2 m before it, below its axis
    found = drawn(board, placed((0.0, 0.3, 0.0)), near=0.5)
    rows = np.flatnonzero(found.mask.any(axis=1))
    assert rows[0] == pytest.approx(CAMERA.cy + CAMERA.fy * 0.275 / 2.0, abs=1.0)
    assert found.inverse_depth.max() <= 2.0 + 1e-5
    assert not drawn(board, placed((0.0, 0.3, -3.0))).mask.any()  # all of it behind


def test_no_parts_and_parts_that_do_not_fit():
    nothing = draw_silhouette(MeshParts.joined([]), np.empty((0, 4, 4)), CAMERA)
    assert nothing.mask.shape == (90, 120) and not nothing.mask.any()
    parts = MeshParts.joined([(BOX.vertices, BOX.faces, True)])
    wrong = MeshParts(parts.vertices, parts.faces + 1, parts.ranges)
    with pytest.raises(IndexError, match="vertex that is none of its part"):
        draw_silhouette(wrong, placed((0, 0, 2.0))[None], CAMERA)
    with pytest.raises(ValueError, match="near must be positive"):
        draw_silhouette(parts, placed((0, 0, 2.0))[None], CAMERA, near=0.0)
