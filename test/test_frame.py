"""The pinhole camera that everything measures by."""

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from cgc_ros.frame import Intrinsics


@given(st.integers(0, 10_000))
def test_points_land_where_opencv_has_them_and_come_back(seed):
    rng = np.random.default_rng(seed)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = Rotation.random(random_state=seed).as_matrix(), rng.normal(size=3)
    camera = Intrinsics(64, 48, *rng.uniform(30, 90, 2), *rng.uniform(20, 40, 2))
    local = rng.uniform((-1, -1, 0.1), (1, 1, 5), (20, 3))
    points = local @ pose[:3, :3].T + pose[:3, 3]
    columns, rows, depth = camera.project(points, pose)
    pixels, _ = cv2.projectPoints(local, np.zeros(3), np.zeros(3), camera.matrix(), None)
    np.testing.assert_allclose(np.stack([columns, rows], 1), pixels[:, 0], atol=1e-6)
    np.testing.assert_allclose(camera.lift(columns, rows, depth, pose), points, atol=1e-9)
