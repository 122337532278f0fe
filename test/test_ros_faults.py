"""Faults as a user sees them: named in ~/status and /diagnostics within 2 s with what to do, survived, and gone
afterwards.
"""

import itertools
import threading
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from cgc_ros.srv import LoadMap, QueryObjects, SaveMap
from geometry_msgs.msg import PoseStamped
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ros_rig import CAMERA, Rig, shifted_transform
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from cgc_ros.ros import view_rendering
from cgc_ros.ros.conversions.camera_info import camera_info_from_intrinsics
from cgc_ros.ros.conversions.geometry import pose_from_matrix
from cgc_ros.ros.conversions.images import encode_image
from cgc_ros.ros.conversions.stamps import time_message
from cgc_ros.ros.faults import FAULTS

ROOT = Path(__file__).parents[1]
PICTURE = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    with Rig(map_directory=str(tmp_path_factory.mktemp("maps")), sync_wait=0.05, transform_timeout=0.1) as rig:
        rig.connect()
        yield rig


def broken(rig, **changes):
    message = encode_image(PICTURE, "rgb8", Header(stamp=rig.now(), frame_id="camera"))
    for name, value in changes.items():
        setattr(message, name, value)
    rig.publisher(Image, "image").publish(message)


def with_info(rig, **changes):
    info = camera_info_from_intrinsics(CAMERA, Header(stamp=rig.now(), frame_id="camera"))
    for name, value in changes.items():
        setattr(info, name, value)
    rig.publisher(CameraInfo, "camera_info").publish(info)


def with_pose(rig, x=0.0, w=1.0):
    stamp = rig.now()
    message = shifted_transform(stamp, x)
    message.transform.rotation.w = w
    rig.publisher(TFMessage, "/tf", 100).publish(TFMessage(transforms=[message]))
    rig.send(stamp=stamp, transform=False)


def before_its_transform(rig):
    """Of a frame whose first transform is younger than the image."""
    stamp, frame = rig.now(), f"camera_{time.monotonic_ns()}"
    time.sleep(0.01)
    rig.transform(rig.now(), child=frame)
    rig.send(stamp=stamp, frame_id=frame, transform=False)


def off_the_map(rig):
    """Of a frame in a tree of its own."""
    stamp = rig.now()
    rig.transform(stamp, parent="island", child="castaway")
    rig.send(stamp=stamp, frame_id="castaway", transform=False)


def sharp_for_a_while(rig):
    """Blur is told by what was usual before it."""
    for _ in range(20):
        rig.send()
        time.sleep(0.02)


def blurred(rig):
    rig.send(
        pixels=cv2.GaussianBlur(PICTURE + np.random.default_rng().integers(0, 9, PICTURE.shape, np.uint8), (0, 0), 4)
    )


def recolored(rig):
    rig.send(pixels=PICTURE[..., 0], encoding="mono8")
    rig.send(pixels=PICTURE[..., 1], encoding="bayer_rggb8")


def far_out(rig):
    here, rig.x = rig.x, 5e5
    rig.send()
    rig.x = here


def overwritten(rig, content):
    rig.call(SaveMap, "cgc/save_map", name="m")
    Path(rig.node.parameters.map_directory, "m.cgc").write_text(content)
    rig.call(LoadMap, "cgc/load_map", name="m")


DEPTH = np.full((48, 64), 1.5, np.float32)
#: What happens -> the fault it must be, and how a test makes it happen.
WAYS = {
    "no transform": ("no_transform", lambda rig: rig.send(frame_id="unheard", transform=False)),
    "late transform": ("late_transform", lambda rig: rig.send(transform=False)),
    "extrapolation into the past": ("old_transform", before_its_transform),
    "broken chain": ("broken_chain", off_the_map),
    "calibration of another size": (
        "camera_info_mismatch",
        lambda rig: rig.send(camera=replace(CAMERA, width=128), pixels=PICTURE),
    ),
    "uncalibrated camera": ("bad_intrinsics", lambda rig: with_info(rig, k=[0.0] * 9, p=[0.0] * 12)),
    "plumb_bob of eight": (
        "camera_info_adapted",
        lambda rig: with_info(rig, d=[0.1, -0.05, *[0.0] * 3, 0.1, -0.05, 0.01]),
    ),
    "12 bits in 16": (
        "few_bits",
        lambda rig: rig.send(np.full((48, 64), 4000 + int(rig.x * 100) % 90, np.uint16), "mono16"),
    ),
    "depth as a picture": ("unknown_encoding", lambda rig: rig.send_depth(PICTURE, "rgb8")),
    "a map in utm": ("far_from_origin", far_out),
    "unknown lens": ("unknown_distortion", lambda rig: with_info(rig, distortion_model="origami", d=[0.1] * 5)),
    "coefficients that are none": ("bad_distortion", lambda rig: with_info(rig, d=[float("nan")] * 5)),
    "truncated data": ("truncated_image", lambda rig: broken(rig, data=PICTURE.tobytes()[:99])),
    "unknown encoding": ("unknown_encoding", lambda rig: broken(rig, encoding="rgb5")),
    "changing encoding": ("encoding_changed", recolored),
    "changing resolution": ("resolution_changed", lambda rig: rig.send(camera=CAMERA.scaled_to(32, 24))),
    "stamp of zero": ("zero_stamp", lambda rig: rig.send(stamp=Time())),
    "image without pixels": ("bad_image", lambda rig: broken(rig, width=0)),
    "stamps of another clock": ("foreign_clock", lambda rig: rig.send(stamp=time_message(time.time_ns() + 10**12))),
    "clock jumps back": (
        "clock_jump_back",
        lambda rig: (rig.send(), rig.send(stamp=time_message(time.time_ns() - 5 * 10**9))),
    ),
    "pose not a number": ("bad_pose", lambda rig: with_pose(rig, x=float("nan"))),
    "infinite pose": ("bad_pose", lambda rig: with_pose(rig, x=float("-inf"))),
    "quaternion of another length": ("bad_pose", lambda rig: with_pose(rig, w=0.9)),
    "relocalisation": ("pose_jump", lambda rig: (rig.send(), rig.send(move=50.0))),
    "black frames": ("black_frames", lambda rig: rig.send(pixels=np.zeros((48, 64, 3), np.uint8))),
    "white frames": ("white_frames", lambda rig: rig.send(pixels=np.full((48, 64, 3), 255, np.uint8))),
    "blurred frames": ("blurred_frames", blurred),
    "frozen frames": ("frozen_frames", lambda rig: (rig.send(pixels=PICTURE), rig.send(pixels=PICTURE, move=0.5))),
    "depth of another size": ("depth_mismatch", lambda rig: rig.send_depth(DEPTH[:, ::2])),
    "depth in millimetres as float": ("depth_unit", lambda rig: rig.send_depth(1000 * DEPTH)),
    "depth without a valid pixel": ("depth_invalid", lambda rig: rig.send_depth(np.nan * DEPTH)),
    "depth stops": ("depth_lost", lambda rig: (rig.send_depth(DEPTH), time.sleep(0.05), rig.send())),
    "a frame nobody knows in a request": (
        "bad_request",
        lambda rig: rig.call(QueryObjects, "cgc/query_objects", frame_id="nowhere"),
    ),
    "a path in a request": ("bad_request", lambda rig: rig.call(SaveMap, "cgc/save_map", name="../../etc/cron.d/m")),
    "damaged map file": ("load_failed", lambda rig: overwritten(rig, "junk")),
    "empty map file": ("load_failed", lambda rig: overwritten(rig, "")),
}
#: What must have happened before, where that is more than a frame.
BEFORE = {"blurred frames": sharp_for_a_while}


@pytest.mark.parametrize("what", WAYS)
def test_a_fault_is_named_within_two_seconds_with_what_to_do_and_mapping_goes_on(rig, what):
    fault, happen = WAYS[what]
    # An earlier test may have had the same one.
    rig.wait(lambda: fault not in rig.faults(), 2.0, do=lambda: rig.node.faults.clear(fault), every=0.1)
    BEFORE.get(what, lambda rig: rig.send())(rig)
    # again: best effort may lose one
    assert FAULTS[fault].remedy in rig.wait(lambda: rig.diagnosis(fault), 2.0, do=lambda: happen(rig), every=0.3)
    frames = len(rig.session.frames)
    rig.wait(lambda: len(rig.session.frames) > frames, do=rig.send, every=0.05)


def test_silence_is_named_and_is_over_with_the_next_image(rig):
    rig.send()
    rig.wait(lambda: "no_images" in rig.faults(), 2.3)
    rig.wait(lambda: "no_images" not in rig.faults(), do=rig.send, every=0.05)


def test_missing_calibration_is_named():
    with Rig(sync_wait=0.05) as rig:
        rig.connect()
        rig.wait(lambda: "no_camera_info" in rig.faults(), 2.0, do=lambda: rig.send(info=False), every=0.05)
        rig.wait(lambda: rig.session.frames and "no_camera_info" not in rig.faults(), do=rig.send, every=0.05)


def test_an_unwritable_folder_is_named_and_the_map_stays(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with Rig(map_directory=str(tmp_path / "file" / "maps")) as rig:
        assert not rig.call(SaveMap, "cgc/save_map", name="kitchen").success
        rig.wait(lambda: "save_failed" in rig.faults(), 2.0)


def test_faults_of_the_session_reach_the_user():
    with Rig() as rig:
        rig.session.faults["mask_source_failed"] = "sam failed: out of luck"
        rig.wait(lambda: "mask_source_failed" in rig.faults(), 2.0)
        del rig.session.faults["mask_source_failed"]
        rig.session.faults["something_new"] = "nobody foresaw this"
        rig.wait(lambda: "mapping_failed" in rig.faults(), 2.0)


def test_a_viewer_that_cannot_start_is_named_and_mapping_goes_on():
    with Rig(viewer=True, viewer_host="203.0.113.7") as rig:  # an address this machine does not have
        rig.wait(lambda: "viewer_failed" in rig.faults(), 2.0)
        rig.connect()
        rig.wait(lambda: rig.session.frames, do=rig.send, every=0.05)


def test_poses_from_a_topic():
    with Rig(pose_source="pose") as rig:
        rig.connect()
        poses = rig.publisher(PoseStamped, "pose")
        rig.wait(lambda: poses.get_subscription_count())

        def send():
            header = rig.send(transform=False)
            matrix = np.eye(4)
            matrix[1, 3] = 2.5
            poses.publish(PoseStamped(header=Header(stamp=header.stamp, frame_id="map"), pose=pose_from_matrix(matrix)))

        rig.wait(lambda: rig.session.frames, do=send, every=0.05)
        assert rig.session.frames[0].world_from_camera[1, 3] == 2.5


def test_a_recording_in_a_loop_under_sim_time_is_mapped_again_and_again():
    with Rig(use_sim_time=True) as rig:
        rig.connect()
        for lap, index in itertools.product(range(3), range(10)):
            rig.send(stamp=time_message(10**9 * 100 + index * 10**8 + 1 + lap))
            time.sleep(0.03)
            if index == 0 and lap:
                rig.wait(lambda: "clock_jump_back" in rig.faults() or True)
        rig.wait(lambda: len(rig.session.frames) >= 27)


def test_a_label_worker_that_raises_is_named_and_goes_on():
    with Rig() as rig:
        rig.connect()
        labels = rig.listen(Image, "cgc/segmentation/image")
        rig.wait(lambda: labels, do=rig.send, every=0.05)
        whole = rig.session.objects
        rig.session.objects = (None,)
        rig.wait(lambda: "label_failed" in rig.faults(), 2.0, do=rig.send, every=0.05)
        rig.session.objects = whole
        count = len(labels)
        rig.wait(lambda: len(labels) > count, do=rig.send, every=0.05)


def test_a_label_image_that_takes_too_long_is_named_and_replaced_by_the_newest(monkeypatch):
    with Rig() as rig:
        rig.connect()
        labels = rig.listen(Image, "cgc/segmentation/image")
        rig.wait(lambda: labels, do=rig.send, every=0.05)
        released = threading.Event()
        slow = view_rendering.render_labels
        monkeypatch.setattr(view_rendering, "render_labels", lambda *seen: (released.wait(5.0), slow(*seen))[1])
        rig.wait(lambda: "late_labels" in rig.faults(), 2.5, do=rig.send, every=0.05)
        newest = rig.send()
        time.sleep(0.1)
        count = len(labels)
        released.set()
        rig.wait(lambda: labels[-1].header == newest, 2.0)
        assert len(labels) - count <= 2  # the one that was stuck, then the newest: none between


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.binary(max_size=64),
    width=st.integers(0, 2**32 - 1),
    step=st.integers(0, 2**32 - 1),
    encoding=st.sampled_from(["rgb8", "mono16", "bayer_rggb8", "junk"]),
    stamp=st.integers(0, 2**31 - 1),
    frame=st.text(max_size=5),
)
def test_no_image_message_stops_the_stream(rig, data, width, step, encoding, stamp, frame):
    rig.publisher(Image, "image").publish(
        Image(
            header=Header(stamp=Time(sec=stamp), frame_id=frame.replace("\0", "")),
            data=data,
            width=width,
            height=3,
            step=step,
            encoding=encoding,
        )
    )


def test_after_all_that_the_node_still_works(rig):
    frames = len(rig.session.frames)
    rig.wait(lambda: len(rig.session.frames) > frames, do=rig.send, every=0.05)
    status = rig.received["cgc/status"][-1]
    assert len(status.drop_reasons) == len(status.drop_counts) and "input_failed" not in rig.faults()


def test_every_fault_is_documented():
    document = (ROOT / "docs" / "ros_interface.md").read_text()
    for name, kind in FAULTS.items():
        assert f"| `{name}` | {kind.level} | {kind.remedy} |" in document, (
            "run: python -m cgc_ros.ros.faults, and put it into docs/ros_interface.md"
        )


def test_two_nodes_of_one_name_are_a_fault_in_both():
    with Rig() as first:
        first.wait(lambda: first.received["cgc/status"])
        assert "name_taken" not in first.faults()
        with Rig(domain=first.domain) as second:
            for rig in (first, second):
                rig.wait(lambda rig=rig: "name_taken" in rig.faults(), 5.0)
                assert "2 nodes have the name /cgc" in rig.diagnosis("name_taken")
        first.wait(lambda: "name_taken" not in first.faults(), 5.0)
