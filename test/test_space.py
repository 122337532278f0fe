"""Occupied, free and unknown space, against what a made-up world really is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from cgc_ros.frame import Intrinsics
from cgc_ros.rendering import Camera
from cgc_ros.segmentation.objects import MapObject, OrientedBox
from cgc_ros.space import FREE, OCCUPIED, UNKNOWN, DepthView, Space, SpaceError, SpaceEvidence, VoxelGrid, evidence
from cgc_ros.space.of_map import fused
from cgc_ros.space.space import signed_distance

CAMERA = Intrinsics(240, 180, 210.0, 210.0, 119.5, 89.5)


def looking_at(target, eye):
    """[4, 4] pose, world from camera."""
    forward = np.subtract(target, eye) / np.linalg.norm(np.subtract(target, eye))
    right = np.cross(forward, [0.0, 0.2, 1.0])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.column_stack([right, np.cross(forward, right), forward])
    pose[:3, 3] = eye
    return pose


def box_depth(pose, least, most):
    """Depth of a solid box in a view, 0 beside it: rays against slabs."""
    columns, rows = np.meshgrid(np.arange(CAMERA.width), np.arange(CAMERA.height))
    rays = np.stack([(columns - CAMERA.cx) / CAMERA.fx, (rows - CAMERA.cy) / CAMERA.fy, np.ones(columns.shape)], -1)
    rays = rays @ pose[:3, :3].T
    with np.errstate(divide="ignore"):
        first, second = (np.array(least) - pose[:3, 3]) / rays, (np.array(most) - pose[:3, 3]) / rays
    near, far = np.minimum(first, second).max(-1), np.maximum(first, second).min(-1)
    return np.where((near < far) & (near > 0), near, 0.0).astype(np.float32)


def view_of(pose, depth):
    return DepthView(Camera.from_intrinsics(CAMERA, pose), depth)


def thing(object_id, points, background=False):
    box = OrientedBox(points.mean(axis=0), np.eye(3), np.ptp(points, axis=0))
    colors = np.zeros((len(points), 3), np.uint8)
    return MapObject(object_id, "", 0.0, 1.0, background, box, points.astype(np.float32), colors, 3, 0, 0, 0)


def box_seen_from_around():
    """Evidence of ten views of a box before a wall-sized backdrop, and the box."""
    least, most = np.array([-0.2, -0.15, 0.0]), np.array([0.2, 0.15, 0.25])
    grid = VoxelGrid.over(least - 0.3, most + 0.3, 0.02)
    seen = SpaceEvidence(grid)
    for angle in np.linspace(0.0, 2 * np.pi, 10, endpoint=False):
        pose = looking_at((0.0, 0.0, 0.1), (1.6 * np.cos(angle), 1.6 * np.sin(angle), 0.9))
        depth = box_depth(pose, least, most)
        backdrop = box_depth(pose, (-3.0, -3.0, -0.5), (3.0, 3.0, -0.4))
        seen.look(view_of(pose, np.where(depth > 0, depth, backdrop)))
    return seen, least, most


def test_what_cameras_see_of_a_box_is_occupied_around_it_is_free_and_inside_is_unknown():
    seen, least, most = box_seen_from_around()
    grid = seen.grid
    centers = grid.centers(np.argwhere(np.ones(grid.shape, bool))).reshape(*grid.shape, 3)
    # Signed distance to a box (Quilez): positive outside.
    away = np.abs(centers - (least + most) / 2) - (most - least) / 2
    distance = np.linalg.norm(np.maximum(away, 0), axis=-1) + np.minimum(away.max(-1), 0)
    assert not seen.is_free[distance < 0.5 * grid.voxel_size].any()
    assert not seen.is_occupied[np.abs(distance) > 2 * grid.voxel_size].any()
    top = (np.abs(centers[..., 2] - most[2]) < 0.5 * grid.voxel_size) & (away[..., :2] < -0.02).all(-1)
    assert seen.is_occupied[top].all()
    deep = distance < -2 * grid.voxel_size
    assert deep.any() and not seen.is_free[deep].any() and not seen.is_occupied[deep].any()
    above = (np.abs(centers[..., 2] - most[2] - 0.1) < 0.04) & (np.abs(centers[..., :2]) < 0.1).all(-1)
    assert seen.is_free[above].all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_the_kernels_count_as_the_plain_code_does(seed):
    rng = np.random.default_rng(seed)
    grid = VoxelGrid(rng.uniform(-0.3, 0.0, 3), float(rng.uniform(0.02, 0.06)), tuple(rng.integers(1, 28, 3).tolist()))
    pose = looking_at(rng.normal(0.2, 0.3, 3), rng.normal(0.0, 1.0, 3) + (0.0, 0.0, 0.2))
    depth = rng.uniform(0.3, 3.0, (180, 240)).astype(np.float32)
    depth = np.repeat(np.repeat(depth[::36, ::48], 36, 0), 48, 1)  # surfaces with edges
    depth[rng.random(depth.shape) < 0.02] = 0.0
    view, fast, plain = view_of(pose, depth), SpaceEvidence(grid), SpaceEvidence(grid)
    for counts in (fast, plain):
        counts.hit[:], counts.free[:] = 254, rng.integers(0, 2)
    plain.free[:] = fast.free
    for _ in range(2):  # beyond 255
        fast.look(view)
        evidence.count_plainly(plain, view)
    # Single precision may put a voxel on the other side of a limit.
    assert (fast.free != plain.free).mean() < 2e-3 and (fast.hit != plain.hit).mean() < 2e-3


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.005, 0.5))
def test_distances_are_those_of_scipy(seed, voxel_size):
    rng = np.random.default_rng(seed)
    solid = rng.random(rng.integers(2, 12, 3)) < rng.uniform(0.02, 0.9)
    solid.flat[0], solid.flat[-1] = True, False
    outside, inside = distance_transform_edt(~solid), distance_transform_edt(solid)
    expected = np.where(solid, 0.5 - inside, outside - 0.5) * voxel_size
    np.testing.assert_allclose(signed_distance(solid, voxel_size), expected, rtol=1e-5)


def test_where_nothing_or_all_is_solid_distances_are_infinite():
    assert (signed_distance(np.zeros((2, 3, 4), bool), 0.1) == np.inf).all()
    assert (signed_distance(np.ones((2, 3, 4), bool), 0.1) == -np.inf).all()


@pytest.fixture(scope="module")
def two_boxes():
    """Two cubes of 0.2 m, 0.4 m apart, of the objects 3 and 7, in free space; beyond x = 1.4 nobody looked."""
    grid = VoxelGrid.over(np.zeros(3), np.array([1.6, 0.6, 0.6]), 0.02)
    state = np.full(grid.shape, FREE, np.uint8)
    state[70:] = UNKNOWN
    owners = np.full(grid.shape, -1, np.int32)
    for object_id, first in ((3, 20), (7, 50)):
        state[first : first + 10, 10:20, 10:20] = OCCUPIED
        owners[first : first + 10, 10:20, 10:20] = object_id
    return Space(grid, state, owners)


def test_a_query_tells_how_far_whose_and_what(two_boxes):
    points = np.array([[0.3, 0.3, 0.3], [0.9, 0.3, 0.3], [0.5, 0.3, 0.3], [1.5, 0.3, 0.3], [5.0, 0.0, 0.0]])
    found = two_boxes.query(points)
    np.testing.assert_allclose(found.distance[:4], [0.1, 0.1, -0.1, 0.3], atol=0.012)
    assert np.isnan(found.distance[4])
    assert found.object_id.tolist() == [3, 7, 3, 7, -1]
    assert found.state.tolist() == [FREE, FREE, OCCUPIED, UNKNOWN, UNKNOWN]


def test_without_an_object_its_place_is_unknown_and_neighbours_are_as_they_were(two_boxes):
    found = two_boxes.query(np.array([[0.5, 0.3, 0.3], [0.9, 0.3, 0.3]]), ignored=(3,))
    assert found.state.tolist() == [UNKNOWN, FREE] and found.object_id.tolist() == [7, 7]
    np.testing.assert_allclose(found.distance, [0.5, 0.1], atol=0.012)
    assert (two_boxes.state_without((3,))[two_boxes.object_id == 7] == OCCUPIED).all()
    assert np.isnan(two_boxes.query(np.array([[0.5, 0.3, 0.3]]), ignored=(3, 7)).distance).all()


def test_where_unknown_counts_as_occupied_it_is_as_near_as_its_border(two_boxes):
    found = two_boxes.query(np.array([[1.3, 0.1, 0.1]]), unknown_is_occupied=True)
    np.testing.assert_allclose(found.distance, [0.1], atol=0.012)
    assert found.object_id.tolist() == [7]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_a_query_agrees_with_the_nearest_of_all_surfaces(seed):
    rng = np.random.default_rng(seed)
    grid = VoxelGrid(rng.uniform(-1, 1, 3), 0.05, (20, 22, 18))
    state, owners = np.full(grid.shape, FREE, np.uint8), np.full(grid.shape, -1, np.int32)
    for object_id in range(4):
        at = tuple(slice(first, first + 3) for first in rng.integers(0, 15, 3).tolist())
        state[at], owners[at] = OCCUPIED, object_id
    points = grid.origin + rng.uniform(0, 1, (50, 3)) * np.array(grid.shape) * grid.voxel_size
    found = Space(grid, state, owners).query(points)
    occupied = np.argwhere(state == OCCUPIED)
    apart = np.abs(points[:, None] - grid.centers(occupied)) - grid.voxel_size / 2
    truth = np.linalg.norm(np.maximum(apart, 0), axis=-1)
    outside = truth.min(axis=1) > 0
    assert np.abs(found.distance - truth.min(axis=1))[outside].max(initial=0) < 0.9 * grid.voxel_size
    for point in np.flatnonzero(outside):
        near = truth[point] < truth[point].min() + 1.5 * grid.voxel_size
        assert found.object_id[point] in owners[tuple(occupied[near].T)]


def test_objects_own_what_is_occupied_on_and_beside_their_clouds_and_things_come_first():
    seen, least, most = box_seen_from_around()
    steps = np.linspace(0.0, 1.0, 40)
    top = np.stack(np.meshgrid(*(least[k] + steps * (most[k] - least[k]) for k in (0, 1))), -1).reshape(-1, 2)
    points = np.column_stack([top, np.full(len(top), most[2])])
    space = fused(seen, [thing(4, points), thing(9, points, background=True)])
    voxels, _ = space.grid.voxels_of(points)
    assert (space.state[tuple(voxels.T)] == OCCUPIED).all()
    assert (space.object_id[tuple(voxels.T)] == 4).all()
    assert not np.isin(space.object_id[space.state != OCCUPIED], [4, 9]).any()


def test_a_speck_that_all_see_through_occupies_nothing():
    seen, _, most = box_seen_from_around()
    speck = most + (-0.2, -0.15, 0.2)
    space = fused(seen, [thing(5, np.tile(speck, (3, 1)))])
    voxel, _ = space.grid.voxels_of(speck[None])
    assert space.state[tuple(voxel[0])] == FREE and not (space.object_id == 5).any()


@pytest.mark.parametrize(
    ("least", "most", "size", "reason"),
    [
        ((0, 0, 0), (1, 1, 1), 0.0, "bad_voxel_size"),
        ((0, 0, 0), (1, 1, 1), float("nan"), "bad_voxel_size"),
        ((0, 0, 0), (1, 0, 1), 0.1, "bad_box"),
        ((0, 0, 0), (1, float("inf"), 1), 0.1, "bad_box"),
        ((0, 0, 0), (100, 100, 100), 0.01, "too_many_voxels"),
    ],
)
def test_a_grid_that_cannot_be_is_refused_by_name(least, most, size, reason):
    with pytest.raises(SpaceError) as caught:
        VoxelGrid.over(least, most, size)
    assert caught.value.reason == reason


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 0.5))
def test_a_grid_covers_its_box_and_hardly_more(seed, size):
    rng = np.random.default_rng(seed)
    least = rng.uniform(-5, 5, 3)
    most = least + rng.uniform(0.05, 1.5, 3)
    grid = VoxelGrid.over(least, most, size)
    end = grid.origin + np.array(grid.shape) * size
    assert (grid.origin <= least + 1e-5).all() and (end >= most - 1e-5).all()
    assert (least - grid.origin < size * 1.001).all() and (end - most < size * 1.001).all()
    voxels, inside = grid.voxels_of(grid.centers(np.argwhere(np.ones(grid.shape, bool))))
    assert inside.all() and len(np.unique(voxels, axis=0)) == grid.size


def test_a_wall_is_hit_where_it_is_and_free_before_it():
    camera = Camera.from_intrinsics(CAMERA, np.eye(4))
    seen = SpaceEvidence(VoxelGrid.over(np.array([-0.1, -0.1, 0.5]), np.array([0.1, 0.1, 1.1]), 0.05))
    seen.look(DepthView(camera, np.full((180, 240), 1.0, np.float32)))
    assert seen.hit[:, :, 10].all() and seen.free[:, :, :8].all() and not seen.free[:, :, 10:].any()
