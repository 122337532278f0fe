"""The pinhole view of a distorted camera, and the way back to its pixels."""

import cv2
import numpy as np
import pytest
from intake_rig import CAMERA

from cgc_ros.frame import FrameError, Intrinsics
from cgc_ros.view_grid import ViewGrid


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


def test_a_camera_that_no_ray_reaches_is_refused_by_name():
    """So strong a tangential distortion folds every ray of this view back."""
    camera = Intrinsics(16, 12, 14.0, 14.0, 7.5, 5.5, "plumb_bob", (0.0, 0.0, 0.0, 15.0, 0.0))
    with pytest.raises(FrameError, match="no ray reaches any pixel.*calibrate") as refused:
        ViewGrid(camera)
    assert refused.value.reason == "bad_distortion"
