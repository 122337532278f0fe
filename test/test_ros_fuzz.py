"""Anything at all as a message, a request or a parameter: answered, or refused by name; nothing raises or piles up.

CGC_FUZZ=20 runs 20 times as many inputs as the suite does.
"""

import os
import time
from array import array
from collections import Counter
from threading import get_ident

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from cgc_ros.srv import LoadMap, QueryObjects, RenderView, SaveMap
from geometry_msgs.msg import (
    Point,
    Pose,
    PoseStamped,
    PoseWithCovarianceStamped,
    Quaternion,
    Transform,
    TransformStamped,
    Vector3,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nav_msgs.msg import Odometry
from rclpy.parameter import Parameter
from ros_fakes import Taken
from ros_rig import Rig
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, RegionOfInterest
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from cgc_ros.frame import FrameError, Intrinsics
from cgc_ros.memory_use import resident_mb
from cgc_ros.messages.camera_info import intrinsics_from_camera_info
from cgc_ros.ros.conversions.images import encode_image
from cgc_ros.ros.conversions.stamps import time_message
from cgc_ros.ros.faults import FAULTS, FaultBoard
from cgc_ros.ros.intake import Intake
from cgc_ros.ros.intake_settings import IntakeSettings
from cgc_ros.ros.parameters import START, declarations
from cgc_ros.ros.transform_source import TransformSource, create_buffer, has_tf2_ros
from cgc_ros.transform_buffer import TransformError
from cgc_ros.undistortion import undistorter_for
from cgc_ros.view_grid import ViewGrid


def inputs(count):
    """Settings of a test with so many inputs, times CGC_FUZZ."""
    return settings(
        max_examples=int(count * float(os.environ.get("CGC_FUZZ", "1"))),
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


NUMBERS = st.floats() | st.sampled_from([0.0, 1.0, -1.0, 1e-300, 1e300])
COUNTS = st.integers(0, 2**32 - 1) | st.integers(0, 70)
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=12)
FRAMES = st.sampled_from(["map", "camera", "base", "/map", "", "odom"]) | TEXTS
#: Stamps near each other, so that messages meet; zero, and the ends of what the message can hold.
TIMES = st.builds(
    Time, sec=st.integers(0, 3) | st.sampled_from([0, 2**31 - 1, -(2**31)]), nanosec=st.sampled_from([0, 1, 10**9 - 1])
)
HEADERS = st.builds(Header, stamp=TIMES, frame_id=FRAMES)
QUATERNIONS = st.builds(Quaternion, x=NUMBERS, y=NUMBERS, z=NUMBERS, w=NUMBERS) | st.just(Quaternion(w=1.0))
POINTS = st.builds(Point, x=NUMBERS, y=NUMBERS, z=NUMBERS)
VECTORS = st.builds(Vector3, x=NUMBERS, y=NUMBERS, z=NUMBERS)
POSES = st.builds(Pose, position=POINTS, orientation=QUATERNIONS)

CAMERA = Intrinsics(16, 12, 14.0, 14.0, 7.5, 5.5)
PICTURES = {
    "rgb8": np.random.default_rng(0).integers(0, 255, (12, 16, 3)).astype(np.uint8),
    "mono8": np.full((12, 16), 77, np.uint8),
    "32FC1": np.full((12, 16), 1.5, np.float32),
    "16UC1": np.full((12, 16), 900, np.uint16),
    "32SC1": np.ones((12, 16), np.int32),
}
WHOLE_IMAGES = st.builds(
    lambda name, header: encode_image(PICTURES[name], name, header), st.sampled_from(list(PICTURES)), HEADERS
)
ANY_IMAGES = st.builds(
    lambda data, **fields: Image(data=array("B", data), **fields),
    st.binary(max_size=600),
    header=HEADERS,
    height=COUNTS,
    width=COUNTS,
    step=COUNTS,
    is_bigendian=st.integers(0, 255),
    encoding=st.sampled_from([*PICTURES, "bgra16", "bayer_gbrg8", "yuyv"]) | TEXTS,
)
COMPRESSED = st.builds(
    lambda data, **fields: CompressedImage(data=array("B", data), **fields),
    st.binary(max_size=200),
    header=HEADERS,
    format=st.sampled_from(["jpeg", "16UC1; compressedDepth png"]) | TEXTS,
)
IMAGES = WHOLE_IMAGES | ANY_IMAGES | COMPRESSED
CALIBRATIONS = st.builds(
    CameraInfo,
    header=HEADERS,
    width=st.just(16) | COUNTS,
    height=st.just(12) | COUNTS,
    distortion_model=st.sampled_from(["plumb_bob", "equidistant", "rational_polynomial", ""]) | TEXTS,
    d=st.lists(NUMBERS | st.floats(-1, 1), max_size=15),
    k=st.just(CAMERA.matrix().ravel().tolist()) | st.lists(NUMBERS, min_size=9, max_size=9),
    p=st.lists(NUMBERS, min_size=12, max_size=12),
    binning_x=st.integers(0, 2**32 - 1) | st.integers(0, 3),
    binning_y=st.integers(0, 3),
    roi=st.builds(RegionOfInterest, x_offset=COUNTS, y_offset=COUNTS, width=st.just(0) | COUNTS, height=COUNTS),
)


@inputs(500)
@given(info=CALIBRATIONS, rectified=st.booleans())
def test_any_calibration_is_taken_or_refused_by_name(info, rectified):
    try:
        camera = intrinsics_from_camera_info(info, rectified)
        assert camera.width > 0 and camera.fx > 0 and np.isfinite(camera.matrix()).all()
        if camera.width * camera.height <= 100_000:
            undistorter_for.__wrapped__(camera)
            ViewGrid(camera)
    except FrameError as error:
        assert error.reason in FAULTS


MESSAGES = st.lists(
    st.tuples(st.just("image"), IMAGES)
    | st.tuples(st.just("camera_info"), CALIBRATIONS)
    | st.tuples(st.just("depth"), IMAGES)
    | st.tuples(st.just("masks"), IMAGES),
    max_size=12,
)


@inputs(300)
@given(messages=MESSAGES, pose=st.sampled_from(["unknown_frame", "extrapolation_future", np.eye(4)]))
def test_any_stream_of_messages_is_mapped_or_counted_by_reason(messages, pose):
    class Poses:
        def map_from(self, frame_id, stamp_ns):
            if isinstance(pose, str):
                raise TransformError(pose, "as the test says")
            return pose

    views, frames, faults = Taken(), Taken(), FaultBoard(time.monotonic_ns)
    patience = IntakeSettings(sync_wait=0.0, masks_wait=0.0, transform_timeout=0.0, use_masks=True)
    intake = Intake(patience, Poses(), faults, [views], frames, lambda: 2 * 10**9)
    info = CameraInfo(width=16, height=12, k=CAMERA.matrix().ravel().tolist())
    for name, message in [("camera_info", info), *messages]:
        getattr(intake, f"on_{name}")(message)
        intake.poll()
    time.sleep(0.001)
    intake.poll()
    kinds = Counter(name for name, _ in messages)
    counts = intake.counts()
    assert counts.received == kinds["image"] == len(frames) + sum(counts.dropped.values()) and not intake.is_waiting
    assert len(views) >= len(frames)
    for frame in frames:
        frame.check()
    assert {fault.name for fault in faults.active()} <= FAULTS.keys()


TRANSFORMS = st.builds(
    TransformStamped,
    header=HEADERS,
    child_frame_id=FRAMES,
    transform=st.builds(Transform, translation=VECTORS, rotation=QUATERNIONS),
)
POSE_MESSAGES = st.builds(PoseStamped, header=HEADERS, pose=POSES) | st.builds(
    lambda kind, pose, **fields: (message := kind(**fields), setattr(message.pose, "pose", pose))[0],
    st.sampled_from([Odometry, PoseWithCovarianceStamped]),
    POSES,
    header=HEADERS,
)
BUFFERS = [
    "buffer",
    pytest.param("tf2", marks=pytest.mark.skipif(not has_tf2_ros(), reason="tf2_ros is not installed")),
]


@pytest.mark.parametrize("kind", BUFFERS)
@inputs(300)
@given(
    messages=st.lists(st.tuples(st.booleans(), st.lists(TRANSFORMS, max_size=4)) | POSE_MESSAGES, max_size=6),
    target=FRAMES,
    source=FRAMES,
    stamp=st.integers(-(2**63), 2**63 - 1) | st.none() | st.integers(0, 4 * 10**9),
)
def test_any_transforms_and_poses_are_taken_or_refused_by_name(kind, messages, target, source, stamp):
    refused = []
    transforms = TransformSource(create_buffer(kind), 10**9, lambda reason, message: refused.append(reason))
    for message in messages:
        if isinstance(message, tuple):
            is_static, entries = message
            (transforms.on_tf_static if is_static else transforms.on_tf)(TFMessage(transforms=entries))
        else:
            transforms.on_pose(message, "camera", "map")
    try:
        found = transforms.lookup(target, source, stamp)
    except TransformError:
        return
    assert found.shape == (4, 4) and np.isfinite(found).all()
    np.testing.assert_allclose(found[:3, :3] @ found[:3, :3].T, np.eye(3), atol=1e-6)
    assert set(refused) <= REFUSALS


#: Why a pose or a transform may be refused.
REFUSALS = {"bad_pose", "bad_transform", "bad_frame", "loop", "old_data", "clock_jump_back", "negative_stamp"}


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    with Rig(map_directory=str(tmp_path_factory.mktemp("maps")), max_render_pixels=4000) as rig:
        rig.connect()
        rig.wait(lambda: rig.session.snapshot is not None and rig.node.labels.newest_view, do=rig.send, every=0.05)
        yield rig


QUERIES = st.builds(
    QueryObjects.Request,
    frame_id=FRAMES,
    ids=st.lists(COUNTS, max_size=4),
    label=TEXTS,
    region_type=st.integers(0, 255) | st.integers(0, 2),
    region_pose=POSES,
    region_size=VECTORS,
    use_pixel=st.booleans(),
    pixel_u=COUNTS,
    pixel_v=COUNTS,
    include_background=st.booleans(),
    include_clouds=st.booleans(),
    max_points=COUNTS | st.just(10**9),
)
VIEWS = st.builds(RenderView.Request, frame_id=FRAMES, pose=POSES, camera_info=CALIBRATIONS | st.just(CameraInfo()))
NAMES = TEXTS | st.sampled_from(["../m", "/etc/passwd", "m", "m.cgc", "a/../m", "~", ".hidden", "x" * 300])


def answered(rig, service, kind, request):
    """The reply of a service's callback: a success, or a failure with its reason; never an internal error."""
    response = getattr(rig.node.service_set, service)(request, kind.Response())
    assert response.success or (response.message and "internal error" not in response.message), response.message
    return response


@inputs(800)
@given(request=QUERIES)
def test_any_query_is_answered(rig, request):
    response = answered(rig, "query_objects", QueryObjects, request)
    points = sum(each.cloud.width for each in response.objects)
    assert points <= rig.node.parameters.max_query_points and (points == 0 or request.include_clouds)


@inputs(300)
@given(request=VIEWS)
def test_any_view_is_answered(rig, request):
    response = answered(rig, "render_view", RenderView, request)
    assert response.labels.width * response.labels.height <= 4000


@inputs(200)
@given(name=NAMES, is_load=st.booleans())
def test_any_map_name_is_answered_and_stays_in_the_folder(rig, name, is_load):
    kind, service = (LoadMap, "load_map") if is_load else (SaveMap, "save_map")
    response = answered(rig, service, kind, kind.Request(name=name))
    if response.success and not is_load:
        assert os.path.dirname(response.path) == os.path.realpath(rig.node.parameters.map_directory)


VALUES = st.booleans() | st.integers(-(2**63), 2**63 - 1) | NUMBERS | TEXTS | st.lists(NUMBERS, min_size=1, max_size=3)


@inputs(500)
@given(each=st.sampled_from(declarations()), value=VALUES)
def test_any_parameter_value_is_taken_within_its_range_or_refused_with_the_reason(rig, each, value):
    before = rig.node.get_parameter(each.name).value
    (result,) = rig.node.set_parameters([Parameter(each.name, value=value)])
    if result.successful:
        assert rig.node.get_parameter(each.name).value == each.ros_value(value) and each.when != START
        rig.node.set_parameters([Parameter(each.name, value=before)])
    else:
        assert result.reason and rig.node.get_parameter(each.name).value == before


def test_after_all_that_the_node_still_maps(rig):
    frames = len(rig.session.frames)
    rig.wait(lambda: len(rig.session.frames) > frames, do=rig.send, every=0.05)
    assert "request_failed" not in rig.faults() and "input_failed" not in rig.faults()


def test_memory_stays_as_it_is_while_only_nonsense_comes(rig):
    broken = encode_image(np.zeros((480, 640, 3), np.uint8), "rgb8", Header(frame_id="camera"))
    broken.data = broken.data[:-1]
    whole = encode_image(np.zeros((480, 640, 3), np.uint8), "rgb8", Header(frame_id="nowhere"))

    def nonsense(count):
        for index in range(count):
            stamp = time_message(time.time_ns())
            broken.header.stamp = whole.header.stamp = stamp
            whole.header.frame_id = f"nowhere_{index}_{get_ident()}"
            with rig.node.inputs.lock:
                for message in (broken, whole):
                    rig.node.intake.on_image(message)
                rig.node.intake.on_depth(broken)
                rig.node.intake.on_camera_info(CameraInfo(width=640, height=480))
                rig.node.intake.poll()

    nonsense(100)
    before = resident_mb()
    nonsense(300)
    assert resident_mb() - before < 60, "300 images of 0.9 MB leave something behind"
