"""The transform buffer answers as tf2 does; expected poses come from scipy's Slerp and from products written out by
hand.
"""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp

from cgc_ros.transform_buffer import TransformBuffer, TransformError

SECOND = 1_000_000_000


def pose(x=0.0, y=0.0, z=0.0, yaw=0.0) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("z", yaw).as_matrix()
    matrix[:3, 3] = x, y, z
    return matrix


def random_pose(rng) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.random(rng=rng).as_matrix()
    matrix[:3, 3] = rng.normal(size=3)
    return matrix


def reason_of(call, *args, **kwargs) -> str:
    with pytest.raises(TransformError) as caught:
        call(*args, **kwargs)
    assert str(caught.value)
    return caught.value.reason


@pytest.fixture
def robot() -> TransformBuffer:
    """map -> odom -> base -> camera, dynamic at 0, 1 and 2 s; camera and a lidar mounted statically."""
    buffer = TransformBuffer(history_s=10.0)
    for second in range(3):
        buffer.set_transform("map", "odom", second * SECOND, pose(x=10.0))
        buffer.set_transform("odom", "base", second * SECOND, pose(x=float(second), yaw=0.5 * second))
    buffer.set_transform("base", "camera", 0, pose(z=1.0), static=True)
    buffer.set_transform("base", "lidar", 0, pose(y=0.3), static=True)
    return buffer


def test_lookup_multiplies_the_chain_from_source_to_target(robot):
    expected = pose(x=10.0) @ pose(x=1.0, yaw=0.5) @ pose(z=1.0)
    np.testing.assert_allclose(robot.lookup("map", "camera", SECOND), expected, atol=1e-12)
    np.testing.assert_allclose(robot.lookup("camera", "map", SECOND), np.linalg.inv(expected), atol=1e-12)


def test_lookup_between_two_branches_goes_over_their_common_ancestor_and_needs_nothing_above_it(robot):
    far_future = 1000 * SECOND  # base -> camera and base -> lidar are static: no dynamic edge is asked
    np.testing.assert_allclose(robot.lookup("camera", "lidar", far_future), pose(y=0.3, z=-1.0), atol=1e-12)


def test_a_frame_in_itself_is_the_identity(robot):
    np.testing.assert_array_equal(robot.lookup("base", "base", 123), np.eye(4))


def test_leading_slashes_do_not_matter(robot):
    np.testing.assert_array_equal(robot.lookup("/map", "/camera", SECOND), robot.lookup("map", "camera", SECOND))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**31), ratio=st.floats(0.0, 1.0))
def test_interpolation_is_slerp_and_lerp(seed, ratio):
    rng = np.random.default_rng(seed)
    start, end = random_pose(rng), random_pose(rng)
    buffer = TransformBuffer()
    buffer.set_transform("world", "camera", 5 * SECOND, start)
    buffer.set_transform("world", "camera", 6 * SECOND, end)
    stamp = 5 * SECOND + round(ratio * SECOND)
    exact_ratio = (stamp - 5 * SECOND) / SECOND
    slerp = Slerp([0.0, 1.0], Rotation.from_matrix([start[:3, :3], end[:3, :3]]))
    found = buffer.lookup("world", "camera", stamp)
    np.testing.assert_allclose(found[:3, :3], slerp(exact_ratio).as_matrix(), atol=1e-9)
    np.testing.assert_allclose(found[:3, 3], (1 - exact_ratio) * start[:3, 3] + exact_ratio * end[:3, 3], atol=1e-12)


def test_nanosecond_stamps_of_this_century_lose_no_precision():
    buffer = TransformBuffer()
    now = 1_764_000_000 * SECOND
    buffer.set_transform("map", "camera", now, pose(x=0.0))
    buffer.set_transform("map", "camera", now + 1000, pose(x=1.0))
    assert buffer.lookup("map", "camera", now + 1)[0, 3] == pytest.approx(0.001, abs=1e-12)


def test_samples_may_arrive_in_any_order():
    stamps = np.random.default_rng(0).permutation(200)
    buffer = TransformBuffer(history_s=1000.0)
    for stamp in stamps:
        buffer.set_transform("map", "camera", int(stamp) * SECOND, pose(x=float(stamp)))
    for query in (0.0, 17.25, 100.5, 199.0):
        assert buffer.lookup("map", "camera", int(query * SECOND))[0, 3] == pytest.approx(query)


def test_a_second_sample_with_the_same_stamp_replaces_the_first():
    buffer = TransformBuffer()
    buffer.set_transform("map", "camera", SECOND, pose(x=1.0))
    buffer.set_transform("map", "camera", SECOND, pose(x=2.0))
    assert buffer.lookup("map", "camera", SECOND)[0, 3] == 2.0


def test_nothing_is_extrapolated(robot):
    assert reason_of(robot.lookup, "map", "camera", 2 * SECOND + 1) == "extrapolation_future"
    assert reason_of(robot.lookup, "map", "camera", -1) == "extrapolation_past"


def test_the_message_of_an_extrapolation_names_the_edge_and_by_how_much(robot):
    robot.set_transform("map", "odom", 9 * SECOND, pose(x=10.0))
    with pytest.raises(TransformError, match=r"odom -> base .* 0\.500 s older"):
        robot.lookup("map", "camera", int(2.5 * SECOND))


def test_unknown_and_disconnected_frames_are_told_apart(robot):
    assert reason_of(robot.lookup, "map", "gripper", SECOND) == "unknown_frame"
    robot.set_transform("arm", "gripper", SECOND, pose(), static=True)
    assert reason_of(robot.lookup, "map", "gripper", SECOND) == "disconnected"
    with pytest.raises(TransformError, match="root is 'arm'.*root 'map'"):
        robot.lookup("map", "gripper", SECOND)


def test_an_empty_buffer_knows_no_frame():
    assert reason_of(TransformBuffer().lookup, "map", "camera", 0) == "unknown_frame"


def test_no_stamp_asks_for_the_newest_one_the_whole_chain_has(robot):
    robot.set_transform("odom", "base", 7 * SECOND, pose(x=99.0))
    assert robot.latest_stamp_ns("map", "camera") == 2 * SECOND  # map -> odom ends there
    np.testing.assert_allclose(robot.lookup("map", "camera"), robot.lookup("map", "camera", 2 * SECOND), atol=1e-12)
    assert robot.latest_stamp_ns("camera", "lidar") is None
    np.testing.assert_allclose(robot.lookup("camera", "lidar"), pose(y=0.3, z=-1.0), atol=1e-12)


def test_history_is_bounded_and_older_samples_are_refused():
    buffer = TransformBuffer(history_s=2.0)
    for millisecond in range(0, 60_000, 10):
        buffer.set_transform("map", "camera", millisecond * 1_000_000, pose(x=float(millisecond)))
    newest = 59_990 * 1_000_000
    assert reason_of(buffer.lookup, "map", "camera", newest - 2 * SECOND - 1) == "extrapolation_past"
    assert buffer.lookup("map", "camera", newest - 2 * SECOND)[0, 3] == pytest.approx(57_990)
    assert reason_of(buffer.set_transform, "map", "camera", newest - 3 * SECOND, pose()) == "old_data"
    assert buffer.num_samples() <= 2 * 202  # twice the history's samples at most


def test_after_the_clock_jumped_back_a_cleared_buffer_goes_on_and_keeps_static_edges(robot):
    robot.set_transform("odom", "base", 50 * SECOND, pose())
    assert reason_of(robot.set_transform, "odom", "base", 1 * SECOND, pose(x=1.0)) == "old_data"
    robot.clear()
    assert reason_of(robot.lookup, "odom", "camera", SECOND) == "empty"
    robot.set_transform("odom", "base", 1 * SECOND, pose(x=5.0))
    np.testing.assert_allclose(robot.lookup("odom", "camera", SECOND), pose(x=5.0, z=1.0), atol=1e-12)


def test_a_loop_is_refused_and_leaves_the_tree_as_it_was(robot):
    before = robot.lookup("map", "camera", SECOND)
    assert reason_of(robot.set_transform, "camera", "map", SECOND, pose()) == "loop"
    assert reason_of(robot.set_transform, "base", "base", SECOND, pose()) == "bad_frame"
    np.testing.assert_array_equal(robot.lookup("map", "camera", SECOND), before)


def test_a_tree_that_was_turned_around_recovers_after_one_history():
    buffer = TransformBuffer(history_s=1.0)
    buffer.set_transform("map", "odom", 0, pose(x=1.0))
    assert reason_of(buffer.set_transform, "odom", "map", SECOND // 2, pose(x=-1.0)) == "loop"
    buffer.set_transform("odom", "map", 3 * SECOND, pose(x=-1.0))
    assert buffer.lookup("odom", "map", 3 * SECOND)[0, 3] == -1.0


def test_a_frame_can_change_its_parent_and_the_old_one_holds_until_then():
    buffer = TransformBuffer()
    buffer.set_transform("map", "table", 0, pose(x=1.0), static=True)
    buffer.set_transform("map", "gripper", 0, pose(x=2.0), static=True)
    for second in (1, 2):
        buffer.set_transform("table", "cup", second * SECOND, pose(y=float(second)))
    for second in (4, 5):
        buffer.set_transform("gripper", "cup", second * SECOND, pose(y=float(second)))
    np.testing.assert_allclose(
        buffer.lookup("map", "cup", 3 * SECOND), pose(x=1.0, y=2.0)
    )  # not mixed: the older sample holds
    np.testing.assert_allclose(buffer.lookup("map", "cup", int(4.5 * SECOND)), pose(x=2.0, y=4.5))


def test_the_root_of_a_frame_is_the_top_of_its_tree(robot):
    assert robot.root("camera") == "map"
    assert robot.root("map") == "map"
    assert set(robot.frames()) == {"map", "odom", "base", "camera", "lidar"}


@pytest.mark.parametrize(
    "broken",
    [
        np.full((4, 4), np.nan),
        np.diag([2.0, 2.0, 2.0, 1.0]),
        np.diag([1.0, 1.0, -1.0, 1.0]),
        np.zeros((4, 4)),
        np.eye(3),
    ],
)
def test_what_is_not_a_rigid_transform_is_refused(broken):
    buffer = TransformBuffer()
    assert reason_of(buffer.set_transform, "map", "camera", 0, broken) == "bad_transform"
    assert buffer.frames() == ()


def test_an_empty_frame_name_is_refused():
    assert reason_of(TransformBuffer().set_transform, "", "camera", 0, np.eye(4)) == "bad_frame"


def test_the_stored_matrix_is_a_copy():
    matrix = pose(x=1.0)
    buffer = TransformBuffer()
    buffer.set_transform("map", "camera", 0, matrix)
    matrix[0, 3] = 7.0
    assert buffer.lookup("map", "camera", 0)[0, 3] == 1.0


def test_writers_and_readers_in_several_threads_see_consistent_transforms():
    buffer = TransformBuffer(history_s=0.5)
    buffer.set_transform("map", "odom", 0, pose(x=0.0))
    failures: list[BaseException] = []

    def write():
        for step in range(1, 1500):
            buffer.set_transform("map", "odom", step * 1_000_000, pose(x=step * 1e-3, y=step * 1e-3))

    def read():
        try:
            while writer.is_alive():
                found = buffer.lookup("map", "odom")
                assert found[0, 3] == found[1, 3]
        except BaseException as error:  # noqa: BLE001 - handed to the main thread, which fails on it
            failures.append(error)

    writer = threading.Thread(target=write)
    readers = [threading.Thread(target=read) for _ in range(2)]
    writer.start()
    for reader in readers:
        reader.start()
    for thread in (writer, *readers):
        thread.join()
    assert not failures


def test_lookup_time_does_not_grow_with_history():
    """Binary search: 100 times the samples may not cost even 5 times the time."""

    def seconds_per_lookup(samples: int) -> float:
        buffer = TransformBuffer(history_s=1e6)
        for index in range(samples):
            buffer.set_transform("map", "camera", index * 1000, np.eye(4))
        times = []
        for _ in range(5):
            start = time.perf_counter()
            for query in range(100):
                buffer.lookup("map", "camera", (samples * 500 + query * 7) | 1)
            times.append(time.perf_counter() - start)
        return min(times) / 100

    assert seconds_per_lookup(20_000) < 5 * seconds_per_lookup(200)
