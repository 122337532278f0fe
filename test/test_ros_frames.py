"""From messages to posed frames: the intake, the checks on frames, and the grid of distorted views."""

import threading
import time
import tracemalloc
from dataclasses import replace

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from ros_fakes import Taken
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from cgc_ros.frame import Frame, FrameError, Intrinsics
from cgc_ros.ros.conversions.camera_info import camera_info_from_intrinsics
from cgc_ros.ros.conversions.images import encode_image
from cgc_ros.ros.conversions.stamps import time_message
from cgc_ros.ros.faults import FaultBoard
from cgc_ros.ros.frame_guard import FrameGuard, GuardSettings
from cgc_ros.ros.intake import Intake
from cgc_ros.ros.intake_settings import IntakeSettings
from cgc_ros.transform_buffer import TransformError
from cgc_ros.view_grid import ViewGrid

SECOND = 1_000_000_000
CAMERA = Intrinsics(64, 48, 50.0, 50.0, 31.5, 23.5)
T0 = 1000 * SECOND


def picture(seed=0, size=(48, 64)):
    """A textured picture, another one for each seed."""
    noise = np.random.default_rng(seed).integers(0, 255, (*size, 3)).astype(np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 0.7)


def posed(x=0.0):
    matrix = np.eye(4)
    matrix[0, 3] = x
    return matrix


class Rig:
    """An intake whose transforms are what the test says."""

    def __init__(self, **settings):
        self.views, self.frames, self.pose = Taken(), Taken(), posed()
        self.faults = FaultBoard(time.monotonic_ns)
        self.clock_ns = T0
        self.intake = Intake(
            IntakeSettings(**settings),
            self,
            self.faults,
            [self.views],
            self.frames,
            lambda: self.clock_ns,
        )
        self.info()

    def map_from(self, frame_id, stamp_ns):
        if isinstance(self.pose, str):
            raise TransformError(self.pose, f"no transform of {frame_id!r}: {self.pose}")
        return self.pose

    def info(self, camera=CAMERA, stamp_ns=T0, **changes):
        message = camera_info_from_intrinsics(camera, Header(stamp=time_message(stamp_ns)))
        for name, value in changes.items():
            setattr(message, name, value)
        self.intake.on_camera_info(message)
        self.intake.poll()

    def image(self, stamp_ns=T0, pixels=None, encoding="rgb8", frame_id="camera"):
        header = Header(stamp=time_message(stamp_ns), frame_id=frame_id)
        self.intake.on_image(encode_image(picture(stamp_ns % 1000) if pixels is None else pixels, encoding, header))
        self.intake.poll()
        return header

    def depth(self, depth, stamp_ns=T0):
        self.intake.on_depth(encode_image(depth.astype(np.float32), "32FC1", Header(stamp=time_message(stamp_ns))))
        self.intake.poll()

    def names(self):
        return [fault.name for fault in self.faults.active()]


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


def mask_message(mask, stamp_ns=T0):
    return encode_image(mask.astype(np.uint8) * 255, "mono8", Header(stamp=time_message(stamp_ns)))


def hand() -> np.ndarray:
    mask = np.zeros((48, 64), bool)
    mask[30:, 20:40] = True
    return mask


def test_what_is_ignored_comes_with_the_view_and_the_frame():
    rig = Rig(max_image_width=32)
    rig.image()  # nobody publishes: nothing waits
    assert len(rig.views) == len(rig.frames) == 1 and rig.frames[0].ignore is None
    rig.intake.on_ignore(mask_message(hand(), T0 + 1))
    rig.image(T0 + 1)
    np.testing.assert_array_equal(rig.views[1].ignore, hand())
    np.testing.assert_array_equal(rig.frames[1].ignore, hand()[::2, ::2])


def test_a_view_waits_for_what_is_ignored_while_somebody_publishes_it():
    rig = Rig(ignore_wait=10.0)
    rig.intake.on_ignore(mask_message(hand(), T0 - SECOND))
    rig.image()
    assert not rig.views and not rig.frames and rig.intake.is_waiting
    rig.intake.on_ignore(mask_message(hand()))
    rig.intake.poll()
    np.testing.assert_array_equal(rig.views[0].ignore, hand())
    assert len(rig.frames) == 1 and not rig.intake.is_waiting


def test_an_image_whose_ignored_pixels_are_lost_or_unfit_is_labelled_and_not_mapped():
    rig = Rig(ignore_wait=0.0)
    rig.intake.on_ignore(mask_message(hand(), T0 - SECOND))
    rig.image()
    rig.intake.on_ignore(mask_message(hand()[:10], T0 + 1))
    rig.image(T0 + 1)
    rig.intake.on_ignore(mask_message(hand(), T0 + 2))
    rig.image(T0 + 2)
    assert len(rig.views) == 3 and [each.stamp_ns for each in rig.frames] == [T0 + 2]
    assert set(rig.names()) == {"ignore_lost", "ignore_mismatch"}
    assert rig.intake.counts().dropped == {"ignore_lost": 1, "ignore_mismatch": 1}


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


def frame(pixels, x=0.0, stamp_s=0.0):
    return Frame(round(stamp_s * SECOND), pixels, posed(x), CAMERA)


def guarded(guard, *arguments):
    try:
        guard.check(frame(*arguments))
    except FrameError as error:
        return error.reason
    return ""


def test_black_white_and_frozen_frames_are_kept_away_from_the_map():
    guard = FrameGuard()
    assert guarded(guard, np.full((48, 64, 3), 3, np.uint8)) == "black_frames"
    assert guarded(guard, np.full((48, 64, 3), 255, np.uint8)) == "white_frames"
    assert guarded(guard, picture(1)) == ""
    assert guarded(guard, picture(1)) == ""  # nothing moved: a still camera in a simulator
    assert guarded(guard, picture(1), 0.05) == "frozen_frames"
    assert guarded(guard, picture(2), 0.05) == ""


def test_ignored_pixels_say_nothing_of_a_frame_or_its_depth():
    mask = np.zeros((48, 64), bool)
    mask[:, :40] = True
    gripper = np.where(mask[..., None], 0, picture(1)).astype(np.uint8)
    black = np.where(mask[..., None], picture(1), 3).astype(np.uint8)
    for pixels, fault in ((gripper, ""), (black, "black_frames")):
        guard = FrameGuard()
        try:
            guard.check(replace(frame(pixels), ignore=mask))
            found = ""
        except FrameError as error:
            found = error.reason
        assert found == fault
    depth = np.where(mask, np.float32(1500.0), np.float32(1.5))
    FrameGuard().check_depth(depth, depth.shape, mask)
    with pytest.raises(FrameError, match="median depth"):
        FrameGuard().check_depth(depth, depth.shape)


def test_a_blurred_frame_is_found_by_its_lack_of_fine_detail():
    guard = FrameGuard()
    for seed in range(20):
        assert guarded(guard, picture(seed)) == ""
    assert guarded(guard, cv2.GaussianBlur(picture(50), (0, 0), 4)) == "blurred_frames"
    assert guarded(guard, picture(51)) == ""
    careless = FrameGuard(GuardSettings(min_sharpness=0.0))
    for seed in range(20):
        assert guarded(careless, picture(seed)) == ""
    assert guarded(careless, cv2.GaussianBlur(picture(52), (0, 0), 4)) == ""


def test_a_pose_jump_is_mapped_only_once_confirmed():
    guard = FrameGuard()
    xs = [0.0, 0.1, 5.0, 5.1, 5.2, 5.3, 5.4]
    found = [guarded(guard, picture(index), x, 0.1 * index) for index, x in enumerate(xs)]
    assert found == ["", "", "pose_jump", "pose_jump", "pose_jump", "pose_jump", ""]
    glitch = FrameGuard()
    found = [
        guarded(glitch, picture(index), x, 0.1 * index) for index, x in enumerate([0.0, 9.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    ]
    assert found == ["", "pose_jump", "pose_jump", "pose_jump", "pose_jump", "pose_jump", ""]
    assert guarded(FrameGuard(), picture(), 100.0) == ""


@pytest.mark.parametrize(
    ("model", "coefficients"),
    [
        ("plumb_bob", (-0.25, 0.08, 0.001, -0.0005, 0.0)),
        ("equidistant", (0.02, -0.01, 0.003, 0.0)),
        ("rational_polynomial", (0.1, -0.05, 0.0, 0.0, 0.01, 0.2, -0.03, 0.002)),
    ],
)
def test_labels_of_a_distorted_view_lie_where_the_camera_sees_them(model, coefficients):
    """A disc painted in the pinhole view is found around the pixel where OpenCV projects the same ray."""
    camera = Intrinsics(320, 240, 260.0, 250.0, 159.0, 121.0, model, coefficients)
    grid = ViewGrid(camera)
    project = cv2.fisheye.projectPoints if model == "equidistant" else cv2.projectPoints
    for slope in ((0.0, 0.0), (0.4, 0.2), (-0.45, 0.35), (0.1, -0.38)):
        expected = project(
            np.array([[[*slope, 1.0]]]), np.zeros(3), np.zeros(3), camera.matrix(), np.array(coefficients)
        )[0].ravel()
        view = np.zeros((grid.intrinsics.height, grid.intrinsics.width), np.uint16)
        center = np.array(slope) * (grid.intrinsics.fx, grid.intrinsics.fy) + (grid.intrinsics.cx, grid.intrinsics.cy)
        cv2.circle(view, tuple(np.rint(center).astype(int).tolist()), 5, 1, -1)
        rows, columns = np.nonzero(grid.to_image(view, 65535) == 1)
        np.testing.assert_allclose([columns.mean(), rows.mean()], expected, atol=1.0)


def test_a_pinhole_view_passes_through():
    grid = ViewGrid(CAMERA)
    view = np.zeros((48, 64))
    assert grid.to_image(view, 1) is view and grid.intrinsics == CAMERA


class Heard:
    """A FaultListener."""

    def __init__(self):
        self.lines = []

    def fault_appeared(self, fault):
        self.lines.append(f"+{fault.name}")

    def fault_gone(self, fault):
        self.lines.append(f"-{fault.name} {fault.count}")


def test_the_board_forgets_what_did_not_happen_again_and_tells_of_what_appears_and_goes():
    now, heard = [0], Heard()
    board = FaultBoard(lambda: now[0])
    board.listeners.append(heard)
    board.report("bad_image", "first")
    board.report("bad_image", "second")
    assert [(fault.name, fault.message, fault.count) for fault in board.active()] == [("bad_image", "second", 2)]
    assert heard.lines == ["+bad_image"]
    now[0] = 6 * SECOND
    assert board.active() == [] and heard.lines[1:] == ["-bad_image 2"]
    board.report("bad_image", "again")
    board.clear("bad_image", "no_images")
    assert board.active() == [] and heard.lines[2:] == ["+bad_image", "-bad_image 1"]


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
