"""Undistorted views: the oracle is OpenCV's point projection, which is asked where the pixels of a synthetic view
must come from.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from cgc_ros.frame import Frame, FrameError, Intrinsics
from cgc_ros.undistortion import Undistorter, undistorter_for

CAMERAS = {
    "barrel": Intrinsics(160, 120, 120.0, 118.0, 81.3, 57.9, "plumb_bob", (-0.25, 0.05, 0.001, -0.002, 0.0)),
    "pincushion": Intrinsics(160, 120, 120.0, 118.0, 79.5, 59.5, "plumb_bob", (0.12, -0.02, 0.0, 0.0)),
    "rational": Intrinsics(
        160, 120, 120.0, 120.0, 79.5, 59.5, "rational_polynomial", (0.3, -0.1, 1e-3, 1e-3, 0.01, 0.5, -0.05, 0.02)
    ),
    "fisheye": Intrinsics(160, 120, 70.0, 70.0, 79.5, 59.5, "equidistant", (0.02, -0.01, 0.002, -0.0005)),
}


def project(points: np.ndarray, camera: Intrinsics) -> np.ndarray:
    function = cv2.fisheye.projectPoints if camera.distortion_model == "equidistant" else cv2.projectPoints
    pixels, _ = function(
        points.reshape(-1, 1, 3), np.zeros(3), np.zeros(3), camera.matrix(), np.array(camera.distortion)
    )
    return pixels.reshape(-1, 2)


def gradient_image(camera: Intrinsics) -> np.ndarray:
    """Red is the column, green the row: a pixel's colour says where it was taken."""
    rows, columns = np.mgrid[: camera.height, : camera.width].astype(np.uint8)
    return np.dstack([columns, rows, np.zeros_like(rows)])


@pytest.mark.parametrize("name", CAMERAS)
def test_every_pixel_of_the_pinhole_view_comes_from_where_its_ray_meets_the_distorted_image(name):
    camera = CAMERAS[name]
    undistorter = Undistorter(camera)
    pinhole = undistorter.intrinsics
    rows, columns = np.mgrid[: pinhole.height, : pinhole.width]
    rays = np.stack(
        [(columns - pinhole.cx) / pinhole.fx, (rows - pinhole.cy) / pinhole.fy, np.ones_like(rows)], axis=-1
    )
    expected = project(rays.reshape(-1, 3).astype(np.float64), camera).reshape(*rows.shape, 2)
    found = undistorter.image(gradient_image(camera))[..., :2]
    np.testing.assert_allclose(
        found, np.clip(expected, 0, (159, 119)), atol=0.6
    )  # 8 bit rounding and OpenCV's 1/32 pixel steps


@pytest.mark.parametrize("name", CAMERAS)
def test_the_view_is_as_wide_as_it_can_be_without_an_empty_pixel(name):
    camera = CAMERAS[name]
    pinhole = Undistorter(camera).intrinsics
    assert pinhole.fx / pinhole.fy == pytest.approx(camera.fx / camera.fy)
    assert (pinhole.cx, pinhole.cy, pinhole.width, pinhole.height) == (
        camera.cx,
        camera.cy,
        camera.width,
        camera.height,
    )

    def sources_of_border(zoom):
        columns, rows = np.arange(camera.width), np.arange(camera.height)
        border = [(c, r) for c in columns for r in (0, rows[-1])] + [(c, r) for r in rows for c in (0, columns[-1])]
        rays = np.array(
            [[(c - pinhole.cx) / (pinhole.fx * zoom), (r - pinhole.cy) / (pinhole.fy * zoom), 1.0] for c, r in border]
        )
        return project(rays, camera)

    def outside(pixels):
        return ((pixels < -0.5) | (pixels > (camera.width - 0.5, camera.height - 0.5))).any()

    assert not outside(sources_of_border(1.0))
    assert outside(sources_of_border(0.995))


def test_depth_and_labels_take_the_nearest_pixel_and_invent_no_value():
    camera = CAMERAS["barrel"]
    rng = np.random.default_rng(0)
    labels = rng.choice(np.array([0, 7, 70_000], dtype=np.int32), size=(120, 160))
    depth = np.where(labels > 0, 1.5, 0.0).astype(np.float32)
    undistorter = Undistorter(camera)
    assert set(np.unique(undistorter.nearest(labels))) == {0, 7, 70_000}
    assert undistorter.nearest(labels).dtype == np.int32
    np.testing.assert_array_equal(undistorter.nearest(depth) > 0, undistorter.nearest(labels) > 0)


def test_a_frame_is_undistorted_as_a_whole():
    camera = CAMERAS["barrel"]
    image = gradient_image(camera)
    frame = Frame(
        1, image, np.eye(4), camera, depth=image[..., 0].astype(np.float32), masks=image[..., 1].astype(np.int32)
    )
    result = undistorter_for(camera).frame(frame)
    result.check()
    assert result.intrinsics.distortion_model == "none"
    np.testing.assert_allclose(
        result.depth, result.image[..., 0], atol=1.1
    )  # nearest against bilinear on a ramp of 1 per pixel
    np.testing.assert_allclose(result.masks, result.image[..., 1], atol=1.1)


@pytest.mark.parametrize(
    ("model", "coefficients"), [("none", ()), ("", ()), ("plumb_bob", ()), ("plumb_bob", (0.0,) * 5)]
)
def test_a_pinhole_camera_passes_its_arrays_through(model, coefficients):
    camera = Intrinsics(160, 120, 120.0, 118.0, 80.0, 60.0, model, coefficients)
    undistorter = Undistorter(camera)
    image = gradient_image(camera)
    assert undistorter.is_identity
    assert undistorter.image(image) is image
    assert undistorter.intrinsics == Intrinsics(160, 120, 120.0, 118.0, 80.0, 60.0)


@pytest.mark.parametrize("count", [0, 1, 4, 5])
def test_an_equidistant_lens_with_zero_coefficients_is_still_a_fisheye(count):
    lens = Undistorter(Intrinsics(160, 120, 70.0, 70.0, 79.5, 59.5, "equidistant", (0.0,) * count))
    assert not lens.is_identity
    assert lens.image(np.full((120, 160, 3), 7, np.uint8)).min() == 7


def test_maps_are_computed_once_per_calibration():
    assert undistorter_for(CAMERAS["barrel"]) is undistorter_for(CAMERAS["barrel"])


@pytest.mark.parametrize(
    ("model", "coefficients", "reason", "named"),
    [
        ("kannala_brandt8", (0.1,) * 8, "unknown_distortion", "kannala_brandt8"),
        ("", (0.1, 0.0, 0.0, 0.0), "unknown_distortion", "without the name"),
        ("plumb_bob", (0.1, 0.2), "bad_distortion", "4 or 5"),
        ("plumb_bob", (float("nan"), 0.0, 0.0, 0.0, 0.0), "bad_distortion", "nan"),
        ("plumb_bob", (-500.0, 0.0, 0.0, 0.0, 0.0), "bad_distortion", "-500"),
    ],
)
def test_a_lens_that_cannot_be_undistorted_is_refused_by_name(model, coefficients, reason, named):
    with pytest.raises(FrameError, match=named) as caught:
        Undistorter(Intrinsics(160, 120, 120.0, 118.0, 80.0, 60.0, model, coefficients))
    assert caught.value.reason == reason


def test_an_image_of_another_size_is_refused():
    with pytest.raises(FrameError, match="160x120, got 80x60"):
        undistorter_for(CAMERAS["barrel"]).image(np.zeros((60, 80, 3), np.uint8))


@pytest.mark.parametrize("name", CAMERAS)
def test_no_colour_of_an_ignored_pixel_is_left_in_the_pixels_that_count(name):
    camera = CAMERAS[name]
    ignore = np.zeros((120, 160), bool)
    ignore[40:60, 20:90] = ignore[100, 130] = True
    image = np.zeros((120, 160, 3), np.uint8)
    image[ignore] = 255
    frame = Undistorter(camera).frame(Frame(1, image, np.eye(4), camera, ignore=ignore))
    frame.check()
    assert frame.ignore.any() and not frame.image[~frame.ignore].any()
    assert frame.ignore.sum() < 1.5 * (frame.image[..., 0] > 127).sum()
