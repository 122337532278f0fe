"""Calibrations, poses, clouds and objects to messages and back."""

import numpy as np
import pytest
from geometry_msgs.msg import Point, Pose, Quaternion
from hypothesis import given
from hypothesis import strategies as st
from ros_fakes import make_object
from scipy.spatial.transform import Rotation
from std_msgs.msg import Header

from cgc_ros.frame import FrameError, Intrinsics
from cgc_ros.messages.camera_info import intrinsics_from_camera_info
from cgc_ros.messages.geometry import matrix_from_pose, matrix_from_transform
from cgc_ros.messages.stamps import stamp_of
from cgc_ros.palette import id_color, label_picture, overlay_picture
from cgc_ros.ros.conversions.camera_info import camera_info_from_intrinsics
from cgc_ros.ros.conversions.clouds import cloud_message, labelled_points, points_from_message, thin
from cgc_ros.ros.conversions.geometry import pose_from_matrix, transform_from_matrix
from cgc_ros.ros.conversions.objects import (
    ObjectsIn,
    detections,
    label_info,
    markers,
    object_messages,
)
from cgc_ros.ros.conversions.stamps import time_message

CAMERA = Intrinsics(640, 480, 525.0, 520.0, 319.5, 240.25)


def test_camera_info_round_trip():
    assert intrinsics_from_camera_info(camera_info_from_intrinsics(CAMERA, Header())) == CAMERA
    bent = Intrinsics(640, 480, 525.0, 520.0, 319.5, 240.25, "plumb_bob", (0.1, -0.2, 0.001, 0.0, 0.05))
    assert intrinsics_from_camera_info(camera_info_from_intrinsics(bent, Header())) == bent


def test_a_rectified_image_is_described_by_p_without_distortion():
    info = camera_info_from_intrinsics(CAMERA, Header())
    info.d = [0.1, 0.0, 0.0, 0.0, 0.0]
    info.p[0], info.p[2], info.p[3] = 400.0, 300.0, -40.0
    rectified = intrinsics_from_camera_info(info, rectified=True)
    assert (rectified.fx, rectified.cx, rectified.distortion) == (400.0, 300.0, ())
    assert intrinsics_from_camera_info(info).distortion_model == "plumb_bob"


def test_binning_and_region_of_interest_move_the_principal_point():
    """A ray through the middle of the principal point's pixel block lands on the same place of the delivered image."""
    info = camera_info_from_intrinsics(CAMERA, Header())
    info.binning_x = info.binning_y = 2
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = 100, 40, 400, 300
    delivered = intrinsics_from_camera_info(info)
    assert (delivered.width, delivered.height) == (200, 150)
    # full-resolution pixel edge e maps to (e - offset) / 2; the centre c has its left edge at c - 0.5
    for u, left in ((150.0, 25.0), (319.5, 109.75)):
        assert (u - 100) / 2 == left
        ray = (u - 0.5 - CAMERA.cx) / CAMERA.fx
        assert delivered.fx * ray + delivered.cx == pytest.approx(left - 0.5)


def info_reason(**changes):
    info = camera_info_from_intrinsics(CAMERA, Header())
    for name, value in changes.items():
        setattr(info, name, value)
    with pytest.raises(FrameError) as caught:
        intrinsics_from_camera_info(info)
    return caught.value.reason


def test_calibrations_that_cannot_be_used_are_named():
    assert info_reason(k=[0.0] * 9, p=[0.0] * 12) == "bad_intrinsics"
    assert info_reason(k=[float("nan")] * 9, p=[0.0] * 12) == "bad_intrinsics"
    assert info_reason(width=0) == "bad_intrinsics"
    assert info_reason(d=[0.1] * 3) == "bad_distortion"
    assert info_reason(d=[0.1] * 5, distortion_model="thin_prism_fisheye") == "unknown_distortion"
    assert info_reason(d=[float("inf")] * 5) == "bad_distortion"


def test_pose_and_transform_round_trip():
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", [0.3, -1.2, 2.0]).as_matrix()
    matrix[:3, 3] = [1.0, -2.0, 3.5]
    np.testing.assert_allclose(matrix_from_pose(pose_from_matrix(matrix)), matrix, atol=1e-12)
    np.testing.assert_allclose(matrix_from_transform(transform_from_matrix(matrix)), matrix, atol=1e-12)


@pytest.mark.parametrize(
    "pose",
    [
        Pose(orientation=Quaternion(w=0.0)),
        Pose(orientation=Quaternion(w=2.0)),
        Pose(orientation=Quaternion(w=float("nan"))),
        Pose(position=Point(x=float("inf")), orientation=Quaternion(w=1.0)),
        Pose(position=Point(y=6.4e9), orientation=Quaternion(w=1.0)),
    ],
)
def test_poses_that_are_no_poses_are_named(pose):
    with pytest.raises(FrameError) as caught:
        matrix_from_pose(pose)
    assert caught.value.reason == "bad_pose"


@given(stamp=st.integers(0, 2**31 * 10**9 - 1))
def test_stamps_are_exact_to_the_nanosecond(stamp):
    assert stamp_of(time_message(stamp)) == stamp


def test_cloud_layout_is_what_pcl_reads():
    points = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    message = cloud_message(
        labelled_points(points, np.array([[255, 128, 1], [0, 0, 0]], np.uint8), 70000, 0.5), Header()
    )
    assert [(field.name, field.offset, field.datatype) for field in message.fields] == [
        ("x", 0, 7),
        ("y", 4, 7),
        ("z", 8, 7),
        ("rgb", 12, 7),
        ("label", 16, 6),
        ("confidence", 20, 7),
    ]
    assert (message.width, message.height, message.point_step, message.row_step) == (2, 1, 24, 48)
    packed = points_from_message(message)
    assert packed["rgb"][0] == 0xFF8001 and (packed["label"] == 70000).all() and packed["z"][1] == 6


def test_thinning_keeps_first_and_last_and_never_more_than_asked():
    rows = np.arange(1000)
    assert thin(rows, 10).tolist()[::9] == [0, 999] and len(thin(rows, 10)) == 10
    assert len(thin(rows, 0)) == 0 and len(thin(rows, 5000)) == 1000


def test_objects_are_placed_in_the_frame_asked_for():
    frame_from_map = np.eye(4)
    frame_from_map[:3, :3] = Rotation.from_euler("z", 90, degrees=True).as_matrix()
    frame_from_map[:3, 3] = [0, 0, 1]
    thing = make_object(7, center=(1.0, 0.0, 0.0), size=(0.1, 0.2, 0.3))
    (message,) = object_messages([thing], ObjectsIn(Header(frame_id="base"), frame_from_map), max_points=1000)
    center = message.box.center.position
    np.testing.assert_allclose([center.x, center.y, center.z], [0, 1, 1], atol=1e-9)
    assert message.box.center.orientation.z == pytest.approx(np.sqrt(0.5))
    assert (message.box.size.x, message.box.size.y, message.box.size.z) == (0.1, 0.2, 0.3)
    points = points_from_message(message.cloud)
    np.testing.assert_allclose(points["y"], thing.points[:, 0], atol=1e-6)
    assert message.cloud.header.frame_id == "base" and (points["label"] == 7).all()


def test_detections_and_names_follow_vision_msgs():
    things = [make_object(3, label="mug"), make_object(9)]
    header = Header(frame_id="map")
    message = detections(things, ObjectsIn(header))
    assert [each.id for each in message.detections] == ["3", "9"]
    assert message.detections[0].results[0].hypothesis.class_id == "mug"
    info = label_info(things, header)
    assert [(each.class_id, each.class_name) for each in info.class_map] == [(3, "mug"), (9, "object 9")]


def test_markers_begin_by_deleting_those_of_objects_that_are_gone():
    message = markers([make_object(3), make_object(4, background=True)], ObjectsIn(Header(frame_id="map")))
    assert message.markers[0].action == 3
    assert [(each.ns, each.id) for each in message.markers[1:]] == [("boxes", 3), ("names", 3), ("boxes", 4)]
    assert len(message.markers[1].points) == 24


def test_overlay_tints_objects_and_leaves_the_rest():
    image = np.full((4, 6, 3), 100, np.uint8)
    labels = np.full((4, 6), 65535, np.uint16)
    labels[:, 3:] = 12
    painted = overlay_picture(image, labels, opacity=0.5)
    np.testing.assert_array_equal(painted[:, :2], image[:, :2])
    np.testing.assert_allclose(painted[0, 5], (100 + np.array(id_color(12))) / 2, atol=1)
    assert label_picture(labels)[0, 0].tolist() == [38, 38, 42]
    assert len({id_color(each) for each in range(1, 40)}) == 39
