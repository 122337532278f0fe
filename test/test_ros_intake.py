"""From messages to posed frames: what the intake joins, drops and names."""

import threading
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from intake_rig import CAMERA, SECOND, T0, Rig, picture, posed
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from cgc_ros.ros.conversions.images import encode_image
from cgc_ros.ros.conversions.stamps import time_message
from cgc_ros.ros.intake import Intake
from cgc_ros.ros.intake_settings import IntakeSettings


def test_an_image_becomes_a_view_and_a_frame():
    rig = Rig()
    rig.pose = posed(2.0)
    header = rig.image()
    assert rig.views[0].header == header and rig.views[0].stamp_ns == T0
    frame = rig.frames[0]
    assert (
        frame.stamp_ns == T0
        and frame.intrinsics == CAMERA
        and frame.world_from_camera[0, 3] == 2.0
        and frame.depth is None
    )
    assert not rig.names() and rig.intake.counts().received == 1 and not rig.intake.counts().dropped


def test_depth_joins_by_stamp_and_the_view_does_not_wait_for_it():
    rig = Rig()
    rig.depth(np.full((48, 64), 9.0), stamp_ns=T0 - SECOND)
    rig.image()
    assert len(rig.views) == 1 and not rig.frames and rig.intake.is_waiting
    rig.depth(np.full((48, 64), 2.0))
    assert (rig.frames[0].depth == 2.0).all() and not rig.intake.is_waiting


def test_a_wide_image_is_mapped_scaled_and_viewed_whole():
    rig = Rig(max_image_width=32)
    rig.depth(np.full((48, 64), 2.0))
    rig.image()
    frame, view = rig.frames[0], rig.views[0]
    frame.check()
    assert frame.image.shape == (24, 32, 3) and (frame.depth == 2.0).all()
    assert frame.intrinsics == CAMERA.scaled_to(32, 24)
    assert view.image.shape == (48, 64, 3) and view.camera == CAMERA


def test_registered_depth_of_another_resolution_is_used():
    rig = Rig()
    rig.depth(np.kron([[1.0, 2.0], [3.0, 0.0]], np.ones((12, 16))))
    rig.image()
    assert not rig.names() and rig.frames[0].depth.shape == (48, 64)
    np.testing.assert_array_equal(rig.frames[0].depth[[0, 0, -1, -1], [0, -1, 0, -1]], [1.0, 2.0, 3.0, 0.0])


@pytest.mark.parametrize(
    ("depth", "fault"),
    [
        (np.ones((24, 40)), "depth_mismatch"),
        (np.full((48, 64), np.nan), "depth_invalid"),
        (np.full((48, 64), 1500.0), "depth_unit"),
        (np.full((48, 64), 0.0015), "depth_unit"),
    ],
)
def test_unusable_depth_is_named_and_mapping_goes_on_without(depth, fault):
    rig = Rig()
    rig.depth(depth)
    rig.image()
    assert rig.names() == [fault] and rig.frames[0].depth is None


def test_lost_depth_is_named():
    rig = Rig(sync_wait=0.0)
    rig.depth(np.ones((48, 64)), stamp_ns=T0 - SECOND)
    rig.image()
    rig.image(T0 + SECOND)
    assert "depth_lost" in rig.names() and len(rig.frames) == 2


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        ("unknown_frame", "no_transform"),
        ("disconnected", "broken_chain"),
        ("extrapolation_future", "late_transform"),
        ("extrapolation_past", "old_transform"),
        ("empty", "no_transform"),
        ("loop", "transform_loop"),
    ],
)
def test_each_way_of_having_no_pose_has_its_name(error, fault):
    rig = Rig(transform_timeout=0.0)
    rig.image(T0 - 1)  # some transform was there
    rig.views.clear()
    rig.pose = error
    rig.image()
    assert rig.names() == [fault] and rig.intake.counts().dropped == {fault: 1} and not rig.views
    rig.pose = posed()
    rig.image(T0 + 1)
    assert len(rig.views) == 1


def test_camera_info_that_never_comes_or_does_not_fit_is_named():
    rig = Rig(sync_wait=0.0)
    rig.info(replace(CAMERA, width=32))
    rig.image()
    assert rig.names() == ["camera_info_mismatch"]
    rig.info(k=[0.0] * 9, p=[0.0] * 12)
    assert rig.names() == ["camera_info_mismatch", "bad_intrinsics"]
    silent = Rig(sync_wait=0.0)
    silent.intake = Intake(
        IntakeSettings(sync_wait=0.0),
        silent,
        silent.faults,
        [silent.views],
        silent.frames,
        lambda: T0,
    )
    silent.image()
    assert silent.names() == ["no_camera_info"] and silent.intake.counts().dropped == {"no_camera_info": 1}


def test_a_calibration_that_has_to_be_read_otherwise_is_used_and_named():
    rig = Rig(sync_wait=0.0)
    rig.info(camera=CAMERA.scaled_to(128, 96))
    rig.image()
    assert rig.names() == ["camera_info_adapted"] and rig.frames[0].intrinsics == CAMERA
    rig = Rig()
    rig.info(distortion_model="plumb_bob", d=[0.3, -0.1, 0.0, 0.0, 0.0, 0.3, -0.1, 0.01])
    rig.image()
    assert rig.names() == ["camera_info_adapted"] and rig.views[0].camera.distortion_model == "rational_polynomial"
    rig = Rig()
    rig.info(binning_x=2, binning_y=2)
    rig.image()
    assert not rig.names() and rig.frames[0].intrinsics == CAMERA


def test_twelve_bits_in_sixteen_are_stretched_and_told_once():
    rig = Rig()
    pixels = np.random.default_rng(0).integers(0, 4096, (48, 64)).astype(np.uint16)
    for index in range(2):
        rig.image(T0 + index * SECOND // 30, pixels // (1 + index), "mono16")
    assert rig.names() == ["few_bits"] and rig.frames[0].image.max() == 255
    assert rig.faults.active()[0].count == 1


def test_encoding_and_resolution_may_change_midway():
    rig = Rig()
    rig.image()
    rig.image(T0 + 1, picture(1)[..., 0], "mono8")
    rig.info(CAMERA.scaled_to(32, 24), T0 + 2)
    rig.image(T0 + 2, picture(2, (24, 32)))
    assert rig.names() == ["encoding_changed", "resolution_changed"]
    assert [view.image.shape[:2] for view in rig.views] == [(48, 64), (48, 64), (24, 32)] and len(rig.frames) == 3


def test_malformed_images_are_dropped_by_name_and_the_next_one_is_mapped():
    rig = Rig()
    broken = encode_image(picture(), "rgb8", Header(stamp=time_message(T0)))
    broken.data = broken.data[:100]
    rig.intake.on_image(broken)
    rig.image(0)
    rig.image(T0 + 5)
    assert rig.intake.counts().dropped == {"truncated_image": 1, "zero_stamp": 1} and rig.names() == [
        "truncated_image",
        "zero_stamp",
    ]
    assert len(rig.frames) == 1 and rig.intake.counts().received == 3


def test_a_looped_recording_goes_on():
    rig = Rig()
    rig.image(T0 + 100 * SECOND)
    rig.image(T0)
    assert "clock_jump_back" in rig.names() and len(rig.frames) == 2


def test_the_mapper_gets_no_more_frames_than_asked_for_and_every_view_is_labelled():
    rig = Rig(mapping_rate=10.0)
    for index in range(30):
        rig.image(T0 + index * SECOND // 30)
    assert len(rig.views) == 30 and 10 <= len(rig.frames) <= 11
    assert rig.intake.counts().dropped == {"mapping_rate": 30 - len(rig.frames)}


def test_a_stream_as_fast_as_the_mapping_rate_is_mapped_whole_in_spite_of_jitter():
    rig = Rig(mapping_rate=5.0)
    jitter = np.random.default_rng(0).integers(-SECOND // 20, SECOND // 20, 40)
    for index in range(40):
        rig.image(T0 + index * SECOND // 5 + int(jitter[index]))
    assert len(rig.frames) == 40


def test_depth_that_cannot_be_decoded_is_named():
    rig = Rig()
    rig.intake.on_depth(encode_image(picture(), "rgb8", Header(stamp=time_message(T0))))
    rig.image()
    assert rig.names() == ["unknown_encoding"] and rig.frames[0].depth is None


def test_masks_come_with_their_frame_or_not_at_all():
    rig = Rig(use_masks=True, masks_wait=0.0)
    ids = np.arange(48 * 64, dtype=np.int32).reshape(48, 64)
    rig.intake.on_masks(encode_image(ids, "32SC1", Header(stamp=time_message(T0))))
    rig.image()
    rig.intake.on_masks(encode_image(ids[:10], "32SC1", Header(stamp=time_message(T0 + 1))))
    rig.image(T0 + 1)
    np.testing.assert_array_equal(rig.frames[0].masks, ids)
    assert rig.names() == ["masks_mismatch"] and rig.frames[1].masks is None


def test_stamps_of_another_clock_are_named():
    rig = Rig()
    rig.clock_ns = T0 + 3600 * SECOND
    rig.image()
    assert rig.names() == ["foreign_clock"] and len(rig.frames) == 1


def test_memory_is_bounded_while_transforms_are_missing():
    rig = Rig(transform_timeout=100.0)
    rig.pose = "extrapolation_future"
    for index in range(100):
        rig.image(T0 + index)
    assert rig.intake.images_waiting <= 30 and rig.intake.counts().dropped["late_transform"] >= 70


def test_settings_change_at_run_time_without_losing_counts():
    rig = Rig(sync_wait=0.0)
    rig.depth(np.ones((48, 64)), stamp_ns=T0 - SECOND)
    rig.image()
    rig.intake.configure(IntakeSettings(transform_timeout=0.0))
    assert rig.intake.counts().partners["depth_lost"] == 1
    rig.info()
    rig.pose = "extrapolation_future"
    rig.image(T0 + 1)
    assert rig.intake.counts().dropped == {"late_transform": 1}


def negative(seconds):
    """What a driver sends that subtracts more than there is."""
    return Header(stamp=Time(sec=-seconds, nanosec=0), frame_id="camera")


def test_a_negative_stamp_is_named_and_the_first_image_is_no_jump_of_the_clock():
    rig = Rig()
    rig.intake.on_image(encode_image(picture(), "rgb8", negative(5)))
    assert rig.names() == ["negative_stamp"] and rig.intake.counts().dropped == {"negative_stamp": 1}
    rig.image(1)
    assert len(rig.frames) == 1 and "clock_jump_back" not in rig.names()


def test_images_older_than_the_first_transform_are_said_to_be_so_and_later_ones_to_be_too_old():
    rig = Rig()
    rig.pose = "extrapolation_past"
    rig.image()
    assert rig.names() == ["before_transforms"] and rig.intake.counts().dropped == {"before_transforms": 1}
    rig.pose = posed()
    rig.image(T0 + 1)
    rig.pose = "extrapolation_past"
    rig.image(T0 + 2)
    assert "old_transform" in rig.names() and rig.intake.counts().dropped["old_transform"] == 1


def test_camera_info_messages_are_kept_small():
    rig = Rig()

    def hear(count):
        for index in range(count):
            header = Header(stamp=time_message(index))
            rig.intake.on_camera_info(
                CameraInfo(width=64, height=48, k=CAMERA.matrix().ravel().tolist(), header=header)
            )

    hear(100)
    tracemalloc.start()
    try:
        hear(1000)
        assert tracemalloc.get_traced_memory()[0] < 100_000  # bytes: 1000 that were kept would be over a million
    finally:
        tracemalloc.stop()


def test_counts_are_copies_and_may_be_read_while_images_come_in():
    rig = Rig(sync_wait=0.0)
    before = rig.intake.counts()
    ended, errors, read = threading.Event(), [], []

    def look():
        while not ended.is_set():
            try:
                read.append(rig.intake.counts().received)
            except RuntimeError as error:  # a dictionary that changed while it was copied
                errors.append(error)

    reader = threading.Thread(target=look)
    reader.start()
    for index in range(100):
        rig.intake.configure(IntakeSettings(sync_wait=0.0))
        rig.image(T0 + index, frame_id="camera")
    ended.set()
    reader.join()
    assert not errors and read == sorted(read) and before.received == 0 and rig.intake.counts().received == 100
