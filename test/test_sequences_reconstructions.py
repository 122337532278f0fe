"""COLMAP models and nerfstudio's transforms.json: conventions of axes, pixel centres and distortion, and named
faults.
"""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from recordings import CX, CY, FX, FY, HEIGHT, WIDTH, Scene, write_colmap, write_nerfstudio

from cgc_ros.frame import Intrinsics
from cgc_ros.sequences import SequenceError, open_sequence

PINHOLE = Intrinsics(WIDTH, HEIGHT, FX, FY, CX, CY)


@pytest.fixture
def scene() -> Scene:
    return Scene(count=12)  # more than ten: view10 sorts after view9 only by number


def assert_same_frames(sequence, scene: Scene) -> None:
    assert len(sequence) == scene.count
    for index, frame in enumerate(sequence):
        np.testing.assert_array_equal(frame.image, scene.image(index))
        np.testing.assert_allclose(frame.world_from_camera, scene.poses[index], atol=1e-9)
    assert [frame.stamp_ns for frame in sequence.frames] == [index * 200_000_000 for index in range(scene.count)]
    assert [index for index in range(scene.count) if sequence.is_held_out(index)] == [7]


@pytest.mark.parametrize("binary", [True, False])
def test_a_colmap_model_gives_poses_in_name_order_and_opencv_pixel_centres(tmp_path, scene, binary):
    sequence = open_sequence(write_colmap(tmp_path, scene, binary=binary))
    assert_same_frames(sequence, scene)
    assert sequence[0].intrinsics == PINHOLE
    assert (sequence.metric_scale, sequence.has_depth, sequence.name) == (None, False, tmp_path.name)


def test_a_colmap_model_can_be_opened_by_its_own_folder(tmp_path, scene):
    write_colmap(tmp_path, scene, binary=True)
    assert_same_frames(open_sequence(tmp_path / "sparse" / "0"), scene)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(
    ("model", "parameters", "expected"),
    [
        ("SIMPLE_PINHOLE", (50, 32, 24), ("none", ())),
        ("SIMPLE_RADIAL", (50, 32, 24, 0.1), ("plumb_bob", (0.1, 0, 0, 0))),
        ("RADIAL", (50, 32, 24, 0.1, 0.2), ("plumb_bob", (0.1, 0.2, 0, 0))),
        ("OPENCV", (50, 51, 32, 24, 0.1, 0.2, 0.3, 0.4), ("plumb_bob", (0.1, 0.2, 0.3, 0.4))),
        ("OPENCV_FISHEYE", (50, 51, 32, 24, 0.1, 0.2, 0.3, 0.4), ("equidistant", (0.1, 0.2, 0.3, 0.4))),
        ("FULL_OPENCV", (50, 51, 32, 24, *range(8)), ("rational_polynomial", tuple(range(8)))),
    ],
)
def test_colmap_camera_models_map_to_opencv_ones(tmp_path, scene, binary, model, parameters, expected):
    sequence = open_sequence(write_colmap(tmp_path, scene, binary=binary, model=model, parameters=parameters))
    intrinsics = sequence.frames[0].intrinsics
    assert (intrinsics.distortion_model, intrinsics.distortion) == expected
    assert (intrinsics.fx, intrinsics.fy) == (50, parameters[1] if len(parameters) >= 8 else 50)
    assert (intrinsics.cx, intrinsics.cy) == (31.5, 23.5)


@pytest.mark.parametrize("binary", [True, False])
def test_an_unsupported_colmap_camera_is_named_with_the_remedy(tmp_path, scene, binary):
    write_colmap(tmp_path, scene, binary=binary, model="FOV", parameters=(50, 51, 32, 24, 0.9))
    with pytest.raises(SequenceError, match=r"FOV.*image_undistorter"):
        open_sequence(tmp_path)


def test_a_truncated_colmap_model_is_named(tmp_path, scene):
    write_colmap(tmp_path, scene, binary=True)
    images = tmp_path / "sparse" / "0" / "images.bin"
    images.write_bytes(images.read_bytes()[:-30])
    with pytest.raises(SequenceError, match="end too early"):
        open_sequence(tmp_path)


def test_a_broken_line_of_a_colmap_model_is_named(tmp_path, scene):
    write_colmap(tmp_path, scene, binary=False)
    images = tmp_path / "sparse" / "0" / "images.txt"
    lines = images.read_text().splitlines()
    lines[3] = lines[3].replace(" ", " x", 1)
    images.write_text("\n".join(lines))
    with pytest.raises(SequenceError, match="line 4"):
        open_sequence(tmp_path)


def test_images_that_are_elsewhere_can_be_said(tmp_path, scene):
    write_colmap(tmp_path, scene, binary=True)
    (tmp_path / "images").rename(tmp_path / "pictures")
    with pytest.raises(SequenceError, match="image_folder="):
        open_sequence(tmp_path)
    assert_same_frames(open_sequence(tmp_path, image_folder=tmp_path / "pictures"), scene)


def test_colmap_images_without_files_are_left_out_and_reported(tmp_path, scene):
    write_colmap(tmp_path, scene, binary=True)
    (tmp_path / "images" / "view3.png").unlink()
    sequence = open_sequence(tmp_path)
    assert len(sequence) == scene.count - 1
    assert "1 of 12 frames have no image" in sequence.warnings[0] and "view3.png" in sequence.warnings[0]


@pytest.mark.parametrize("suffix", [".png", ""])
def test_nerfstudio_axes_and_pixel_centres_become_opencv_ones(tmp_path, scene, suffix):
    sequence = open_sequence(write_nerfstudio(tmp_path, scene, suffix=suffix))
    assert_same_frames(sequence, scene)
    assert sequence[0].intrinsics == PINHOLE
    assert sequence.metric_scale is None


def test_nerfstudio_can_be_opened_by_its_file(tmp_path, scene):
    write_nerfstudio(tmp_path, scene)
    assert_same_frames(open_sequence(tmp_path / "transforms.json"), scene)


def test_nerfstudio_depth_is_scaled_to_metres(tmp_path, scene):
    sequence = open_sequence(write_nerfstudio(tmp_path, scene, depth=True))
    assert sequence.has_depth and sequence.metric_scale
    np.testing.assert_allclose(sequence[5].depth, scene.depth_m(5), atol=1e-3)


def test_a_frame_of_nerfstudio_may_have_intrinsics_of_its_own(tmp_path, scene):
    write_nerfstudio(tmp_path, scene)
    document = json.loads((tmp_path / "transforms.json").read_text())
    for entry in document["frames"]:
        if entry["file_path"] == "images/frame_2.png":
            entry["fl_x"] = 77.0
    (tmp_path / "transforms.json").write_text(json.dumps(document))
    sequence = open_sequence(tmp_path)
    assert (sequence[1].intrinsics.fx, sequence[2].intrinsics.fx) == (FX, 77.0)


def test_a_field_of_view_stands_in_for_a_focal_length(tmp_path, scene):
    write_nerfstudio(tmp_path, scene)
    document = json.loads((tmp_path / "transforms.json").read_text())
    for key in ("fl_x", "fl_y", "cx", "cy", "w", "h"):
        del document[key]
    document["camera_angle_x"] = math.pi / 2  # 90 degrees: the focal length is half the width
    (tmp_path / "transforms.json").write_text(json.dumps(document))
    intrinsics = open_sequence(tmp_path)[0].intrinsics
    assert (intrinsics.fx, intrinsics.fy) == pytest.approx((WIDTH / 2, WIDTH / 2))
    assert (intrinsics.cx, intrinsics.cy) == (WIDTH / 2 - 0.5, HEIGHT / 2 - 0.5)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"k1": 0.1, "k2": 0.2, "p1": 0.3, "p2": 0.4}, ("plumb_bob", (0.1, 0.2, 0.3, 0.4, 0.0))),
        (
            {"camera_model": "OPENCV_FISHEYE", "k1": 0.1, "k2": 0.2, "k3": 0.3, "k4": 0.4},
            ("equidistant", (0.1, 0.2, 0.3, 0.4)),
        ),
    ],
)
def test_nerfstudio_distortion_maps_to_opencv_models(tmp_path, scene, document, expected):
    intrinsics = open_sequence(write_nerfstudio(tmp_path, scene, **document)).frames[0].intrinsics
    assert (intrinsics.distortion_model, intrinsics.distortion) == expected


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ({"camera_model": "EQUIRECTANGULAR"}, "EQUIRECTANGULAR"),
        ({"frames": []}, "no frames"),
        ({"frames": "many"}, "no list"),
        ({"fl_x": "long"}, "no number"),
        ({"frames": [{"file_path": "images/frame_1.png", "transform_matrix": [[1, 2], [3, 4]]}]}, "frame_1.*2x2"),
    ],
)
def test_a_transforms_json_that_cannot_be_read_is_named(tmp_path, scene, document, named):
    write_nerfstudio(tmp_path, scene, **document)
    with pytest.raises(SequenceError, match=named):
        open_sequence(tmp_path)


def test_nerfstudio_frames_without_files_or_with_lost_poses_are_left_out_and_reported(tmp_path, scene):
    write_nerfstudio(tmp_path, scene)
    (tmp_path / "images" / "frame_3.png").unlink()
    document = json.loads((tmp_path / "transforms.json").read_text())
    document["frames"][0]["transform_matrix"][0][3] = float("nan")
    (tmp_path / "transforms.json").write_text(json.dumps(document))
    sequence = open_sequence(tmp_path)
    assert len(sequence) == scene.count - 2
    assert any("frame_3.png" in text for text in sequence.warnings) and any(
        "not finite" in text for text in sequence.warnings
    )
