"""The demo: its processes end to end on a small recording, its pictures, and what it says when it cannot go on."""

import json
import os

import cv2
import numpy as np
import pytest
from recording_writer import write_recording
from waiting import wait_until

from cgc_ros.demo import run_demo
from cgc_ros.demo.cloud_view import Viewpoint, draw_points, viewpoint_around
from cgc_ros.demo.many_objects import write_map
from cgc_ros.demo.montage import DrawnObject, draw_objects
from cgc_ros.demo.processes import Companion, DemoError
from cgc_ros.evaluation.synthetic import SyntheticSequence
from cgc_ros.mapping import Mapper, MapperConfig

UP = np.array([0.0, 0.0, 1.0])


def test_from_a_recording_to_pictures_and_figures(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ROS_DOMAIN_ID", str(20 + (os.getpid() + 100) % 200))
    recording = write_recording(tmp_path / "recording", SyntheticSequence(num_frames=16))
    assert run_demo(tmp_path / "out", recording, rate=5.0, settle=20.0) == 0, capsys.readouterr().out
    written = json.loads((tmp_path / "out" / "demo.json").read_text())
    assert written["objects"] and written["images"] >= 16 and written["label_images"] >= 8
    assert written["seconds_to_first_objects"] is not None and written["gaussians"] > 100
    assert "given with the recording" in written["masks"]
    sizes = {name: cv2.imread(str(tmp_path / "out" / f"{name}.png")).shape for name in ("input", "render", "overlay")}
    assert set(sizes.values()) == {(120, 160, 3)}
    assert (tmp_path / "out" / "montage.png").stat().st_size > 10_000
    assert "objects in" in (tmp_path / "out" / "table.txt").read_text()
    printed = capsys.readouterr().out
    assert "playing and mapping" in printed and "montage.png shows it all" in printed


def test_a_missing_recording_is_named(tmp_path, capsys):
    assert run_demo(tmp_path / "out", tmp_path / "nowhere") == 1
    printed = capsys.readouterr().out.replace("\n", "")
    assert "demo failed" in printed and "nowhere" in printed


def test_a_process_that_ends_early_is_shown_with_the_end_of_its_log(tmp_path):
    with Companion("player", "cgc_ros.demo.player", [str(tmp_path / "nowhere")], tmp_path / "player.log") as player:
        wait_until(lambda: not player.is_running, 60)
        with pytest.raises(DemoError, match="(?s)the player ended with exit status 1.*nowhere"):
            player.check()


def test_the_map_for_timing_queries_holds_its_objects(tmp_path):
    write_map(tmp_path / "many.cgc", num_objects=12, gaussians_each=40)
    objects = Mapper.load(tmp_path / "many.cgc", MapperConfig(backend="cpu")).snapshot().objects
    assert [each.id for each in objects] == list(range(1, 13)) and not any(each.background for each in objects)
    np.testing.assert_allclose([each.box.size for each in objects], 0.12, atol=0.04)


def test_a_near_point_hides_a_far_one():
    view = Viewpoint(np.array([0.0, -2.0, 0.0]), np.zeros(3), UP, 64, 64, 60.0)
    points = np.array([[0.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    colors = np.array([[255, 0, 0], [0, 0, 255]], np.uint8)
    for order in ([0, 1], [1, 0]):
        drawn = draw_points(view, points[order], colors[order], np.full(2, 0.1))
        blue = drawn[32, 32]
        assert blue[2] > 100 and blue[0] == 0


def test_a_free_viewpoint_shows_every_point_and_fills_the_picture():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(2000, 3)) * (0.5, 0.2, 0.1) + (3.0, -2.0, 0.7)
    view = viewpoint_around(points, np.array([3.0, -5.0, 1.5]), UP, (320, 240))
    pixels, depth = view.project(points)
    inside = (pixels > 0).all(axis=1) & (pixels < (320, 240)).all(axis=1)
    assert (depth > 0).all() and inside.mean() > 0.99
    assert np.ptp(pixels[:, 0]) > 0.7 * 320 or np.ptp(pixels[:, 1]) > 0.7 * 240


def test_the_viewpoint_is_chosen_for_what_stands_together():
    rng = np.random.default_rng(0)

    def thing(number, center, size):
        points = (np.asarray(center) + (rng.random((300, 3)) - 0.5) * size).astype(np.float32)
        gray = np.full((300, 3), 200, np.uint8)
        return DrawnObject(number, str(number), np.array(center), np.full(3, size), points, gray)

    together = [thing(index, (0.2 * index, 0.0, 0.8), 0.1) for index in range(1, 7)]
    alone, _ = draw_objects(together, np.array([0.7, -2.0, 1.5]))
    crowded, _ = draw_objects([*together, thing(9, (9.0, 9.0, 0.0), 3.0)], np.array([0.7, -2.0, 1.5]))

    def covered(picture):
        return (np.abs(picture.astype(int) - 246).max(axis=2) > 20).mean()

    assert covered(crowded) > 0.7 * covered(alone)


def test_no_objects_leave_an_empty_picture():
    natural, by_object = draw_objects([], np.zeros(3))
    assert natural.shape == by_object.shape == (480, 640, 3)
