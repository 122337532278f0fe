"""The commands end to end, on a small recording on disk: what each writes, and in which form."""

from __future__ import annotations

import json
import os
import signal
import threading

import cv2
import numpy as np
import pytest
from recording_writer import write_recording

from cgc_ros import cli
from cgc_ros.evaluation.figures import CONTRACT_KEYS
from cgc_ros.evaluation.image_metrics import psnr
from cgc_ros.evaluation.synthetic import SyntheticSequence


def run_json(capsys, *arguments: str) -> dict:
    assert cli.main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return write_recording(tmp_path_factory.mktemp("recording"), SyntheticSequence(num_frames=16, width=120, height=90))


@pytest.fixture(scope="module")
def run_dir(recording, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    options = ["--budget", "7", "--backend", "cpu", "--max-gaussians", "4000", "--set", "segmentation.cluster_every=5"]
    assert cli.main(["map", str(recording), "--out", str(out), *options]) == 0
    return out


@pytest.fixture(scope="module")
def evaluated(run_dir, recording):
    assert cli.main(["eval", str(run_dir), str(recording)]) == 0
    return json.loads((run_dir / "metrics.json").read_text())


def test_map_writes_the_files_of_the_contract(run_dir):
    for name in ("map.cgc", "objects.json", "metrics.json", "history.json"):
        assert (run_dir / name).stat().st_size > 10
    assert len(list((run_dir / "previews").glob("*.png"))) == 4
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert 7 <= metrics["seconds_mapping"] < 20  # a loaded machine may be late
    frames = metrics["frames"]
    assert frames["submitted"] + frames["not_submitted"] == 14 and frames["dropped"] == {}
    assert 0 < metrics["num_gaussians"] <= 4000 and metrics["steps"] > 0
    assert (metrics["run"]["masks"], metrics["run"]["depth"]) == ("given", "used")
    settings = {"backend": "cpu", "density.max_gaussians": "4000", "segmentation.cluster_every": "5"}
    assert metrics["run"]["settings"] == settings


def test_eval_merges_every_key_of_the_contract(evaluated):
    assert set(CONTRACT_KEYS) <= set(evaluated)
    known = {key for key in CONTRACT_KEYS if evaluated[key] is not None}
    # On a busy machine so short a run may end before a second publication or a timed label image.
    too_early = {"id_stability", "label_latency_ms_p50", "label_latency_ms_p95"}
    of_changes = {key for key in CONTRACT_KEYS if key.startswith(("event_", "moved_"))}  # nothing changes here
    assert set(CONTRACT_KEYS) - known <= {"peak_gpu_mb"} | too_early | of_changes
    # A map, however few its training steps were on a loaded machine.
    assert evaluated["psnr"] > 13 and evaluated["depth_median_error_share"] < 0.1


def test_eval_writes_pictures_that_fit_the_figures(evaluated, run_dir, recording):
    values = []
    for name in ("0007.png", "0015.png"):
        labels = cv2.imread(str(run_dir / "eval" / "labels" / name), cv2.IMREAD_UNCHANGED)
        depth = cv2.imread(str(run_dir / "eval" / "depth" / name), cv2.IMREAD_UNCHANGED)
        assert labels.dtype == depth.dtype == np.uint16 and labels.shape == depth.shape == (90, 120)
        values.append(
            psnr(cv2.imread(str(run_dir / "eval" / "render" / name)), cv2.imread(str(recording / "images" / name)))
        )
    assert np.mean(values) == pytest.approx(evaluated["psnr"])
    assert (run_dir / "eval" / "report.html").stat().st_size > 20_000


def test_compare_prints_one_table_and_one_json(evaluated, run_dir, tmp_path, capsys):
    result = run_json(capsys, "compare", str(run_dir), str(run_dir), "--html", str(tmp_path / "page.html"))
    assert result["figures"]["psnr"] == [evaluated["psnr"]] * 2
    views = len(list((run_dir / "eval" / "render").glob("*.png")))
    assert (tmp_path / "page.html").read_text().count("<figure>") == 4 * views > 0  # two runs, render and labels
    assert cli.main(["compare", str(run_dir)]) == 0
    assert f"{evaluated['psnr']:.2f} dB" in capsys.readouterr().out


def test_render_of_a_held_out_frame_equals_its_evaluation_picture(evaluated, run_dir, recording, tmp_path, capsys):
    result = run_json(capsys, "render", str(run_dir), "--frame", str(recording), "0007", "--out", str(tmp_path))
    for kind, folder in (("color", "render"), ("labels", "labels"), ("depth", "depth")):
        expected = cv2.imread(str(run_dir / "eval" / folder / "0007.png"), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(cv2.imread(result["files"][kind], cv2.IMREAD_UNCHANGED), expected)
    assert cv2.imread(result["files"]["overlay"]).shape == (90, 120, 3)


def test_render_from_a_pose_takes_the_mapped_camera_unless_told_otherwise(run_dir, recording, tmp_path, capsys):
    row = (recording / "poses.csv").read_text().splitlines()[1].split(",")
    pose = "--pose=" + ",".join(row[1:8])
    for options, size in (
        ((), (90, 120)),
        (("--size", "60x40"), (40, 60)),
        (("--size", "64x48", "--fov", "90"), (48, 64)),
        (("--size", "64x48", "--intrinsics", "50,50,31.5,23.5"), (48, 64)),
    ):
        result = run_json(capsys, "render", str(run_dir), pose, *options, "--out", str(tmp_path))
        assert cv2.imread(result["files"]["color"]).shape[:2] == size
    frame = run_json(
        capsys, "render", str(run_dir), "--frame", str(recording), "0000.png", "--out", str(tmp_path / "frame")
    )
    posed = run_json(capsys, "render", str(run_dir), pose, "--out", str(tmp_path))
    difference = cv2.imread(frame["files"]["color"]).astype(int) - cv2.imread(posed["files"]["color"])
    assert np.abs(difference).mean() < 1.0  # of 255: but for the exposure that the frame had


def test_render_names_what_is_wrong_with_a_view(run_dir, recording, capsys):
    for options, message in (
        (("--pose", "0,0,0,0,0,0,3"), "has length 3.000, wanted 1"),
        (("--frame", str(recording), "9999"), "has no frame '9999'"),
        (("--pose", "0,0,0,0,0,0,1", "--intrinsics", "50,50,31,23"), "give --size WxH"),
        (("--pose", "0,0,0,0,0,0,1", "--fov", "200"), "179"),
    ):
        assert cli.main(["render", str(run_dir), *options]) == 1
        assert message in capsys.readouterr().err


def test_export_writes_a_standard_splat_and_labelled_clouds(run_dir, tmp_path, capsys):
    import open3d

    from cgc_ros.mapping.saved_map import open_map

    result = run_json(
        capsys,
        "export",
        str(run_dir),
        "--ply",
        str(tmp_path / "map.ply"),
        "--spz",
        str(tmp_path / "map.spz"),
        "--objects",
        str(tmp_path / "objects"),
        "--background",
    )
    model = open_map(run_dir).model
    header, _, body = (tmp_path / "map.ply").read_bytes().partition(b"end_header\n")
    names = [line.split()[-1] for line in header.decode().splitlines() if line.startswith("property float")]
    assert (
        len(names) == 62
        and names[:3] == ["x", "y", "z"]
        and names[-8:] == ["opacity", "scale_0", "scale_1", "scale_2", *(f"rot_{i}" for i in range(4))]
    )
    values = dict(zip(names, np.frombuffer(body, "<f4").reshape(len(model), 62).T, strict=True))
    assert np.allclose(np.stack([values["x"], values["y"], values["z"]], 1), model.means.numpy())
    assert np.allclose(1 / (1 + np.exp(-values["opacity"])), model.opacities.numpy(), atol=1e-6)
    assert np.allclose(np.exp(values["scale_1"]), model.scales.numpy()[:, 1], rtol=1e-5)
    assert np.allclose(values["f_dc_2"], model.sh.numpy()[:, 0, 2])
    assert np.allclose(values["f_rest_15"], model.sh.numpy()[:, 1, 1])  # green's first: red has 15 before it
    quaternion = np.stack([values[f"rot_{i}"] for i in range(4)], 1)
    assert np.allclose(np.linalg.norm(quaternion, axis=1), 1, atol=1e-5)
    assert np.allclose(open3d.io.read_point_cloud(str(tmp_path / "map.ply")).points, model.means.numpy(), atol=1e-6)

    assert result["spz_offset"] == [0.0, 0.0, 0.0]
    assert (tmp_path / "map.spz").stat().st_size < 0.25 * (tmp_path / "map.ply").stat().st_size

    records = json.loads((tmp_path / "objects" / "objects.json").read_text())["objects"]
    assert len(records) == len(result["objects"]) > 0
    for record in records:
        cloud = open3d.t.io.read_point_cloud(str(tmp_path / "objects" / record["file"]))
        assert len(cloud.point.positions) == record["num_points"]
        assert set(cloud.point.label.numpy().ravel().tolist()) == {record["id"]}


def test_export_writes_voxels(run_dir, tmp_path, capsys):
    from cgc_ros.mapping.saved_map import open_map

    objects = open_map(run_dir).snapshot().objects
    chosen = next(each for each in objects if not each.background)
    box = np.concatenate([chosen.points.min(axis=0) - 0.05, chosen.points.max(axis=0) + 0.05])
    command = ["export", str(run_dir), "--voxel-size", "0.02", "--box", ",".join(f"{each:.3f}" for each in box)]
    result = run_json(capsys, *command, "--voxels", str(tmp_path / "all.npz"))
    run_json(capsys, *command, "--voxels", str(tmp_path / "without.npz"), "--ignore", str(chosen.id))
    whole, without = (dict(np.load(tmp_path / f"{name}.npz")) for name in ("all", "without"))
    assert list(whole["state"].shape) == result["shape"] and abs(sum(result["shares"].values()) - 1) < 1e-3
    assert {name: each.dtype.name for name, each in whole.items()} == {
        "origin": "float64",
        "voxel_size": "float64",
        "state": "uint8",
        "distance": "float32",
        "object": "int32",
    }
    at = tuple(np.floor((chosen.points - whole["origin"]) / whole["voxel_size"]).astype(int).T)
    assert (whole["state"][at] == 2).mean() > 0.95 and (whole["object"][at] == chosen.id).mean() > 0.9
    assert (np.abs(whole["distance"][at]) <= 0.02).mean() > 0.95
    assert not (without["object"] == chosen.id).any() and (without["state"][whole["object"] == chosen.id] == 0).all()
    others = (whole["object"] >= 0) & (whole["object"] != chosen.id)
    assert (without["state"][others] == 2).all()
    assert cli.main([*command, "--voxels", str(tmp_path / "no.npz"), "--ignore", "65000"]) == 1
    assert "the map has no object 65000" in capsys.readouterr().err


def test_an_empty_map_is_exported_as_one(tmp_path):
    from cgc_ros.gaussians.model import GaussianModel
    from cgc_ros.gaussians.ply import write_gaussian_ply

    write_gaussian_ply(tmp_path / "map.ply", GaussianModel(sh_degree=1))
    assert b"element vertex 0\n" in (tmp_path / "map.ply").read_bytes()


def test_masks_that_the_recording_lacks_are_refused(tmp_path, capsys):
    recording = write_recording(tmp_path / "bare", SyntheticSequence(num_frames=2, width=40, height=30), truth=False)
    for mask in (recording / "masks").iterdir():
        mask.unlink()
    (recording / "masks").rmdir()
    assert cli.main(["map", str(recording), "--out", str(tmp_path / "run"), "--masks", "given"]) == 1
    assert "has no masks" in capsys.readouterr().err
    assert cli.main(["map", str(recording), "--out", str(tmp_path / "run"), "--masks", "sam", "--budget", "1"]) == 1
    assert "checkpoint" in capsys.readouterr().err


def test_a_damaged_map_is_named_in_one_line(run_dir, recording, tmp_path, capsys):
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    content = (run_dir / "map.cgc").read_bytes()
    (damaged / "map.cgc").write_bytes(content[: len(content) // 2])
    assert cli.main(["eval", str(damaged), str(recording)]) == 1
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and "map.cgc" in error[0]


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_what_there_is(name, recording, tmp_path):
    before = signal.getsignal(name)
    timer = threading.Timer(2.0, os.kill, (os.getpid(), name))
    timer.start()
    assert cli.main(["map", str(recording), "--out", str(tmp_path), "--budget", "60", "--rate", "20"]) == 130
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["run"]["interrupted"] and metrics["seconds_mapping"] < 30
    assert (tmp_path / "map.cgc").exists() and (tmp_path / "objects.json").exists()
    assert signal.getsignal(name) == before


def test_doctor_fits_one_screen_and_prints_json(capsys):
    assert cli.main(["doctor"]) == 0
    screen = capsys.readouterr().out
    assert len(screen.splitlines()) <= 50 and "Mapping works here" in screen
    result = run_json(capsys, "doctor")
    states = {check["name"]: check["state"] for check in result["checks"]}
    assert result["can_map"] and states["cpu"] == "ok" and states["torch"] == "ok" and states["graph"] == "ok"
    assert all(check["remedy"] for check in result["checks"] if check["state"] != "ok")


def test_doctor_says_so_with_status_1_where_nothing_can_map(monkeypatch, capsys):
    from cgc_ros import rendering

    reasons = {"cpu": "the kernels are not built: run make setup", "gsplat": "no CUDA device"}
    monkeypatch.setattr(rendering, "available_backends", lambda: reasons)
    assert cli.main(["doctor"]) == 1
    screen = capsys.readouterr().out
    assert "Mapping cannot run here" in screen and "run make setup" in screen
    monkeypatch.setattr(rendering, "available_backends", lambda: reasons | {"gsplat": ""})
    assert cli.main(["doctor"]) == 0


def test_bench_pipeline_measures_a_run(recording, tmp_path):
    assert cli.main(["bench", "pipeline", str(recording), "--budget", "3", "--json", str(tmp_path / "bench.json")]) == 0
    figures = json.loads((tmp_path / "bench.json").read_text())
    assert (
        figures["steps_per_second"] > 0 and figures["keyframes_per_second"] > 0 and figures["label_latency_ms_p50"] > 0
    )
    assert figures["machine"]["cores"] >= 1 and figures["image_size"] == "120x90"
