"""Parts of objects from a finer level of masks: on votes drawn by hand, and through the mapper into a file and back."""

from __future__ import annotations

import numpy as np
import pytest

from cgc_ros.evaluation.synthetic import SyntheticSequence
from cgc_ros.mapping import Mapper, MapperConfig
from cgc_ros.mapping.object_editing import EditRequest, edit_objects
from cgc_ros.rendering import Camera
from cgc_ros.segmentation import MaskVotes
from cgc_ros.segmentation.parts import PartLayer

# Object 1 has Gaussians 0..59, of which 40..59 are its lid; object 2 has 100..159, all of one piece.
UIDS = np.concatenate([np.arange(60), np.arange(100, 160)])
OBJECTS = np.where(UIDS < 60, 1, 2)


def votes(keyframe_id: int, masks: np.ndarray) -> MaskVotes:
    """A view that sees every Gaussian; `masks` [N], 0 = none."""
    count = int(masks.max())
    table = np.zeros(count + 1, bool), np.zeros(count + 1, np.float32)
    return MaskVotes(
        keyframe_id, keyframe_id * 10, UIDS, masks.astype(np.int32), np.ones(120, np.float32), count, *table
    )


def lid_and_body(seed: int) -> np.ndarray:
    """Body, lid and the other object in ids that mean nothing elsewhere, every tenth vote wrong."""
    rng = np.random.default_rng(seed)
    masks = np.where(UIDS >= 100, 3, np.where(UIDS >= 40, 2, 1))
    masks = rng.permutation(3)[masks - 1] + 1
    wrong = rng.random(len(UIDS)) < 0.1
    return np.where(wrong, rng.integers(1, 4, len(UIDS)), masks)


@pytest.fixture
def layer() -> PartLayer:
    layer = PartLayer(min_gaussians=5)
    for keyframe_id in range(6):
        layer.votes[keyframe_id] = votes(keyframe_id, lid_and_body(keyframe_id))
    return layer


def test_an_object_is_cut_where_most_views_cut_it_and_another_is_not(layer):
    state = layer.update(UIDS, OBJECTS)
    body, lid = state.ids[0], state.ids[50]
    assert body != lid and min(body, lid) > 0
    assert (state.ids[:40] == body).mean() > 0.95 and (state.ids[40:60] == lid).mean() > 0.95
    assert (state.ids[60:] == -1).all()
    assert {record.object_id for record in state.records.values()} == {1}
    assert [record.num_views for record in state.records.values()] == [6, 6]
    assert {(record.first_seen_ns, record.last_seen_ns) for record in state.records.values()} == {(0, 50)}


def test_parts_keep_their_ids_when_views_come_and_gaussians_go(layer):
    before = layer.update(UIDS, OBJECTS)
    layer.votes[6] = votes(6, lid_and_body(6))
    living = np.sort(np.concatenate([UIDS[::2], [7000, 7001]]))
    after = layer.update(living, np.where(living < 60, 1, np.where(living < 1000, 2, -1)))
    np.testing.assert_array_equal(after.ids_of(UIDS[::2]), before.ids_of(UIDS[::2]))
    assert after.ids_of(np.array([7000, 9999])).tolist() == [-1, -1]


def test_a_cut_that_one_view_alone_makes_is_none():
    layer = PartLayer(min_gaussians=5)
    whole = np.where(UIDS >= 100, 2, 1)
    for keyframe_id in range(5):
        layer.votes[keyframe_id] = votes(keyframe_id, whole)
    layer.votes[5] = votes(5, lid_and_body(0))
    assert layer.update(UIDS, OBJECTS).records == {}


def halves(objects: np.ndarray) -> np.ndarray:
    """Two levels of masks: every mask, and its left and right half."""
    columns = np.arange(objects.shape[1])[None] * np.ones((objects.shape[0], 1))
    parts = np.zeros_like(objects)
    for mask in np.unique(objects[objects > 0]):
        inside = objects == mask
        parts[inside] = 2 * mask - 1 + (columns[inside] > columns[inside].mean())
    return np.stack([objects, parts])


@pytest.fixture(scope="module")
def mapper() -> Mapper:
    """The camera moves so little that left and right stay left and right."""
    sequence = SyntheticSequence(num_frames=64)
    mapper = Mapper(MapperConfig(backend="cpu", sh_degree=0))
    for index in range(0, 16, 3):
        frame = sequence[index]
        outcome = mapper.add_frame(frame)
        if outcome.kind == "keyframe":
            assert mapper.add_masks(outcome.keyframe_id, halves(frame.masks))
        for _ in range(4):
            mapper.step()
    mapper.segmenter.refresh(mapper.steps, mapper.scene_depth)
    mapper.parts.refresh(mapper.steps, mapper.segmenter.layer.state)
    return mapper


def test_the_map_tells_the_parts_of_its_objects(mapper):
    snapshot = mapper.snapshot()
    things = {each.id: each for each in snapshot.objects if not each.background}
    assert len(things) >= 3
    cut = [each for each in snapshot.parts if each.parent_id in things]
    assert len({each.parent_id for each in cut}) >= 3
    for each in cut:
        whole = things[each.parent_id]
        assert np.linalg.norm(each.box.center - whole.box.center) < np.linalg.norm(whole.box.size)
        assert len(each.points) < len(whole.points)
    frame = SyntheticSequence(num_frames=64)[7]
    camera = Camera.from_intrinsics(frame.intrinsics, frame.world_from_camera)
    objects, parts = snapshot.segment(camera), snapshot.segment_parts(camera)
    for part in cut:
        owner = objects[parts == part.id]
        assert len(owner) and (owner == part.parent_id).mean() > 0.9


def test_an_object_is_split_into_its_parts_and_back(mapper):
    before = mapper.snapshot()
    whole = next(each for each in before.objects if sum(part.parent_id == each.id for part in before.parts) == 2)
    outcome = edit_objects(mapper, EditRequest("split", (whole.id,)))
    after = {each.id: each for each in mapper.snapshot().objects}
    assert outcome.ids[0] == whole.id and set(outcome.ids) <= after.keys()
    first, second = (after[each] for each in outcome.ids)
    assert len(whole.points) > len(first.points) and np.linalg.norm(first.box.center - second.box.center) > 0.02
    assert not {part.parent_id for part in mapper.snapshot().parts} & set(outcome.ids)  # a part has none
    mapper.refresh_objects()  # all views vote again
    assert set(outcome.ids) <= {each.id for each in mapper.snapshot().objects}
    edit_objects(mapper, EditRequest("undo"))
    again = mapper.snapshot()
    assert {each.id for each in again.objects} == {each.id for each in before.objects}
    assert {part.id for part in again.parts if part.parent_id == whole.id} == {
        part.id for part in before.parts if part.parent_id == whole.id
    }


def test_parts_keep_their_ids_over_save_and_load(mapper, tmp_path):
    mapper.save(tmp_path / "map.cgc")
    loaded = Mapper.load(tmp_path / "map.cgc", mapper.config)
    assert loaded.parts.layer.state.records == mapper.parts.layer.state.records
    before = mapper.parts.part_ids()
    loaded.save(tmp_path / "again.cgc")  # cuts anew, with the masks that were saved
    after = loaded.parts.part_ids()
    same = (before == after)[(before >= 0) & (after >= 0)]
    assert len(same) > 100 and same.float().mean() > 0.95
