"""Image files as people have them: other sizes and units, transparency, equal names, Windows' paths, odd poses."""

from __future__ import annotations

import codecs
import json

import cv2
import numpy as np
import pytest
from recordings import (
    CX,
    FX,
    FY,
    HEIGHT,
    WIDTH,
    Scene,
    write_colmap,
    write_folder,
    write_nerfstudio,
    write_png,
)

from cgc_ros.sequences import SequenceError, open_sequence


@pytest.fixture
def scene() -> Scene:
    return Scene(count=4)


def told(sequence, *words: str) -> bool:
    return any(all(word in text for word in words) for text in sequence.warnings)


def edit_json(path, edit) -> None:
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


# sizes


@pytest.mark.parametrize(("width", "height"), [(32, 24), (128, 96), (16, 12), (63, 47)])
def test_depth_of_another_size_is_resampled_to_the_nearest(tmp_path, scene, width, height):
    folder = write_folder(tmp_path, scene, truth=False)
    depth = np.full((height, width), 2000, np.uint16)
    depth[:, : width // 2] = 1000
    write_png(folder / "depth" / "0002.png", depth)
    sequence = open_sequence(folder)
    frame = sequence[2]
    assert frame.depth.shape == (HEIGHT, WIDTH)
    assert set(np.unique(frame.depth)) == {1.0, 2.0}  # nothing in between
    assert (frame.depth[:, : WIDTH // 2 - 1] == 1.0).all() and (frame.depth[:, WIDTH // 2 + 1 :] == 2.0).all()
    assert sequence.warnings == ()


def test_depth_of_another_aspect_is_left_out_and_told_once(tmp_path, scene):
    folder = write_folder(tmp_path, scene, truth=False)
    for index in range(scene.count):
        write_png(folder / "depth" / f"{index:04d}.png", np.full((32, 32), 1000, np.uint16))
    sequence = open_sequence(folder)
    assert not sequence.has_depth and all(frame.depth is None for frame in sequence)
    assert sum("another aspect" in text for text in sequence.warnings) == 1
    assert told(sequence, "4 depth images", "32x32", "64x48", "registered")


def test_depth_whose_size_shows_only_when_it_is_loaded_is_left_out_all_the_same(tmp_path, scene):
    folder = write_folder(tmp_path, scene, truth=False)
    for index in range(scene.count):
        (folder / "depth" / f"{index:04d}.png").unlink()
        np.save(folder / "depth" / f"{index:04d}.npy", np.ones((32, 32), np.float32))
    sequence = open_sequence(folder)
    assert [frame.depth for frame in sequence] == [None] * scene.count
    assert sum("another aspect" in text for text in sequence.warnings) == 1


@pytest.mark.parametrize(("width", "height"), [(16, 12), (128, 96)])
def test_intrinsics_of_another_size_are_scaled_to_the_images(tmp_path, scene, width, height):
    folder = write_colmap(tmp_path, scene, binary=True)
    for image in (folder / "images").iterdir():
        write_png(image, np.zeros((height, width, 3), np.uint8))
    sequence = open_sequence(folder)
    intrinsics = sequence[0].intrinsics
    share = width / WIDTH
    assert (intrinsics.width, intrinsics.height) == (width, height)
    assert (intrinsics.fx, intrinsics.fy) == pytest.approx((FX * share, FY * share))
    assert intrinsics.cx == pytest.approx((CX + 0.5) * share - 0.5)  # edges of pixels stay edges of pixels
    assert sequence.intrinsics(0) == intrinsics
    assert told(sequence, f"4 images are {width}x{height}", "64x48", "scaled") and len(sequence.warnings) == 1


@pytest.mark.parametrize("chosen", [{"image_folder": "images_4"}, {}])
def test_colmap_images_that_are_only_there_scaled_down_are_found(tmp_path, scene, chosen):
    folder = write_colmap(tmp_path, scene, binary=True)
    (folder / "images").rename(folder / "images_4")
    for image in (folder / "images_4").iterdir():
        write_png(image, np.zeros((HEIGHT // 4, WIDTH // 4, 3), np.uint8))
    assert open_sequence(folder, **chosen)[0].intrinsics.fx == pytest.approx(FX / 4)


def test_nerfstudio_sizes_twice_the_files_are_scaled(tmp_path, scene):
    sequence = open_sequence(
        write_nerfstudio(tmp_path, scene, w=2 * WIDTH, h=2 * HEIGHT, fl_x=2 * FX, fl_y=2 * FY, cx=64.0, cy=48.0)
    )
    assert (sequence[1].intrinsics.fx, sequence[1].intrinsics.cx) == pytest.approx((FX, 31.5))


# units of depth


def test_depth_units_can_be_said(tmp_path, scene):
    folder = write_folder(tmp_path, scene, truth=False)
    write_png(folder / "depth" / "0001.png", np.full((HEIGHT, WIDTH), 5000, np.uint16))
    assert open_sequence(folder, depth_unit=0.0002)[1].depth[0, 0] == pytest.approx(1.0)
    with pytest.raises(SequenceError, match="depth_unit=-1.*metres per unit"):
        open_sequence(folder, depth_unit=-1.0)


def test_float_depth_is_in_metres_and_saturated_depth_is_invalid(tmp_path, scene):
    folder = write_folder(tmp_path, scene, truth=False)
    (folder / "depth" / "0000.png").unlink()
    np.save(
        folder / "depth" / "0000.npy", np.array([[1.5, np.inf], [np.nan, -1.0]], np.float32).repeat(24, 0).repeat(32, 1)
    )
    write_png(folder / "depth" / "0001.png", np.full((HEIGHT, WIDTH), 65535, np.uint16))
    sequence = open_sequence(folder)
    assert set(np.unique(sequence[0].depth)) == {0.0, 1.5}
    assert not sequence[1].depth.any()


# masks, transparency


def write_rgba(path, image: np.ndarray, alpha: np.ndarray) -> None:
    cv2.imwrite(str(path), np.dstack([image[..., ::-1], alpha]))


def test_transparent_pixels_are_ignored(tmp_path, scene):
    folder = write_folder(tmp_path, scene, truth=False)
    alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
    alpha[:10], alpha[10:20] = 0, 200
    write_rgba(folder / "images" / "0001.png", scene.image(1), alpha)
    sequence = open_sequence(folder)
    np.testing.assert_array_equal(sequence[1].ignore, alpha < 128)
    np.testing.assert_array_equal(sequence[1].image, scene.image(1))
    assert sequence.has_ignore and sequence[0].ignore is None


def test_a_folder_s_ignore_images_and_transparency_are_joined(tmp_path, scene):
    folder = write_folder(tmp_path, scene, truth=False)
    alpha, ignore = np.full((HEIGHT, WIDTH), 255, np.uint8), np.zeros((HEIGHT, WIDTH), np.uint8)
    alpha[:10], ignore[20:] = 0, 7
    write_rgba(folder / "images" / "0001.png", scene.image(1), alpha)
    write_png(folder / "ignore" / "0001.png", ignore)
    np.testing.assert_array_equal(open_sequence(folder)[1].ignore, (alpha == 0) | (ignore > 0))


@pytest.mark.parametrize("suffix", [".png", ".png.png"])
def test_masks_of_two_values_beside_a_colmap_model_are_ignore_masks(tmp_path, scene, suffix):
    folder = write_colmap(tmp_path, scene, binary=True)
    keep = np.full((HEIGHT, WIDTH), 255, np.uint8)
    keep[:, :20] = 0
    for index in range(scene.count):
        write_png(folder / "masks" / f"view{index}{suffix}", keep)
    sequence = open_sequence(folder)
    assert not sequence.has_masks and sequence[0].masks is None
    np.testing.assert_array_equal(sequence[0].ignore, keep == 0)
    assert told(sequence, "0 and 255", "ignored")


def test_masks_of_several_objects_beside_a_colmap_model_stay_masks(tmp_path, scene):
    folder = write_colmap(tmp_path, scene, binary=True)
    for index in range(scene.count):
        write_png(folder / "masks" / f"view{index}.png", scene.labels(index))  # one id an image, another in each
    sequence = open_sequence(folder)
    assert sequence.has_masks and not sequence.has_ignore
    np.testing.assert_array_equal(sequence[2].masks, scene.labels(2))


def test_nerfstudio_s_mask_path_says_what_to_ignore(tmp_path, scene):
    folder = write_nerfstudio(tmp_path, scene)
    keep = np.zeros((HEIGHT // 2, WIDTH // 2), np.uint8)  # of the same aspect, another size
    keep[:, :16] = 255
    write_png(folder / "masks" / "1.png", keep)

    def name_masks(document):
        document["frames"][0]["mask_path"] = "masks/missing.png"
        document["frames"][2]["mask_path"] = "masks\\1.png"

    edit_json(folder / "transforms.json", name_masks)
    sequence = open_sequence(folder)
    assert not sequence[1].ignore[:, :32].any() and sequence[1].ignore[:, 32:].all()
    assert sequence[3].ignore is None and told(sequence, "mask_path", "missing.png")


# names and text


def test_images_of_equal_names_keep_names_of_their_own(tmp_path, scene):
    folder = write_nerfstudio(tmp_path, scene)
    names_on_disk = ("images/a.png", "images_2/a.png", "images/a.jpg", "x_y/1.png")
    for index, name in enumerate(names_on_disk):
        write_png(folder / name, scene.image(index))

    def rename(document):
        for entry, name in zip(document["frames"], names_on_disk, strict=True):
            entry["file_path"] = name

    edit_json(folder / "transforms.json", rename)
    names = [info.name for info in open_sequence(folder).frames]
    assert len(set(names)) == 4 and "x_y_1" in names and "images_2_a" in names


def test_the_same_image_twice_is_counted(tmp_path, scene):
    folder = write_nerfstudio(tmp_path, scene)
    edit_json(
        folder / "transforms.json",
        lambda document: [entry.update(file_path="images/frame_0.png") for entry in document["frames"]],
    )
    assert len({info.name for info in open_sequence(folder).frames}) == 4


@pytest.mark.parametrize(
    "prefix", ["images\\", ".\\images\\", "C:\\Users\\me\\scan\\images\\", "/home/me/scan/images/"]
)
def test_paths_of_other_machines_are_found(tmp_path, scene, prefix):
    folder = write_nerfstudio(tmp_path, scene)

    def respell(document):
        for entry in document["frames"]:
            entry["file_path"] = entry["file_path"].replace("images/", prefix)

    edit_json(folder / "transforms.json", respell)
    sequence = open_sequence(folder)
    assert len(sequence) == scene.count and sequence.warnings == ()
    np.testing.assert_array_equal(sequence[2].image, scene.image(2))


@pytest.mark.parametrize("binary", [True, False])
def test_a_colmap_model_made_on_windows_is_read(tmp_path, scene, binary):
    folder = write_colmap(tmp_path, scene, binary=binary, prefix="left\\")
    (folder / "images" / "left").mkdir()
    for image in (folder / "images").glob("*.png"):
        image.rename(folder / "images" / "left" / image.name.replace("left\\", ""))
    sequence = open_sequence(folder)
    assert [info.name for info in sequence.frames] == [f"left_view{index}" for index in range(scene.count)]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize(
    "write", [write_folder, write_nerfstudio, lambda path, scene: write_colmap(path, scene, binary=False)]
)
def test_byte_order_marks_are_read_over(tmp_path, scene, encoding, write):
    folder = write(tmp_path, scene)
    (folder / "heldout.txt").write_text("0002.png\n")
    for file in folder.rglob("*"):
        if file.suffix in (".json", ".csv", ".txt"):
            file.write_bytes(file.read_text().encode(encoding))
            assert file.read_bytes().startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE))
    assert len(open_sequence(folder)) == scene.count


# poses


def set_pose(folder, index: int, edit) -> None:
    def change(document):
        entry = next(each for each in document["frames"] if each["file_path"] == f"images/frame_{index}.png")
        entry["transform_matrix"] = edit(np.array(entry["transform_matrix"])).tolist()

    edit_json(folder / "transforms.json", change)


def scaled(factor):
    return lambda pose: pose @ np.diag([*np.broadcast_to(factor, 3), 1.0])


@pytest.mark.parametrize("scale", [1.01, 0.95])
def test_a_small_scale_of_a_rotation_is_normalised_and_told(tmp_path, scene, scale):
    folder = write_nerfstudio(tmp_path, scene)
    set_pose(folder, 1, scaled(scale))
    sequence = open_sequence(folder)
    np.testing.assert_allclose(sequence[1].world_from_camera, scene.poses[1], atol=1e-9)
    assert told(sequence, f"scale of up to {scale}", "frame_1.png", "normalised")


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (scaled(3.0), "scale of 3"),
        (scaled([1.1, 1.0, 0.9]), "sheared"),
        (scaled(0.0), "scale of 0"),
        (scaled([1.0, 1.0, -1.0]), "determinant is -1"),
        (np.transpose, "last row"),
        (lambda pose: pose[:2, :2], "2x2"),
    ],
)
def test_one_bad_pose_costs_one_frame(tmp_path, scene, edit, named):
    folder = write_nerfstudio(tmp_path, scene)
    set_pose(folder, 1, edit)
    sequence = open_sequence(folder)
    assert len(sequence) == scene.count - 1
    assert told(sequence, named, "frame_1.png", "left out")


def looking_at_origin(position) -> np.ndarray:
    forward = -np.asarray(position) / np.linalg.norm(position)
    right = np.cross([0.0, 1.0, 0.0], forward) / np.linalg.norm(np.cross([0.0, 1.0, 0.0], forward))
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    pose[:3, 3] = position
    return pose


@pytest.mark.parametrize(("flipped", "column"), [(1, "second column (y)"), (2, "third column (z)")])
def test_mirrored_poses_are_refused_with_the_axis_to_flip(tmp_path, flipped, column):
    scene = Scene(poses=[looking_at_origin([2 * np.sin(a), 0.3, 2 * np.cos(a)]) for a in (0.0, 0.5, 1.0, 1.5)], count=0)
    scene.count = 4
    folder = write_nerfstudio(tmp_path, scene)
    signs = np.ones(3)
    signs[flipped] = -1.0
    for index in range(4):
        set_pose(folder, index, scaled(signs))
    with pytest.raises(SequenceError, match="4 of 4 poses are mirrored.*left-handed") as caught:
        open_sequence(folder)
    assert column in str(caught.value)


# far from the origin


def test_a_recording_in_utm_is_recentred_about_its_first_camera(tmp_path, scene):
    offset = np.array([412345.678, 5654321.123, 97.5])
    for pose in scene.poses:
        pose[:3, 3] += offset
    folder = write_folder(tmp_path, scene)
    np.savez(folder / "object_points.npz", **{"5": offset + np.ones((4, 3))})
    sequence = open_sequence(folder)
    np.testing.assert_allclose(sequence.origin, scene.poses[0][:3, 3], atol=1e-6)
    for index in range(scene.count):
        pose = sequence[index].world_from_camera
        np.testing.assert_allclose(pose[:3, 3] + sequence.origin, scene.poses[index][:3, 3], atol=1e-6)
        assert np.abs(pose[:3, 3].astype(np.float32) - pose[:3, 3]).max() < 1e-6
    np.testing.assert_allclose(sequence.truth.object_points[5] + sequence.origin, offset + np.ones((4, 3)), atol=1e-5)
    assert told(sequence, "from the origin", "first camera") and len(sequence.warnings) == 1


def test_a_recording_near_the_origin_stays_where_it_is(tmp_path, scene):
    sequence = open_sequence(write_folder(tmp_path, scene))
    assert not sequence.origin.any()
    sequence.recentre(np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(sequence[1].world_from_camera[:3, 3], scene.poses[1][:3, 3] - (1, 2, 3))


# COLMAP's models


def test_image_lines_without_points_lines_between_them_are_all_read(tmp_path, scene):
    folder = write_colmap(tmp_path, scene, binary=False)
    images = folder / "sparse" / "0" / "images.txt"
    images.write_text("\n".join(line for line in images.read_text().splitlines() if line) + "\n")
    sequence = open_sequence(folder)
    assert len(sequence) == scene.count
    np.testing.assert_allclose(sequence[3].world_from_camera, scene.poses[3], atol=1e-9)


def split_model(folder, scene, parts: dict[str, list[int]], moved=lambda pose: pose) -> None:
    """The one model of `folder` as several, by name and images; the second lies where `moved` puts it."""
    (folder / "sparse" / "0").rename(folder / "whole")
    for number, (name, indices) in enumerate(parts.items()):
        part = Scene(count=0, poses=[])
        part.poses = [moved(pose) if number else pose for pose in scene.poses]
        write_colmap(folder, part, binary=True, indices=indices, model_name=name, with_images=False)


def test_of_several_models_the_largest_is_read_and_the_others_are_named(tmp_path):
    scene = Scene(count=9)
    folder = write_colmap(tmp_path, scene, binary=True)
    split_model(folder, scene, {"0": [0, 1], "1": [2, 3, 4, 5, 6], "2": [7, 8]})
    sequence = open_sequence(folder)
    assert [info.name for info in sequence.frames] == [f"view{index}" for index in range(2, 7)]
    assert told(sequence, "model 0 (2 images)", "left out", "model=0")
    assert told(sequence, "model 2 (2 images)", "left out")
    assert len(open_sequence(folder, model="2")) == 2
    with pytest.raises(SequenceError, match="no model '7'.*0, 1, 2"):
        open_sequence(folder, model="7")


def test_models_that_share_images_are_read_in_one_frame(tmp_path):
    scene = Scene(count=9)
    folder = write_colmap(tmp_path, scene, binary=True)
    turn = looking_at_origin([1.0, 2.0, 3.0])[:3, :3]

    def moved(pose):
        other = pose.copy()
        other[:3, :3], other[:3, 3] = turn @ pose[:3, :3], 2.5 * turn @ pose[:3, 3] + (4.0, 5.0, 6.0)
        return other

    split_model(folder, scene, {"0": [0, 1, 2, 3, 4], "1": [3, 4, 5, 6]}, moved)
    sequence = open_sequence(folder)
    assert len(sequence) == 7 and told(sequence, "model 1", "shares images")
    for index in range(7):
        np.testing.assert_allclose(sequence[index].world_from_camera, scene.poses[index], atol=1e-6)


def test_masks_beside_a_colmap_model_that_have_other_names_are_told(tmp_path, scene):
    folder = write_colmap(tmp_path, scene, binary=True)
    write_png(folder / "masks" / "another.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    assert told(open_sequence(folder), "masks/", "left out")


def test_a_colmap_image_of_an_unknown_camera_costs_one_frame(tmp_path, scene):
    folder = write_colmap(tmp_path, scene, binary=False)
    images = folder / "sparse" / "0" / "images.txt"
    images.write_text(images.read_text().replace(" 3 view2.png", " 9 view2.png"))
    sequence = open_sequence(folder)
    assert len(sequence) == scene.count - 1 and told(sequence, "view2.png", "camera 9")
