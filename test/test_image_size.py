"""Wide images are mapped smaller; what comes back is in the input's own pixels."""

from dataclasses import replace

import numpy as np
import pytest
from ros_fakes import FakeSession, make_object

from cgc_ros.frame import Frame, FrameError, Intrinsics
from cgc_ros.image_size import depth_at_size, nearest_resized, scaled_frame, within_width
from cgc_ros.view_grid import grid_for

WIDE = Intrinsics(3840, 2160, 3000.0, 3000.0, 1919.5, 1079.5)
POINT = np.array([0.3, -0.2, 2.0])


def test_a_narrower_camera_sees_a_point_at_the_same_share_of_the_image():
    small = within_width(WIDE, 1280)
    assert (small.width, small.height) == (1280, 720)
    wide_pixel = (WIDE.matrix() @ POINT)[:2] / POINT[2] + 0.5  # from the image's corner
    small_pixel = (small.matrix() @ POINT)[:2] / POINT[2] + 0.5
    np.testing.assert_allclose(small_pixel, wide_pixel / 3)


@pytest.mark.parametrize("max_width", [0, 3840, 5000])
def test_what_is_not_wider_stays_as_it_is(max_width):
    frame = Frame(1, np.zeros((2160, 3840, 3), np.uint8), np.eye(4), WIDE)
    assert scaled_frame(frame, max_width) is frame


def test_colours_are_averaged_and_depth_and_masks_never():
    image = np.zeros((4, 8, 3), np.uint8)
    image[:, ::2] = 200
    depth = np.where(np.arange(8) < 4, 1.0, 3.0)[None].repeat(4, 0).astype(np.float32)
    masks = np.where(np.arange(8) < 4, 7, 9)[None].repeat(4, 0).astype(np.int32)
    camera = Intrinsics(8, 4, 8.0, 8.0, 3.5, 1.5)
    small = scaled_frame(Frame(1, image, np.eye(4), camera, depth, masks), 4)
    small.check()
    assert (small.image == 100).all() and small.image.shape == (2, 4, 3)
    assert small.depth.tolist() == [[1, 1, 3, 3]] * 2 and small.depth.dtype == np.float32
    assert small.masks.tolist() == [[7, 7, 9, 9]] * 2 and small.masks.dtype == np.int32


def ignored_frame(ignore: np.ndarray) -> Frame:
    height, width = ignore.shape
    camera = Intrinsics(width, height, 8.0, 8.0, 3.5, 1.5)
    return Frame(1, np.zeros((height, width, 3), np.uint8), np.eye(4), camera, ignore=ignore)


@pytest.mark.parametrize("width", [4, 5, 9])
def test_what_touches_an_ignored_pixel_is_ignored_and_nothing_else(width):
    rng = np.random.default_rng(width)
    frame = ignored_frame(rng.random((13, 18)) < 0.03)
    small = scaled_frame(frame, width)
    small.check()
    colours = np.repeat(frame.ignore[..., None], 3, axis=2).astype(np.uint8) * 255
    tinted = scaled_frame(replace(frame, image=colours), width).image.any(axis=2)
    assert tinted.any() and (small.ignore | ~tinted).all()  # no colour of an ignored pixel is left in the rest
    step = 18 / width
    for row, column in zip(*np.nonzero(small.ignore), strict=True):
        begin = (int(row * 13 / small.image.shape[0]), int(column * step))
        end = (int(np.ceil((row + 1) * 13 / small.image.shape[0])), int(np.ceil((column + 1) * step)))
        assert frame.ignore[begin[0] : end[0], begin[1] : end[1]].any()


@pytest.mark.parametrize("ignore", [np.zeros((4, 7), bool), np.zeros((4, 8), np.uint8)])
def test_a_mask_of_another_size_or_type_is_refused(ignore):
    frame = replace(ignored_frame(np.zeros((4, 8), bool)), ignore=ignore)
    with pytest.raises(FrameError, match="use a mask") as error:
        frame.check()
    assert error.value.reason == "ignore_mismatch"


def test_nearest_pixels_are_those_under_the_centres():
    assert nearest_resized(np.arange(3)[None], 9, 1).tolist() == [[0, 0, 0, 1, 1, 1, 2, 2, 2]]
    assert nearest_resized(np.arange(9)[None], 3, 1).tolist() == [[1, 4, 7]]


@pytest.mark.parametrize("distortion", [(), (-0.1, 0.02, 0.0, 0.0, 0.0)])
def test_label_images_of_a_wide_camera_are_rendered_small_and_have_its_pixels(distortion):
    camera = Intrinsics(960, 540, 750.0, 750.0, 479.5, 269.5)
    camera = replace(camera, distortion_model="plumb_bob", distortion=distortion) if distortion else camera
    session = FakeSession(objects=(make_object(3, tuple(POINT), (0.4, 0.4, 0.4)),))
    session.submit(Frame(1, np.zeros((540, 960, 3), np.uint8), np.eye(4), camera))
    from cgc_ros.rendering.camera import Camera

    def labels(max_width):
        grid = grid_for(camera, max_width)
        assert not max_width or grid.intrinsics.width <= max_width
        return grid.to_image(session.snapshot.segment(Camera.from_intrinsics(grid.intrinsics, np.eye(4))), 65535)

    whole, small = labels(0), labels(320)
    assert small.shape == whole.shape == (540, 960)
    disc, found = whole == 3, small == 3
    assert (disc & found).sum() / (disc | found).sum() > 0.96  # equal but for the rim of a disc 150 pixels wide


def test_registered_depth_of_another_size_is_that_of_the_nearest_pixel():
    depth = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert depth_at_size(depth, 4, 3) is depth
    np.testing.assert_array_equal(depth_at_size(depth, 8, 6), np.repeat(np.repeat(depth, 2, 0), 2, 1))
    assert depth_at_size(np.ones((192, 256), np.float32), 1920, 1440).shape == (1440, 1920)
    assert depth_at_size(np.ones((160, 213), np.float32), 640, 480).shape == (480, 640)  # 213.3 columns, rounded


@pytest.mark.parametrize("shape", [(180, 320), (192, 250), (256, 192)])
def test_depth_of_another_proportion_is_of_another_view(shape):
    assert depth_at_size(np.ones(shape, np.float32), 640, 480) is None
