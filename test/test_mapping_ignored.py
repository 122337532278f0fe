"""Ignored pixels: nothing of what a keyframe shows there reaches the map, whenever it is said."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from cgc_ros.evaluation.synthetic import SyntheticSequence
from cgc_ros.frame import Frame, FrameError
from cgc_ros.ignored_pixels import continued, touched_resized
from cgc_ros.mapping import Mapper, MapperConfig
from cgc_ros.mapping.config import DepthConfig
from cgc_ros.mapping.contribution import MapContribution
from cgc_ros.mapping.object_crops import object_crops

CONFIG = MapperConfig(backend="cpu", sh_degree=0)


@pytest.fixture(scope="module")
def sequence():
    return SyntheticSequence(num_frames=8)


def arm(frame: Frame) -> np.ndarray:
    """A wedge from the lower edge to the middle, as a gripper stands in a view, [H, W] bool."""
    height, width = frame.image.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    return (rows > 0.45 * height) & (np.abs(columns - 0.4 * width) < 0.25 * rows)


def masked(frame: Frame, *, disturbed: bool = False, depth: bool = True) -> Frame:
    """The frame with an arm in it that is ignored; `disturbed`: what is there looks different, and stands elsewhere."""
    ignore = arm(frame)
    image, depths, masks = frame.image, frame.depth, frame.masks
    if disturbed:
        rng = np.random.default_rng(frame.stamp_ns % 1000)
        image = np.where(ignore[..., None], rng.integers(0, 256, image.shape, dtype=np.uint8), image)
        depths = np.where(ignore, np.float32(0.2), depths)
        masks = np.where(ignore, rng.integers(0, 3, masks.shape).astype(np.int32), masks)
    return replace(frame, image=image, depth=depths if depth else None, masks=masks, ignore=ignore)


def mapped(frames, steps: int) -> Mapper:
    config = replace(CONFIG, depth=DepthConfig(start_coverage=0.05, min_coverage=0.05))
    mapper = Mapper(config)
    for frame in frames:
        mapper.add_frame(frame)
        mapper.step()
    for _ in range(steps):
        mapper.step()
    return mapper


def in_view(mapper: Mapper, keyframe) -> tuple[np.ndarray, np.ndarray]:
    """Pixel [M, 2] (row, column) of every mean that lies in a keyframe's view, and its row in the model [M]."""
    k, camera_from_world = keyframe.intrinsics, np.linalg.inv(keyframe.world_from_camera)
    points = mapper.model.means.detach().numpy() @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
    pixels = points[:, 1::-1] / points[:, 2:] * (k.fy, k.fx) + (k.cy, k.cx)
    pixels = np.rint(pixels).astype(int)
    inside = (points[:, 2] > 0) & (pixels >= 0).all(1) & (pixels < keyframe.image.shape[:2]).all(1)
    return pixels[inside], np.flatnonzero(inside)


@pytest.mark.parametrize("depth", [True, False])
def test_what_ignored_pixels_show_changes_no_bit_of_the_map(sequence, depth):
    maps = [
        mapped(
            (masked(sequence[i], disturbed=disturbed, depth=depth) for i in range(5 if depth else 3)),
            24 if depth else 8,
        )
        for disturbed in (False, True)
    ]
    one, other = (each.snapshot() for each in maps)
    assert one.num_gaussians == other.num_gaussians > 300
    for name, value in maps[0].model.parameters.items():
        assert torch.equal(value, maps[1].model.parameters[name]), name
    assert torch.equal(maps[0].model.background, maps[1].model.background)
    assert torch.equal(one.object_ids, other.object_ids) and one.records == other.records


def test_nothing_is_seeded_or_faded_where_the_first_view_is_ignored(sequence):
    mapper = Mapper(CONFIG)
    mapper.add_frame(masked(sequence[0], disturbed=True))
    keyframe = mapper.keyframes.newest()
    pixels, _ = in_view(mapper, keyframe)
    assert len(pixels) > 300 and not keyframe.ignore[pixels[:, 0], pixels[:, 1]].any()


def test_a_view_of_nothing_but_the_robot_is_no_keyframe(sequence):
    mapper = Mapper(CONFIG)
    nothing = np.ones(sequence[0].image.shape[:2], bool)
    assert mapper.add_frame(replace(sequence[0], ignore=nothing)).kind == "tracked" and len(mapper.keyframes) == 0
    assert mapper.add_frame(masked(sequence[0])).kind == "keyframe"


def test_gaussians_that_only_ignored_pixels_show_are_not_seen_by_that_view(sequence):
    mapper = mapped((sequence[i] for i in range(4)), 20)
    keyframe = mapper.keyframes.newest()
    ignore = arm(sequence[3])
    inside = cv2.erode(ignore.astype(np.uint8), np.ones((17, 17))) > 0  # farther from the rest than Gaussians reach
    mapper.add_masks(keyframe.id, keyframe.masks)  # votes on the map as it is now
    before = mapper.segmenter.layer.votes[keyframe.id]
    assert mapper.ignore_pixels(keyframe.id, ignore)
    after = mapper.segmenter.layer.votes[keyframe.id]
    pixels, rows = in_view(mapper, keyframe)
    narrow = mapper.model.scales.detach().amax(dim=1)[rows].numpy() < 0.02
    hidden = mapper.model.uids[rows[inside[pixels[:, 0], pixels[:, 1]] & narrow]].numpy()
    shown = mapper.model.uids[rows[~ignore[pixels[:, 0], pixels[:, 1]]]].numpy()
    assert np.isin(hidden, before.uids).sum() > 20 and not np.isin(hidden, after.uids).any()
    assert np.isin(after.uids, shown).mean() > 0.9
    assert mapper.ignore_pixels(keyframe.id, np.zeros_like(ignore), replace=True)  # and back
    np.testing.assert_array_equal(mapper.segmenter.layer.votes[keyframe.id].uids, before.uids)


def test_pixels_are_ignored_from_any_moment_on_and_caches_follow(sequence):
    mapper = mapped((sequence[i] for i in range(3)), 12)
    keyframe = mapper.keyframes.newest()
    height, width = keyframe.image.shape[:2]
    half = (width // 2, height // 2)
    assert keyframe.scaled_images(*half).mask is None
    first, second = np.zeros((2, height, width), bool)
    first[:, : width // 3], second[:, -3:] = True, True
    assert mapper.ignore_pixels(keyframe.id, first)
    mask = keyframe.scaled_images(*half).mask
    np.testing.assert_array_equal(mask, ~touched_resized(first, *half))
    assert mapper.ignore_pixels(keyframe.id, second)
    assert keyframe.scaled_images(*half).mask is not mask
    np.testing.assert_array_equal(keyframe.ignore, first | second)
    assert keyframe.world_share == pytest.approx(1 - (first | second).mean())
    assert not keyframe.world_depth()[first].any()
    assert mapper.ignore_pixels(keyframe.id, second, replace=True)
    np.testing.assert_array_equal(keyframe.ignore, second)
    assert not mapper.ignore_pixels(999, second)
    with pytest.raises(FrameError, match="use a mask"):
        mapper.ignore_pixels(keyframe.id, second[1:])


def test_where_all_that_is_held_is_ignored_training_rests(sequence):
    mapper = mapped((sequence[i] for i in range(2)), 2)
    for keyframe in mapper.keyframes:
        mapper.ignore_pixels(keyframe.id, np.ones(keyframe.image.shape[:2], bool))
    assert mapper.step() is None


def test_a_map_file_keeps_what_is_ignored(sequence, tmp_path):
    mapper = mapped((masked(sequence[i]) for i in range(2)), 4)
    mapper.save(tmp_path / "map.cgc")
    loaded = Mapper.load(tmp_path / "map.cgc", CONFIG)
    for keyframe, restored in zip(mapper.keyframes, loaded.keyframes, strict=True):
        assert restored.ignore.dtype == bool and restored.world_share == keyframe.world_share
        np.testing.assert_array_equal(restored.ignore, keyframe.ignore)
    for key, image in mapper.segmenter.masks.items():
        np.testing.assert_array_equal(loaded.segmenter.masks[key].masks, image.masks)


def test_what_only_ignored_pixels_show_contributes_nothing(sequence):
    mapper = mapped((sequence[i] for i in range(2)), 4)
    keyframe = mapper.keyframes.newest()
    contribution = MapContribution(mapper.model, mapper.keyframes, CONFIG.density, "cpu")
    whole = contribution.look(keyframe)
    ignore = np.zeros(keyframe.image.shape[:2], bool)
    mapper.ignore_pixels(keyframe.id, np.eye(*ignore.shape, dtype=bool))  # hardly anything: the same by another way
    nearly = contribution.look(keyframe)
    assert (nearly <= whole + 1e-6).all() and float(nearly.sum()) > 0.9 * float(whole.sum())
    mapper.ignore_pixels(keyframe.id, ~ignore)
    assert float(contribution.look(keyframe).abs().max()) == 0.0


def test_an_objects_crop_leaves_out_what_is_ignored(sequence):
    mapper = mapped((sequence[i] for i in range(4)), 40)
    mapper.refresh_objects()
    snapshot, views = mapper.snapshot(), list(mapper.keyframes)
    item = next(each for each in snapshot.objects if not each.background and object_crops(each, views, snapshot))
    whole = object_crops(item, views, snapshot)
    for keyframe in views:
        ignore = np.zeros(keyframe.image.shape[:2], bool)
        ignore[:, ::2] = True
        mapper.ignore_pixels(keyframe.id, ignore)
    halved = object_crops(item, views, snapshot)
    assert halved[0].mask.sum() == pytest.approx(0.5 * whole[0].mask.sum(), rel=0.25)
    for keyframe in views:
        mapper.ignore_pixels(keyframe.id, np.ones(keyframe.image.shape[:2], bool))
    assert object_crops(item, views, snapshot) == []


def test_a_picture_goes_on_under_the_mask_in_its_nearest_colours():
    image = np.arange(9, dtype=np.uint8)[None, :, None].repeat(3, 2) * 10
    mask = np.zeros((1, 9), bool)
    mask[0, 3:7] = True
    assert continued(image, mask)[0, :, 0].tolist() == [0, 10, 20, 20, 20, 70, 70, 70, 80]
    assert continued(image, None) is image and continued(image, np.ones((1, 9), bool)) is image
