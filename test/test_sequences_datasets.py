"""The layouts of public data sets and phone apps: conventions of axes, units and calibrations, and who reads what."""

from __future__ import annotations

import json
import shutil
import sys

import dataset_recordings as datasets
import numpy as np
import pytest
from recordings import CX, CY, FX, FY, HEIGHT, WIDTH, Scene, write_intrinsics, write_nerfstudio, write_png

from cgc_ros.frame import Intrinsics
from cgc_ros.sequences import READERS, SequenceError, open_sequence

PINHOLE = Intrinsics(WIDTH, HEIGHT, FX, FY, CX, CY)
WRITERS = {
    "tum": datasets.write_tum,
    "icl_nuim": datasets.write_icl_nuim,
    "seven_scenes": datasets.write_seven_scenes,
    "scannet": datasets.write_scannet,
    "replica": datasets.write_replica,
    "polycam": datasets.write_polycam,
    "record3d": datasets.write_record3d,
    "arkit_scenes": datasets.write_arkit_scenes,
    "kitti": datasets.write_kitti,
}
HAVE_STAMPS = ("tum", "polycam", "record3d", "arkit_scenes", "kitti")


@pytest.fixture
def scene() -> Scene:
    return Scene(count=11)  # 10 sorts after 9 only by number


def told(sequence, *words: str) -> bool:
    return any(all(word in text for word in words) for text in sequence.warnings)


@pytest.mark.parametrize("name", WRITERS)
def test_a_recording_comes_back_as_it_was(tmp_path, scene, name):
    sequence = open_sequence(WRITERS[name](tmp_path, scene))
    assert sequence.source.startswith(f"{name} (") and sequence.warnings == ()
    assert (len(sequence), sequence.metric_scale) == (scene.count, True)
    for index, frame in enumerate(sequence):
        np.testing.assert_array_equal(frame.image, scene.image(index))
        np.testing.assert_allclose(frame.world_from_camera, scene.poses[index], atol=2e-6)
        assert (frame.depth[:, :1] == 0).all()
        np.testing.assert_allclose(frame.depth[:, 8:], scene.depth_m(index)[:, 8:], atol=2.1e-3)
        assert frame.intrinsics == PINHOLE
        if name in HAVE_STAMPS:
            assert frame.stamp_ns == pytest.approx(scene.stamp_ns(index), abs=1000)


@pytest.mark.parametrize("name", WRITERS)
def test_the_unit_of_depth_can_be_said_to_every_reader(tmp_path, scene, name):
    sequence = open_sequence(WRITERS[name](tmp_path, scene), depth_unit=0.5)
    assert np.median(sequence[0].depth) >= 0.5  # one unit, at the least


@pytest.mark.parametrize("name", WRITERS)
def test_an_image_without_a_pose_and_one_without_depth_cost_no_more_than_that(tmp_path, name):
    scene = Scene(count=6)
    folder = WRITERS[name](tmp_path, scene)
    depths = sorted(
        file for file in tmp_path.rglob("*") if "depth" in str(file.relative_to(tmp_path)) and file.is_file()
    )
    depths = [file for file in depths if file.name != "depth.txt"]
    depths[0].unlink()
    frames = list(open_sequence(folder))
    assert len(frames) == 6
    assert [frame.depth is None for frame in frames] == [True, *[False] * 5]


# calibrations


@pytest.mark.parametrize("name", ["tum", "seven_scenes", "icl_nuim"])
def test_a_calibration_may_lie_beside_or_be_named(tmp_path, scene, name):
    folder = WRITERS[name](tmp_path / "there", scene)
    (folder / "K.txt").unlink()
    write_intrinsics(folder, fx=77.0)
    assert open_sequence(folder)[0].intrinsics.fx == 77.0
    other = tmp_path / "elsewhere.txt"
    datasets.write_matrix(other, datasets.K * [[2.0, 1.0, 1.0], [1.0, 2.0, 1.0], [1.0, 1.0, 1.0]])
    assert open_sequence(folder, intrinsics=str(other))[0].intrinsics.fx == 2 * FX


def test_without_any_calibration_the_remedy_is_named(tmp_path, scene):
    folder = datasets.write_tum(tmp_path, scene)
    (folder / "K.txt").unlink()
    with pytest.raises(SequenceError, match="no calibration.*intrinsics.json.*3x3.*--read intrinsics=FILE") as caught:
        open_sequence(folder)
    assert caught.value.reason == "missing_calibration"
    with pytest.raises(SequenceError, match="nowhere.txt is no file"):
        open_sequence(folder, intrinsics="nowhere.txt")


def test_a_matrix_of_another_size_is_refused(tmp_path, scene):
    folder = datasets.write_tum(tmp_path, scene)
    datasets.write_matrix(folder / "K.txt", datasets.K * [[2.0, 1.0, 2.0], [1.0, 2.0, 2.0], [1.0, 1.0, 1.0]])
    with pytest.raises(SequenceError, match=r"principal point \(62, 47\).*64x48.*width and height"):
        open_sequence(folder)


def test_scannet_s_intrinsics_are_for_its_own_size_however_images_were_exported(tmp_path, scene):
    folder = datasets.write_scannet(tmp_path, scene)
    k = np.array([[1170.0, 0.0, 647.0], [0.0, 1170.0, 483.0], [0.0, 0.0, 1.0]])
    datasets.write_matrix(folder / "intrinsic" / "intrinsic_color.txt", k)
    sequence = open_sequence(folder)
    assert sequence[0].intrinsics.fx == pytest.approx(1170 * WIDTH / 1296)
    assert told(sequence, "1296x968", "scaled")


def test_a_freiburg_folder_brings_its_published_calibration(tmp_path):
    scene = Scene(count=2)
    folder = datasets.write_tum(tmp_path / "rgbd_dataset_freiburg3_desk", scene)
    (folder / "K.txt").unlink()
    for image in (folder / "rgb").iterdir():
        write_png(image, np.zeros((480, 640, 3), np.uint8))
    sequence = open_sequence(folder)
    assert sequence[0].intrinsics.fx == 535.4 and told(sequence, "published")


def test_seven_scenes_nominal_camera_is_told(tmp_path):
    scene = Scene(count=2)
    folder = datasets.write_seven_scenes(tmp_path, scene)
    (folder / "K.txt").unlink()
    assert told(open_sequence(folder), "585", "intrinsics=FILE")


# poses and depth that are not there


def test_scannet_s_lost_poses_cost_their_frames(tmp_path, scene):
    folder = datasets.write_scannet(tmp_path, scene)
    datasets.write_matrix(folder / "pose" / "3.txt", np.full((4, 4), -np.inf))
    (folder / "pose" / "5.txt").unlink()
    sequence = open_sequence(folder)
    assert len(sequence) == scene.count - 2
    assert told(sequence, "not finite (3.png)") and told(sequence, "no pose (5.png)")


def test_tum_images_far_from_any_pose_are_left_out(tmp_path, scene):
    folder = datasets.write_tum(tmp_path, scene)
    lines = (folder / "groundtruth.txt").read_text().splitlines()
    (folder / "groundtruth.txt").write_text("\n".join(lines[:-2]) + "\n")
    sequence = open_sequence(folder)
    assert len(sequence) == scene.count - 1 and told(sequence, "1 of 11 frames have no pose")


def test_invalid_depth_of_the_data_sets_is_zero(tmp_path, scene):
    folder = datasets.write_seven_scenes(tmp_path, scene)
    depth = np.full((HEIGHT, WIDTH), 65535, np.uint16)
    depth[:, :10], depth[:, 10:20] = 0, 1500
    write_png(folder / "frame-000001.depth.png", depth)
    assert np.unique(open_sequence(folder)[1].depth).tolist() == pytest.approx([0.0, 1.5])


# forms of one format


def test_a_scene_of_several_seven_scenes_sequences_is_read_whole(tmp_path, scene):
    for name in ("seq-01", "seq-02"):
        datasets.write_seven_scenes(tmp_path / name, scene)
        shutil.move(tmp_path / name / "K.txt", tmp_path / "K.txt")
    sequence = open_sequence(tmp_path)
    assert len(sequence) == 2 * scene.count
    assert (sequence.frames[0].name, sequence.frames[-1].name) == ("seq-01_frame-000000", "seq-02_frame-000010")


def test_a_bundle_fusion_recording_brings_its_calibration(tmp_path, scene):
    folder = datasets.write_seven_scenes(tmp_path, scene)
    (folder / "K.txt").unlink()
    k = f"{FX} 0 {CX} 0 0 {FY} {CY} 0 0 0 1 0 0 0 0 1"
    (folder / "info.txt").write_text(
        f"m_colorWidth = {WIDTH}\nm_colorHeight = {HEIGHT}\nm_depthShift = 1000\nm_calibrationColorIntrinsic = {k}\n"
    )
    assert open_sequence(folder)[0].intrinsics == PINHOLE


def test_polycam_without_correction_and_opened_by_its_keyframes(tmp_path, scene):
    folder = datasets.write_polycam(tmp_path, scene, corrected=False)
    for path in (folder, folder / "keyframes"):
        np.testing.assert_allclose(open_sequence(path)[4].world_from_camera, scene.poses[4], atol=1e-9)


def test_an_unzipped_r3d_is_read(tmp_path, scene):
    sequence = open_sequence(datasets.write_record3d(tmp_path, scene, zipped=True))
    np.testing.assert_allclose(sequence[4].world_from_camera, scene.poses[4], atol=1e-9)
    assert np.median(sequence[4].depth) == pytest.approx(1.4)


@pytest.mark.parametrize(("zipped", "package"), [(False, "OpenEXR"), (True, "liblzfse")])
def test_depth_that_needs_a_package_costs_only_depth_and_names_the_package(
    tmp_path, scene, monkeypatch, zipped, package
):
    monkeypatch.setitem(sys.modules, package, None)  # as where it is not installed
    folder = datasets.write_record3d(tmp_path, scene, zipped=zipped)
    for file in [*(folder / "depth").glob("*.npy"), *(folder / "rgbd").glob("*.depth")]:
        file.write_bytes(b"compressed")
        file.rename(file.with_suffix(".depth" if zipped else ".exr"))
    sequence = open_sequence(folder)
    assert [frame.depth for frame in sequence] == [None] * scene.count
    assert sum("pip install" in text for text in sequence.warnings) == 1


@pytest.mark.parametrize("channels", [["R", "G", "B"], ["Z"]])
def test_openexr_depth_is_in_metres(tmp_path, scene, channels):
    openexr = pytest.importorskip("OpenEXR")
    folder = datasets.write_record3d(tmp_path, scene)
    for index in range(scene.count):
        depth = np.load(folder / "depth" / f"{index}.npy")
        header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
        openexr.File(header, dict.fromkeys(channels, depth)).write(str(folder / "depth" / f"{index}.exr"))
        (folder / "depth" / f"{index}.npy").unlink()
    assert np.median(open_sequence(folder)[3].depth) == pytest.approx(1.3)


def test_lzfse_depth_is_decompressed(tmp_path, scene):
    lzfse = pytest.importorskip("liblzfse")
    folder = datasets.write_record3d(tmp_path, scene, zipped=True)
    for file in (folder / "rgbd").glob("*.depth"):
        file.write_bytes(lzfse.compress(file.read_bytes()))
    assert np.median(open_sequence(folder)[3].depth) == pytest.approx(1.3)


def test_kitti_poses_may_lie_where_the_benchmark_has_them(tmp_path, scene):
    folder = datasets.write_kitti(tmp_path / "sequences" / "04", scene)
    (tmp_path / "poses").mkdir()
    (folder / "poses.txt").rename(tmp_path / "poses" / "04.txt")
    np.testing.assert_allclose(open_sequence(folder)[4].world_from_camera, scene.poses[4], atol=1e-9)


# who reads what


@pytest.mark.parametrize("name", WRITERS)
def test_each_layout_is_recognised_by_its_own_reader_alone(tmp_path, scene, name):
    folder = WRITERS[name](tmp_path, scene)
    assert [reader for reader, each in READERS.items() if each.module.recognises(folder)] == [name]


def test_where_several_readers_would_do_the_choice_is_told_and_can_be_made(tmp_path, scene):
    folder = write_nerfstudio(datasets.write_tum(tmp_path, scene), scene)
    sequence = open_sequence(folder)
    assert sequence.source.startswith("nerfstudio") and told(sequence, "tum", "reader=")
    assert open_sequence(folder, reader="tum").source.startswith("tum")
    with pytest.raises(SequenceError, match="cannot be read as kitti: it needs poses.txt"):
        open_sequence(folder, reader="kitti")
    with pytest.raises(SequenceError, match="reader=kity: there is none"):
        open_sequence(folder, reader="kity")


@pytest.mark.parametrize(
    ("name", "file", "text", "named"),
    [
        ("tum", "groundtruth.txt", "nothing here\n", "stamp tx ty tz"),
        ("tum", "rgb.txt", "rgb/1.png\n", "rgb.txt, line 1"),
        ("kitti", "times.txt", "now\n", "seconds"),
        ("polycam", "keyframes/corrected_cameras/1000000000.json", "{}", "no pose (1000000000)"),
        ("polycam", "keyframes/corrected_cameras/1000000000.json", "{", "1000000000.json is not JSON"),
        ("record3d", "metadata.json", json.dumps({"poses": []}), "no poses"),
        ("record3d", "metadata.json", json.dumps({"poses": [[0, 0, 0, 1, 0, 0, 0]]}), "nine numbers of K"),
        ("arkit_scenes", "lowres_wide.traj", "1 2 3\n", "lowres_wide.traj, line 1"),
        ("replica", "../cam_params.json", "{}", "cam_params.json must hold"),
    ],
)
def test_what_is_broken_is_named(tmp_path, scene, name, file, text, named):
    folder = WRITERS[name](tmp_path, scene)
    (folder / file).write_text(text)
    try:
        warnings = open_sequence(folder).warnings
    except SequenceError as error:
        warnings = (str(error),)
    assert any(named in warning for warning in warnings)
