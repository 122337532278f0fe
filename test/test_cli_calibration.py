"""`cgc check SEQ` and `cgc map --calibrate` on a small recording whose calibration is wrong."""

import json

import cv2
import numpy as np
import pytest
from calibration_scenes import CAMERA, write_planes

from cgc_ros import cli
from cgc_ros.calibration.recalibration import Recalibration
from cgc_ros.evaluation.evaluate_run import evaluate_run
from cgc_ros.frame import Intrinsics
from cgc_ros.sequences import open_sequence

FACTOR = 1.25
TRUE_FOCAL = CAMERA.fx / 2


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return write_planes(tmp_path_factory.mktemp("right"))


@pytest.fixture(scope="module")
def wrong(recording, tmp_path_factory):
    """The same with a focal length that is a quarter too long."""
    folder = tmp_path_factory.mktemp("wrong")
    for name in ("images", "depth", "poses.csv"):
        (folder / name).symlink_to(recording / name)
    document = json.loads((recording / "intrinsics.json").read_text())
    (folder / "intrinsics.json").write_text(
        json.dumps(document | {name: document[name] * FACTOR for name in ("fx", "fy")})
    )
    return folder


def checked(capsys, *arguments):
    status = cli.main(["check", *map(str, arguments), "--json"])
    result = json.loads(capsys.readouterr().out)
    return status, result, {each["name"]: each for each in result["findings"]}


def test_a_right_calibration_is_said_to_fit(capsys, recording):
    status, result, findings = checked(capsys, recording)
    assert status == 0 and not result["contradicted"] and result["calibration"]["focal_factor"] == 1.0
    assert findings["focal length"]["estimated"][0] == pytest.approx(TRUE_FOCAL, rel=0.02)
    assert findings["depth scale"]["estimated"][0] == pytest.approx(1.0, abs=0.05)


def test_a_wrong_focal_length_is_named_with_the_one_that_fits(capsys, wrong):
    status, result, findings = checked(capsys, wrong)
    focal = findings["focal length"]
    assert status == 1 and result["contradicted"] and focal["contradicted"] and "--calibrate" in focal["remedy"]
    assert focal["given"][0] == pytest.approx(FACTOR * TRUE_FOCAL, rel=1e-6)
    assert focal["estimated"][0] == pytest.approx(TRUE_FOCAL, rel=0.02) and 0 < focal["sigma"][0] < 0.02 * TRUE_FOCAL


def test_depth_in_other_units_is_named(capsys, recording):
    status, _, findings = checked(capsys, recording, "--read", "depth_unit=0.0001")
    assert status == 1 and findings["depth scale"]["contradicted"] and not findings["focal length"]["contradicted"]
    assert findings["depth scale"]["estimated"][0] == pytest.approx(10.0, rel=0.05)


def test_the_screen_names_the_verdict(capsys, wrong):
    assert cli.main(["check", str(wrong)]) == 1
    out = capsys.readouterr().out
    assert "focal length" in out and "does not fit" in out


def test_check_wants_one_recording_or_live(capsys):
    for names in ([], ["one", "two"]):
        with pytest.raises(SystemExit) as error:
            cli.main(["check", *names])
        assert error.value.code == 2 and "--live" in capsys.readouterr().err


def test_map_warns_and_calibrate_maps_with_what_fits(capsys, wrong, tmp_path):
    quick = ["--budget", "2", "--backend", "cpu", "--max-gaussians", "1500", "--masks", "graph", "--json"]
    out = tmp_path / "mended"
    assert cli.main(["map", str(wrong), "--out", str(out), "--calibrate", *quick]) == 0
    told = capsys.readouterr()
    calibration = json.loads(told.out)["calibration"]
    assert "the focal length: given" in told.err
    assert calibration["focal_factor"] * FACTOR == pytest.approx(1.0, abs=0.02) and "calibrated from" in told.err
    sequence = open_sequence(wrong)
    metrics, _ = evaluate_run(out, sequence, "cpu")
    assert metrics["calibration"] == calibration and sequence.calibration == Recalibration.of(calibration)


def test_a_recording_is_given_by_a_better_calibration(recording):
    change = Recalibration(0.8, (0.1, -0.05), 0.0, 2.0)
    sequence, given = open_sequence(recording), open_sequence(recording)[3]
    sequence.recalibrate(Recalibration.of(json.loads(json.dumps(change.to_json()))))
    frame = sequence[3]
    assert frame.intrinsics.fx == pytest.approx(0.8 * given.intrinsics.fx)
    assert frame.intrinsics.cx == pytest.approx(given.intrinsics.cx + 0.1 * given.intrinsics.fx)
    np.testing.assert_allclose(frame.depth, 2.0 * given.depth)
    np.testing.assert_array_equal(frame.world_from_camera, given.world_from_camera)


def test_a_focal_factor_leaves_distortion_in_pixels_as_it_was():
    given = Intrinsics(640, 480, 500.0, 505.0, 320.0, 240.0, "plumb_bob", (0.1, -0.05, 0.002, -0.001, 0.01))
    mended = Recalibration(0.9).camera(given)
    points = np.array([[100.0, 60.0], [600.0, 400.0], [320.0, 10.0]])
    for point in points:
        seen = []
        for camera in (given, mended):
            ray = np.append((point - (camera.cx, camera.cy)) / (camera.fx, camera.fy), 1.0)
            seen.append(
                cv2.projectPoints(ray, np.zeros(3), np.zeros(3), camera.matrix(), np.array(camera.distortion))[0]
            )
        np.testing.assert_allclose(seen[0], seen[1], atol=1e-6)
