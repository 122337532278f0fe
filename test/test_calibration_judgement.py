"""What matches of known scenes say about a calibration: what is wrong is found, what is right is left alone."""

import numpy as np
import pytest
from calibration_scenes import CAMERA, Scene, scaled
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cgc_ros.calibration.judgement import is_known, judge
from cgc_ros.calibration.model import CENTRE, COUNT, DEPTH, FOCAL, OFFSET

PX_PER_S = 300.0
FEW = settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))


def judged(scene: Scene, **wrong):
    return judge(scene.model(**wrong), PX_PER_S)


@FEW
@given(seed=st.integers(0, 10**6), outliers=st.floats(0.0, 0.25), depth=st.sampled_from([0.0, 1.0]))
def test_a_calibration_that_is_right_is_not_suspected(seed, outliers, depth):
    found = judged(Scene(seed, outliers=outliers), depth_factor=depth)
    assert found.contradicted == () and not found.correction().any()
    assert np.exp(found.values[FOCAL]) == pytest.approx(1.0, abs=0.01)


@FEW
@given(seed=st.integers(0, 10**6), factor=st.one_of(st.floats(0.7, 0.93), st.floats(1.08, 1.4)))
def test_a_wrong_focal_length_is_found(seed, factor):
    found = judged(Scene(seed), given=scaled(factor), depth_factor=0.0)
    assert found.contradicted == ("focal",)
    assert np.exp(found.values[FOCAL]) * factor == pytest.approx(1.0, abs=0.01)
    assert abs(found.values[FOCAL] + np.log(factor)) < 6 * found.sigmas[FOCAL]


@FEW
@given(seed=st.integers(0, 10**6), late=st.one_of(st.floats(-0.15, -0.03), st.floats(0.03, 0.15)))
def test_stamps_that_are_late_are_found(seed, late):
    found = judged(Scene(seed), late_s=late)
    assert found.contradicted == ("offset",)
    assert found.values[OFFSET] == pytest.approx(-late, abs=0.005)


@FEW
@given(seed=st.integers(0, 10**6), factor=st.sampled_from([0.1, 0.2, 0.7, 1.5, 5.0, 10.0]))
def test_depth_in_other_units_is_found(seed, factor):
    found = judged(Scene(seed), depth_factor=factor)
    assert found.contradicted == ("depth",)
    assert np.exp(found.values[DEPTH]) * factor == pytest.approx(1.0, abs=0.02)


@FEW
@given(seed=st.integers(0, 10**6), dx=st.sampled_from([-40.0, 25.0]), dy=st.sampled_from([-30.0, 0.0, 30.0]))
def test_a_shifted_principal_point_is_found(seed, dx, dy):
    found = judged(Scene(seed), given=scaled(dx=dx, dy=dy), depth_factor=0.0)
    assert "centre" in found.contradicted and "focal" not in found.contradicted
    assert found.values[CENTRE] == pytest.approx((-dx, -dy), abs=5.0)


def test_several_faults_at_once_are_told_apart():
    found = judged(Scene(), given=scaled(0.9), late_s=0.06, depth_factor=5.0)
    assert set(found.contradicted) == {"focal", "offset", "depth"}
    correction = found.correction()
    assert np.exp(correction[FOCAL]) * 0.9 == pytest.approx(1.0, abs=0.01)
    assert correction[OFFSET] == pytest.approx(-0.06, abs=0.01)
    assert found.error_px < 0.5 * found.error_given_px


@pytest.mark.parametrize("noise", [0.003, 0.01])
def test_noisy_poses_raise_no_alarm(noise):
    """Poses between noisy ones are smoother, and fit better: no sign of an offset."""
    for seed in range(2):
        assert judged(Scene(seed, pose_noise=noise)).contradicted == ()


@pytest.mark.parametrize("motion", ["still", "forward"])
def test_a_motion_that_tells_nothing_is_said_to_tell_nothing(motion):
    found = judged(Scene(motion=motion), given=scaled(1.2), depth_factor=0.0)
    assert found.contradicted == () and not is_known("focal", found.sigmas, CAMERA.width)


def test_without_stamps_no_offset_is_estimated():
    found = judged(Scene(), late_s=0.1, has_time=False)
    assert "offset" not in found.contradicted and found.values[OFFSET] == 0.0 and np.isinf(found.sigmas[OFFSET])
    assert found.values.shape == (COUNT,)
