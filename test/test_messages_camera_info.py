"""Calibrations as they really are: by the fields that any library hands out."""

from types import SimpleNamespace

import numpy as np
import pytest

from cgc_ros.frame import FrameError, Intrinsics
from cgc_ros.messages.camera_info import calibration_of
from cgc_ros.messages.frame_names import is_rectified
from cgc_ros.undistortion import Undistorter

K = [500.0, 0, 319.5, 0, 490.0, 239.5, 0, 0, 1]
P = [400.0, 0, 310.0, 0, 0, 400.0, 230.0, 0, 0, 0, 1, 0]
RATIONAL = (0.3, -0.1, 1e-3, 1e-3, 0.01, 0.5, -0.05, 0.02)


def info(model="plumb_bob", d=(), k=K, p=P, binning=(0, 0), roi=(0, 0, 0, 0), size=(640, 480)):
    x, y, width, height = roi
    return SimpleNamespace(
        width=size[0],
        height=size[1],
        distortion_model=model,
        d=np.array(d, dtype=float),
        k=np.array(k),
        p=np.array(p),
        binning_x=binning[0],
        binning_y=binning[1],
        roi=SimpleNamespace(x_offset=x, y_offset=y, width=width, height=height),
    )


@pytest.mark.parametrize(
    ("model", "d", "read_as", "coefficients"),
    [
        ("plumb_bob", (), "none", ()),
        ("plumb_bob", (0.0,) * 8, "none", ()),
        ("anything", (0.0,) * 5, "none", ()),
        ("plumb_bob", (0.1, -0.2, 0.001, 0.002, 0.05, 0.0, 0.0, 0.0), "plumb_bob", (0.1, -0.2, 0.001, 0.002, 0.05)),
        ("plumb_bob", (0.1, -0.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0), "plumb_bob", (0.1, -0.2, 0.0, 0.0)),
        ("Plumb Bob", (0.1, -0.2, 0.001, 0.002), "plumb_bob", (0.1, -0.2, 0.001, 0.002)),
        ("equidistant", (0.1, 0.2, 0.3, 0.4, 0.0), "equidistant", (0.1, 0.2, 0.3, 0.4)),
        ("fisheye", (), "equidistant", (0.0,) * 4),
        ("rational_polynomial", (*RATIONAL, 0.0, 0.0), "rational_polynomial", RATIONAL),
        ("rational_polynomial", (*RATIONAL, *(0.0,) * 10), "rational_polynomial", RATIONAL),
        ("rational_polynomial", (0.1, -0.2, 0.0, 0.0, 0.1), "rational_polynomial", (0.1, -0.2, 0, 0, 0.1, 0, 0, 0)),
    ],
)
def test_zeros_behind_the_coefficients_change_nothing(model, d, read_as, coefficients):
    calibration = calibration_of(info(model, d))
    assert (calibration.full.distortion_model, calibration.full.distortion) == (read_as, coefficients)
    assert calibration.notes == ()


def test_plumb_bob_with_eight_coefficients_is_the_rational_model_and_says_so():
    calibration = calibration_of(info("plumb_bob", RATIONAL))
    assert calibration.full.distortion_model == "rational_polynomial" and calibration.full.distortion == RATIONAL
    assert "plumb_bob with 8 coefficients is read as rational_polynomial" in calibration.notes[0]
    named_right = calibration_of(info("rational_polynomial", RATIONAL)).full
    assert Undistorter(calibration.full).intrinsics == Undistorter(named_right).intrinsics


@pytest.mark.parametrize(
    ("model", "d"), [("equidistant", (0.1,) * 5), ("plumb_bob", (0.1,) * 3), ("rational_polynomial", (0.1,) * 15)]
)
def test_coefficients_that_no_model_has_are_refused(model, d):
    with pytest.raises(FrameError, match="coefficients, got") as caught:
        calibration_of(info(model, d))
    assert caught.value.reason == "bad_distortion"


BINNED = Intrinsics(320, 240, 250.0, 245.0, 159.5, 119.5)
FULL = Intrinsics(640, 480, 500.0, 490.0, 319.5, 239.5)


def test_an_image_that_comes_unbinned_or_uncut_is_believed():
    binned = calibration_of(info(binning=(2, 2)))
    assert binned.for_image(320, 240) == (BINNED, "")
    assert binned.for_image(640, 480) == (FULL, "")
    cut = calibration_of(info(roi=(100, 40, 400, 300), binning=(2, 2)))
    # edge e of the full image lies at (e - 100) / 2 of the delivered; the principal point's centre is half a pixel on
    assert cut.for_image(200, 150)[0].cx == (320.0 - 100) / 2 - 0.5
    assert cut.for_image(400, 300)[0] == Intrinsics(400, 300, 500.0, 490.0, 219.5, 199.5)
    assert cut.for_image(640, 480) == (FULL, "") and cut.for_image(320, 240) == (BINNED, "")
    assert all(cut.fits(*size) for size in ((200, 150), (400, 300), (640, 480)))


def test_a_scaled_image_has_a_scaled_calibration_and_says_so():
    calibration = calibration_of(info())
    assert not calibration.fits(320, 240)
    intrinsics, note = calibration.for_image(320, 240)
    assert intrinsics == FULL.scaled_to(320, 240) and "640x480, the image is 320x240" in note
    with pytest.raises(FrameError, match="640x480, the image is 640x360") as caught:
        calibration.for_image(640, 360)
    assert caught.value.reason == "camera_info_mismatch"


def test_what_is_there_of_k_and_p_is_used():
    no_k, no_p, neither = {"k": [0.0] * 9}, {"p": [0.0] * 12}, {"k": [0.0] * 9, "p": [float("nan")] * 12}
    bent = {"d": (0.1, -0.2, 0.0, 0.0, 0.0)}
    only_p = calibration_of(info(**no_k, **bent))
    assert only_p.full == Intrinsics(640, 480, 400.0, 400.0, 310.0, 230.0) and "no K: P is used" in only_p.notes[0]
    only_k = calibration_of(info(**no_p, **bent), rectified=True)
    assert only_k.full == FULL and "no P: K is used" in only_k.notes[0]
    assert calibration_of(info(**no_p)).notes == calibration_of(info(**no_k), rectified=True).notes == ()
    with pytest.raises(FrameError, match="0 and 0 in K, nan and nan in P"):
        calibration_of(info(**neither))


def test_ros_1_writes_its_matrices_in_capitals():
    message = info("plumb_bob", (0.1, -0.2, 0.0, 0.0, 0.0))
    expected = calibration_of(message)
    for name in "dkp":
        setattr(message, name.upper(), getattr(message, name))
        delattr(message, name)
    assert calibration_of(message) == expected


@pytest.mark.parametrize(
    ("topic", "rectified"),
    [
        ("/camera/image_rect", True),
        ("/camera/image_rect_color", True),
        ("/camera/image_rect/compressed", True),
        ("/zed/rgb/color/rect/image", True),
        ("/left/image_rectified", True),
        ("/camera/infra1/image_rect_raw", True),
        ("/camera/image_raw", False),
        ("/direct/image_raw", False),
        ("/camera/image_unrectified", False),
    ],
)
def test_one_rule_says_what_rect_in_a_name_means(topic, rectified):
    assert is_rectified(topic) == rectified
