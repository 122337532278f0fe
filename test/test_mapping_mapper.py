"""The mapper on a small ray-cast scene: it learns the scene, finds its objects, and survives what streams do."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cgc_ros.evaluation.synthetic import SyntheticSequence
from cgc_ros.frame import UNLABELLED, FrameError
from cgc_ros.gaussians.storage import MapFileError
from cgc_ros.mapping import DensityConfig, KeyframeConfig, Mapper, MapperConfig
from cgc_ros.mapping.exposure import ExposureTrack
from cgc_ros.rendering import Camera
from cgc_ros.segmentation.object_names import NameVote, ObjectNames

CONFIG = MapperConfig(backend="cpu", sh_degree=0)


@pytest.fixture(scope="module")
def sequence():
    return SyntheticSequence(num_frames=16)


def mapped(sequence, config=CONFIG, steps=160) -> Mapper:
    mapper = Mapper(config)
    for index in range(len(sequence)):
        if not sequence.is_held_out(index):
            mapper.add_frame(sequence[index])
            for _ in range(2):
                mapper.step()
    while mapper.steps < steps:
        mapper.step()
    mapper.segmenter.update_objects(mapper.steps, mapper.scene_depth)
    return mapper


@pytest.fixture(scope="module")
def mapper(sequence):
    return mapped(sequence)


def held_out_view(sequence, mapper):
    index = next(i for i in range(len(sequence)) if sequence.is_held_out(i))
    frame = sequence[index]
    return frame, sequence.truth.instances(index), Camera.from_intrinsics(frame.intrinsics, frame.world_from_camera)


def test_a_held_out_view_is_rendered_as_the_camera_saw_it(sequence, mapper):
    frame, _, camera = held_out_view(sequence, mapper)
    view = mapper.snapshot().render(camera)
    mse = np.mean((view.color / 255.0 - frame.image / 255.0) ** 2)
    assert -10 * np.log10(mse) > 22.0
    both = np.isfinite(view.depth) & (frame.depth > 0)
    assert both.mean() > 0.9
    assert np.median(np.abs(view.depth - frame.depth)[both] / frame.depth[both]) < 0.02


def test_a_camera_that_adapts_its_exposure_is_rendered_as_bright_as_it_was(sequence):
    adapting = Mapper(CONFIG)
    frames = [
        replace(frame, image=(frame.image * (0.7 + 0.3 * index / len(sequence))).astype(np.uint8))
        for index, frame in enumerate(sequence[index] for index in range(len(sequence)))
    ]
    for index, frame in enumerate(frames):
        if not sequence.is_held_out(index):
            adapting.add_frame(frame)
    for _ in range(200):
        adapting.step()
    held_out = [frame for index, frame in enumerate(frames) if sequence.is_held_out(index)]
    snapshot, errors = adapting.snapshot(), []
    for frame in held_out:
        camera = Camera.from_intrinsics(frame.intrinsics, frame.world_from_camera)
        for stamp_ns in (frame.stamp_ns, None):
            rendered = snapshot.render(camera, stamp_ns).color
            errors.append(np.abs(rendered.astype(float).mean() - frame.image.mean()) / frame.image.mean())
    at_its_time, at_none = np.array(errors).reshape(-1, 2).T
    assert at_its_time[0] < 0.01  # between keyframes
    assert at_its_time[1] < 0.05 and at_none[1] > 0.07  # after the last one


def test_exposure_is_linear_between_keyframes_and_constant_beyond_them():
    track = ExposureTrack(np.array([10, 20, 40]) + 10**18, np.log([[1.0] * 3, [2.0] * 3, [1.0] * 3]), np.zeros((3, 3)))
    for since, gain in ((0, 1.0), (10, 1.0), (15, 2**0.5), (20, 2.0), (30, 2**0.5), (99, 1.0)):
        np.testing.assert_allclose(track.at(10**18 + since)[0], gain)
    none = ExposureTrack.of([])
    np.testing.assert_array_equal(none.at(5), ([1.0] * 3, [0.0] * 3))


def test_every_object_has_one_id_in_a_view_never_seen(sequence, mapper):
    _, instances, camera = held_out_view(sequence, mapper)
    labels = mapper.snapshot().segment(camera)
    winners = []
    for instance, (_, kind) in sequence.truth.labels.items():
        mine = instances == instance
        if kind != "object" or mine.sum() < 50:
            continue
        ids, counts = np.unique(labels[mine], return_counts=True)
        winner = ids[counts.argmax()]
        assert winner != UNLABELLED
        assert counts.max() / ((labels == winner) | mine).sum() > 0.6
        winners.append(winner)
    assert len(set(winners)) == len(winners) >= 3


def test_objects_lie_where_they_stand_and_rooms_are_background(sequence, mapper):
    objects = mapper.snapshot().objects
    things = [o for o in objects if not o.background]
    for points in (p for i, p in sequence.truth.object_points.items() if sequence.truth.labels[i][1] == "object"):
        center = (points.min(axis=0) + points.max(axis=0)) / 2
        assert min(np.linalg.norm(o.box.center - center) for o in things) < 0.05
    assert any(o.background for o in objects)


def test_better_masks_of_a_keyframe_replace_its_former_ones(sequence):
    mapper = mapped(sequence, steps=60)
    keyframe = mapper.keyframes.newest()
    rows, columns = np.mgrid[: keyframe.image.shape[0], : keyframe.image.shape[1]]
    tiles = (rows // 12) * 100 + columns // 12 + 1  # far more masks than before
    assert mapper.add_masks(keyframe.id, tiles.astype(np.int32))
    votes = mapper.segmenter.layer.votes[keyframe.id]
    assert votes.num_masks > 100
    assert keyframe.id not in mapper.segmenter.waiting
    for _ in range(12):  # trains features on them before and after objects are associated anew
        mapper.segmenter.train_features(mapper.steps)
    mapper.segmenter.update_objects(mapper.steps, mapper.scene_depth)
    assert len(mapper.segmenter.layer.mask_objects[keyframe.id]) == votes.num_masks + 1
    mapper.segmenter.drop_keyframe(keyframe.id)


def test_seeded_runs_repeat(sequence):
    first, second = (mapped(sequence, steps=40) for _ in range(2))
    for name, value in first.model.parameters.items():
        torch.testing.assert_close(value, second.model.parameters[name], rtol=0, atol=0)


def test_caps_on_gaussians_and_keyframes_hold(sequence):
    config = replace(
        CONFIG, density=DensityConfig(max_gaussians=1500, min_age=2), keyframes=KeyframeConfig(max_keyframes=5)
    )
    mapper = mapped(sequence, config, steps=60)
    assert len(mapper.model) <= 1500
    assert len(mapper.keyframes) <= 5
    assert set(mapper.segmenter.masks) <= set(mapper.keyframes.keyframes)
    assert set(mapper.segmenter.layer.votes) <= set(mapper.keyframes.keyframes)


def test_a_bad_frame_is_refused_by_name_and_loses_nothing(sequence):
    mapper = mapped(sequence, steps=10)
    before = len(mapper.model), len(mapper.keyframes)
    good = sequence[0]
    pose = good.world_from_camera.copy()
    pose[0, 3] = np.nan
    for bad, reason in (
        (replace(good, world_from_camera=pose), "bad_pose"),
        (replace(good, world_from_camera=np.diag([2.0, 1, 1, 1])), "bad_pose"),
        (replace(good, image=good.image[:-1]), "camera_info_mismatch"),
        (replace(good, depth=good.depth[:, :-1]), "depth_mismatch"),
        (replace(good, image=good.image.astype(np.float32)), "bad_image"),
    ):
        with pytest.raises(FrameError) as error:
            mapper.add_frame(bad)
        assert error.value.reason == reason
    assert (len(mapper.model), len(mapper.keyframes)) == before
    assert mapper.step() is not None


def test_a_standing_camera_adds_no_keyframes(sequence):
    mapper = Mapper(CONFIG)
    assert mapper.add_frame(sequence[0]).kind == "keyframe"
    assert [mapper.add_frame(sequence[0]).kind for _ in range(3)] == ["tracked"] * 3


def test_nothing_to_train_on_is_no_error():
    mapper = Mapper(CONFIG)
    assert mapper.step() is None
    assert mapper.snapshot().objects == ()


def test_snapshot_is_not_touched_by_further_training(sequence, mapper):
    snapshot = mapper.snapshot()
    before = snapshot.model.means.clone()
    for _ in range(3):
        mapper.step()
    assert torch.equal(snapshot.model.means, before)


def test_saved_map_goes_on_with_the_same_ids(tmp_path, sequence, mapper):
    mapper.save(tmp_path / "map.cgc")
    loaded = Mapper.load(tmp_path / "map.cgc", CONFIG)
    _, _, camera = held_out_view(sequence, mapper)
    assert (loaded.snapshot().segment(camera) == mapper.snapshot().segment(camera)).all()
    assert [k.born_step for k in loaded.keyframes] == [k.born_step for k in mapper.keyframes]  # rates stay as low
    known = {o.id for o in mapper.snapshot().objects if not o.background}
    loaded.add_frame(sequence[3])
    for _ in range(60):
        loaded.step()
    loaded.segmenter.update_objects(loaded.steps, loaded.scene_depth)
    assert known <= {o.id for o in loaded.snapshot().objects}


def test_where_nothing_is_mapped_a_view_has_the_scenes_mean_colour_and_is_not_opaque(tmp_path, sequence, mapper):
    means = [sequence[i].image.mean(axis=(0, 1)) for i in range(len(sequence)) if not sequence.is_held_out(i)]
    frame = sequence[0]
    away = frame.world_from_camera.copy()
    away[:3, 3] += 100.0 * away[:3, 2]  # far behind everything, looking on
    view = mapper.snapshot().render(Camera.from_intrinsics(frame.intrinsics, away))
    assert view.alpha.max() < 0.01 and np.isnan(view.depth).all()
    np.testing.assert_allclose(view.color[0, 0], np.mean(means, axis=0), atol=12)
    mapper.save(tmp_path / "map.cgc")
    again = Mapper.load(tmp_path / "map.cgc", CONFIG)
    torch.testing.assert_close(again.model.background, mapper.model.background)


def test_names_and_the_votes_behind_them_are_saved(tmp_path, sequence, mapper):
    first, second = (item.id for item in mapper.snapshot().objects[:2])
    mapper.names.give(first, "floor")
    for _ in range(4):
        mapper.names.add_view([NameVote(second, "box", 0.9, 0.8)])
    named = {item.id: (item.label, item.label_confidence) for item in mapper.snapshot().objects}
    assert named[first] == ("floor", 1.0) and named[second][0] == "box" and 0.5 < named[second][1] < 0.9
    mapper.save(tmp_path / "map.cgc")
    loaded = Mapper.load(tmp_path / "map.cgc", CONFIG)
    assert loaded.names.resolved() == mapper.names.resolved()
    mapper.names = ObjectNames()


def test_a_map_of_more_harmonics_is_refused_and_the_mapper_keeps_its_own(tmp_path, sequence, mapper):
    other = Mapper(replace(CONFIG, sh_degree=1))
    other.add_frame(sequence[0])
    other.save(tmp_path / "map.cgc")
    ours = len(mapper.model)
    with pytest.raises(MapFileError, match="set sh_degree to 1"):
        mapper.restore(tmp_path / "map.cgc")
    assert len(mapper.model) == ours


def test_a_map_of_fewer_harmonics_looks_the_same_and_can_be_trained_on(tmp_path, sequence, mapper):
    _, _, camera = held_out_view(sequence, mapper)
    before = mapper.snapshot().render(camera).color
    mapper.save(tmp_path / "map.cgc")
    other = Mapper.load(tmp_path / "map.cgc", replace(CONFIG, sh_degree=2))
    assert other.model.sh.shape[1:] == (9, 3)
    assert np.abs(other.snapshot().render(camera).color.astype(int) - before).max() <= 1
    other.add_frame(sequence[0])
    for _ in range(3):
        assert other.step() is not None
    assert (other.model.sh[:, 1:] != 0).any()


def test_the_map_has_the_stamp_of_the_newest_frame_taken_in_also_after_the_clock_went_back(
    sequence,
):
    mapper = Mapper(CONFIG)
    for stamp_ns in (9_000, 4_000):
        mapper.add_frame(replace(sequence[0], stamp_ns=stamp_ns))
        assert mapper.snapshot().stamp_ns == stamp_ns
