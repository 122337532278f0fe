"""A recording in UTM coordinates, from `cgc map` to what leaves the map."""

from __future__ import annotations

import csv
import json

import cv2
import numpy as np
import open3d
import pytest
from recording_writer import write_recording

from cgc_ros.cli import main
from cgc_ros.evaluation.synthetic import SyntheticSequence
from cgc_ros.mapping.saved_map import open_map

OFFSET = np.array([412_345.5, 5_654_321.25, 97.5])


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    folder = write_recording(tmp_path_factory.mktemp("utm"), SyntheticSequence(num_frames=8, width=80, height=60))
    rows = list(csv.reader((folder / "poses.csv").read_text().splitlines()))
    for row in rows[1:]:
        row[1:4] = [repr(float(value) + float(offset)) for value, offset in zip(row[1:4], OFFSET, strict=True)]
    (folder / "poses.csv").write_text("\n".join(",".join(row) for row in rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def run_dir(recording, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    assert main(["map", str(recording), "--out", str(out), "--budget", "6", "--masks", "given"]) == 0
    return out


def test_the_map_lies_about_the_first_camera_and_says_so(run_dir):
    mapper = open_map(run_dir)
    assert np.linalg.norm(mapper.origin - OFFSET) < 10.0
    assert np.abs(mapper.model.parameters["means"].detach().numpy()).max() < 100.0
    metrics = json.loads((run_dir / "metrics.json").read_text())
    np.testing.assert_allclose(metrics["origin"], mapper.origin)


def test_objects_and_exports_are_in_the_world_s_coordinates(run_dir, tmp_path):
    mapper = open_map(run_dir)
    command = ["export", str(run_dir), "--ply", str(tmp_path / "map.ply"), "--objects", str(tmp_path / "clouds")]
    assert main([*command, "--background"]) == 0
    points = np.asarray(open3d.io.read_point_cloud(str(tmp_path / "map.ply")).points)
    np.testing.assert_allclose(points - mapper.origin, mapper.model.parameters["means"].detach().numpy(), atol=1e-6)
    written = json.loads((tmp_path / "clouds" / "objects.json").read_text())["objects"]
    objects = {each.id: each for each in mapper.snapshot().objects}
    assert written
    for record in written:
        points = np.asarray(open3d.io.read_point_cloud(str(tmp_path / "clouds" / record["file"])).points)
        np.testing.assert_allclose(points - mapper.origin, objects[record["id"]].points, atol=1e-6)
        np.testing.assert_allclose(record["box"]["center"], objects[record["id"]].box.center + mapper.origin)
    for record in json.loads((run_dir / "objects.json").read_text())["objects"]:
        assert np.linalg.norm(np.array(record["box"]["center"]) - OFFSET) < 10.0


def test_a_frame_and_its_pose_in_the_world_s_coordinates_show_the_same_view(run_dir, recording, tmp_path):
    row = (recording / "poses.csv").read_text().splitlines()[3].split(",")
    name, pose = row[-1], ",".join(row[1:8])
    assert main(["render", str(run_dir), "--frame", str(recording), name, "--out", str(tmp_path / "frame")]) == 0
    assert main(["render", str(run_dir), "--pose", pose, "--out", str(tmp_path / "pose")]) == 0
    frame, view = (cv2.imread(str(tmp_path / which / "depth.png"), -1).astype(int) for which in ("frame", "pose"))
    assert (frame > 0).mean() > 0.5 and np.abs(frame - view).max() <= 1


def test_evaluation_is_about_the_map_s_origin(run_dir, recording):
    assert main(["eval", str(run_dir), str(recording)]) == 0
    assert json.loads((run_dir / "metrics.json").read_text())["psnr"] > 15.0
