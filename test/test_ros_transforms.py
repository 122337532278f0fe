"""Transforms and poses as the node takes them in; the same tests for our own buffer and, where it is installed, for
tf2_ros.
"""

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped, TransformStamped
from nav_msgs.msg import Odometry
from scipy.spatial.transform import Rotation
from tf2_msgs.msg import TFMessage

from cgc_ros.ros.conversions.geometry import pose_from_matrix, transform_from_matrix
from cgc_ros.ros.conversions.stamps import time_message
from cgc_ros.ros.pose_queue import PoseQueue
from cgc_ros.ros.transform_source import TransformSource, camera_pose, create_buffer, has_tf2_ros
from cgc_ros.transform_buffer import TransformError

SECOND = 1_000_000_000
KINDS = [
    "buffer",
    pytest.param(
        "tf2",
        marks=pytest.mark.skipif(not has_tf2_ros(), reason="tf2_ros is not installed (ROS distributions have it)"),
    ),
]


@pytest.fixture(params=KINDS)
def source(request):
    return TransformSource(create_buffer(request.param, history_s=10.0))


def pose(x=0.0, yaw_degrees=0.0):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("z", yaw_degrees, degrees=True).as_matrix()
    matrix[0, 3] = x
    return matrix


def transform(parent, child, stamp_ns, matrix):
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id, message.header.stamp = parent, time_message(stamp_ns)
    message.transform = transform_from_matrix(matrix)
    return message


def send(source, parent, child, stamp_s, matrix, static=False):
    message = TFMessage(transforms=[transform(parent, child, round(stamp_s * SECOND), matrix)])
    (source.on_tf_static if static else source.on_tf)(message)


def reason(source, *arguments):
    with pytest.raises(TransformError) as caught:
        source.lookup(*arguments)
    return caught.value.reason


def test_a_chain_of_static_and_interpolated_links(source):
    send(source, "base", "camera", 0.0, pose(0.5), static=True)
    send(source, "map", "base", 1.0, pose(1.0, 0.0))
    send(source, "map", "base", 2.0, pose(2.0, 90.0))
    found = source.lookup("map", "camera", round(1.5 * SECOND))
    np.testing.assert_allclose(found[:3, 3], [1.5 + 0.5 * np.cos(np.pi / 4), 0.5 * np.sin(np.pi / 4), 0.0], atol=1e-9)
    np.testing.assert_allclose(found[:3, :3], pose(yaw_degrees=45.0)[:3, :3], atol=1e-9)
    np.testing.assert_allclose(source.lookup("camera", "map", round(1.5 * SECOND)) @ found, np.eye(4), atol=1e-9)


def test_what_is_missing_has_a_reason(source):
    send(source, "map", "base", 5.0, pose())
    send(source, "map", "base", 6.0, pose())
    send(source, "island", "camera", 5.0, pose(), static=True)
    assert reason(source, "map", "nowhere", 5 * SECOND) == "unknown_frame"
    assert reason(source, "map", "camera", 5 * SECOND) == "disconnected"
    assert reason(source, "map", "base", 7 * SECOND) == "extrapolation_future"
    assert reason(source, "map", "base", 4 * SECOND) == "extrapolation_past"
    assert reason(source, "map", "", 5 * SECOND) == "bad_frame"


def test_a_zero_stamp_does_not_mean_the_newest(source):
    send(source, "map", "base", 5.0, pose())
    assert reason(source, "map", "base", 0) == "extrapolation_past"
    np.testing.assert_allclose(source.lookup("map", "base", None), np.eye(4))


def test_leading_slashes_mean_the_same_frame(source):
    send(source, "/map", "/base", 5.0, pose(2.0))
    assert source.lookup("map", "base", 5 * SECOND)[0, 3] == 2.0


@pytest.mark.parametrize(("field", "value"), [("w", float("nan")), ("w", 2.0), ("x", float("inf"))])
def test_bad_transforms_are_refused_and_counted_and_lose_nothing(source, field, value):
    send(source, "map", "base", 5.0, pose(2.0))
    bad = transform("map", "base", 6 * SECOND, pose(3.0))
    setattr(bad.transform.rotation, field, value)
    source.on_tf(TFMessage(transforms=[bad]))
    assert source.counts == {"bad_pose": 1}
    assert source.lookup("map", "base", 5 * SECOND)[0, 3] == 2.0
    assert reason(source, "map", "base", 6 * SECOND) == "extrapolation_future"


def test_a_recording_that_starts_again_clears_the_past_and_keeps_static_links(source):
    send(source, "base", "camera", 0.0, pose(0.5), static=True)
    for stamp in (100.0, 101.0):
        send(source, "map", "base", stamp, pose(7.0))
    for stamp in (50.0, 51.0):
        send(source, "map", "base", stamp, pose(1.0))
    assert source.counts["clock_jump"] == 1
    assert source.lookup("map", "camera", round(50.5 * SECOND))[0, 3] == pytest.approx(1.5)
    assert reason(source, "map", "camera", 101 * SECOND) == "extrapolation_future"


@pytest.mark.parametrize("kind", [PoseStamped, PoseWithCovarianceStamped, Odometry])
def test_pose_topics_are_matched_by_stamp_and_interpolated(source, kind):
    for stamp, x in ((1.0, 1.0), (2.0, 3.0)):
        message = kind()
        message.header.frame_id, message.header.stamp = "map", time_message(round(stamp * SECOND))
        if kind is PoseStamped:
            message.pose = pose_from_matrix(pose(x))
        else:
            message.pose.pose = pose_from_matrix(pose(x))
        if kind is Odometry:
            message.child_frame_id = "base"
        source.on_pose(message, "camera", "map")
    child = "camera"
    if kind is Odometry:
        send(source, "base", "camera", 0.0, pose(0.25), static=True)
    expected = 2.0 + (0.25 if kind is Odometry else 0.0)
    assert source.lookup("map", child, round(1.5 * SECOND))[0, 3] == pytest.approx(expected)


def test_a_pose_topic_is_not_mixed_with_tf_of_the_same_frame(source):
    message = PoseStamped(pose=pose_from_matrix(pose(1.0)))
    message.header.stamp = time_message(SECOND)
    source.on_pose(message, "camera", "map")
    send(source, "odom", "camera", 1.0, pose(9.0))
    assert source.lookup("map", "camera", SECOND)[0, 3] == 1.0


class Waiting:
    """A PoseQueue with a source of its own, and what came out of it."""

    def __init__(self, source, **options):
        self.posed, self.lost = [], []
        self.queue = PoseQueue(
            lambda frame, stamp: source.lookup("map", frame, stamp),
            lambda item, matrix: self.posed.append((item, matrix[0, 3])),
            lambda item, error: self.lost.append((item, error.reason)),
            **({"max_wait_ns": SECOND // 2} | options),
        )


def test_an_image_waits_for_its_transform_and_is_never_given_another_stamps(source):
    waiting = Waiting(source)
    send(source, "map", "camera", 1.0, pose(1.0))
    waiting.queue.add("image", "camera", round(1.2 * SECOND), now_ns=0)
    assert not waiting.posed and len(waiting.queue) == 1
    send(source, "map", "camera", 1.4, pose(2.0))
    waiting.queue.poll(now_ns=1)
    assert waiting.posed == [("image", pytest.approx(1.5))] and not len(waiting.queue)


def test_the_wait_ends_with_the_reason(source):
    waiting = Waiting(source)
    send(source, "map", "camera", 1.0, pose())
    waiting.queue.add("late", "camera", 2 * SECOND, now_ns=0)
    waiting.queue.add("old", "camera", SECOND // 2, now_ns=0)
    assert waiting.lost == [("old", "extrapolation_past")]
    waiting.queue.poll(now_ns=SECOND // 2)
    assert waiting.lost[1:] == [("late", "extrapolation_future")]


def test_the_queue_is_bounded_and_drops_the_oldest(source):
    waiting = Waiting(source, size=3)
    for index in range(5):
        waiting.queue.add(index, "camera", SECOND, now_ns=0)
    assert waiting.lost == [(0, "queue_full"), (1, "queue_full")] and len(waiting.queue) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_negative_stamps_are_named_alike_by_both_buffers(kind):
    refused = []
    source = TransformSource(create_buffer(kind), on_refused=lambda reason, message: refused.append((reason, message)))
    message = transform("map", "base", 0, pose())
    message.header.stamp.sec = -3
    source.on_tf(TFMessage(transforms=[message]))
    assert refused == [("negative_stamp", "transform 'map' -> 'base' has the negative stamp -3.000 s")]
    assert source.counts == {"negative_stamp": 1}
    assert reason(source, "map", "base", -SECOND) == "negative_stamp"


def test_a_camera_too_far_out_for_float32_is_named_with_the_remedy(source):
    """A tree rooted in utm is no fault where the map's frame is nearer."""
    send(source, "utm", "map", 5.0, pose(5.3e6), static=True)
    send(source, "map", "camera", 5.0, pose(2.0))
    assert camera_pose(source, "map", "camera", 5 * SECOND)[0, 3] == 2.0
    with pytest.raises(
        TransformError, match=r"5.3e\+06 m from the origin of 'utm'.*steps of 5e\+02 mm.*map_frame"
    ) as caught:
        camera_pose(source, "utm", "camera", 5 * SECOND)
    assert caught.value.reason == "far_from_origin"
