"""A map and its file: what is loaded stays as it is until something new is seen, and goes on as if never saved."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cgc_ros.evaluation.synthetic import SyntheticSequence
from cgc_ros.gaussians.storage import MapFileError, read_map, write_map
from cgc_ros.mapping import Mapper, MapperConfig, SeedingConfig, SegmentationConfig
from cgc_ros.segmentation.object_names import NameVote

CONFIG = MapperConfig(
    backend="cpu",
    sh_degree=0,
    seeding=SeedingConfig(max_per_keyframe=800),
    segmentation=SegmentationConfig(cluster_every=6, parts_every=12),
)
SEQUENCE = SyntheticSequence(num_frames=16, width=160, height=120)
FRAMES = [SEQUENCE[index] for index in range(len(SEQUENCE))]


def two_levels(masks: np.ndarray) -> np.ndarray:
    """Masks, and their left and right halves as parts."""
    parts, (_, columns) = np.zeros_like(masks), np.indices(masks.shape)
    for mask in np.unique(masks[masks > 0]).tolist():
        inside = masks == mask
        parts[inside] = 2 * mask - 1 + (columns[inside] > columns[inside].mean())
    return np.stack([masks, parts])


def feed(mapper: Mapper, index: int) -> None:
    frame = FRAMES[index % len(FRAMES)]
    outcome = mapper.add_frame(replace(frame, masks=None))
    if outcome.kind == "keyframe":
        mapper.add_masks(outcome.keyframe_id, two_levels(frame.masks))


def train(mapper: Mapper, steps: int) -> None:
    for _ in range(steps):
        mapper.step()


def mapped(frames: int = 8, steps: int = 3) -> Mapper:
    mapper = Mapper(CONFIG)
    for index in range(frames):
        feed(mapper, 2 * index)
        train(mapper, steps)
    return mapper


@pytest.fixture(scope="module")
def mapper() -> Mapper:
    return mapped()


def reloaded(mapper: Mapper, tmp_path) -> Mapper:
    mapper.save(tmp_path / "map.cgc")
    return Mapper.load(tmp_path / "map.cgc", CONFIG)


def as_seen(mapper: Mapper) -> list[tuple]:
    """Objects and parts to the bit, as users get them."""
    snapshot = mapper.snapshot()
    return [
        (
            each.id,
            each.label,
            each.label_confidence,
            each.confidence,
            each.background,
            each.num_views,
            each.first_seen_ns,
            each.last_seen_ns,
            each.parent_id,
            each.points.tobytes(),
            each.colors.tobytes(),
            *(getattr(each.box, name).tobytes() for name in ("center", "rotation", "size")),
        )
        for each in (*snapshot.objects, *snapshot.parts)
    ]


def everything(mapper: Mapper) -> tuple:
    """What objects are made of, to the bit, and what they are called."""
    values = [value.detach().numpy().tobytes() for value in mapper.model.parameters.values()]
    ids = (mapper.segmenter.object_ids(), mapper.parts.part_ids())
    records = (mapper.segmenter.layer.state.records, mapper.parts.layer.state.records)
    return *values, *(each.numpy().tobytes() for each in ids), *(str(each) for each in records), mapper.scene_depth


def assert_same_layer(first, second) -> None:
    """Object or part layers in one state: ids, records, and the registry behind them."""
    np.testing.assert_array_equal(first.state.uids, second.state.uids)
    np.testing.assert_array_equal(first.state.ids, second.state.ids)
    assert first.state.records == second.state.records
    assert (first.registry.next_id, first.registry.missing) == (second.registry.next_id, second.registry.missing)
    assert first.registry.members.keys() == second.registry.members.keys()


def test_a_loaded_map_changes_in_nothing_while_nothing_comes_in(mapper, tmp_path):
    loaded = reloaded(mapper, tmp_path)
    before = as_seen(mapper)
    assert len(before) >= 4
    for _ in range(500):
        assert loaded.step() is None
    assert as_seen(loaded) == before
    for name, value in mapper.model.parameters.items():
        assert torch.equal(loaded.model.parameters[name], value)


@pytest.mark.parametrize("new", ["frame", "masks"])
def test_training_goes_on_with_what_comes_in_next_and_objects_keep_their_ids(mapper, tmp_path, new):
    loaded = reloaded(mapper, tmp_path)
    if new == "frame":
        feed(loaded, 3)
    else:
        loaded.add_masks(loaded.keyframes.newest().id, two_levels(FRAMES[14].masks))
    known = set(mapper.segmenter.layer.state.records)
    for _ in range(30):
        assert loaded.step() is not None
        assert len(known & set(loaded.segmenter.layer.state.records)) >= len(known) - 1


def test_objects_go_on_as_if_the_map_had_never_been_saved(tmp_path):
    """Votes, what masks were taken for, what left keyframes said, and what is due next are all in the file."""
    mapper = mapped(frames=6)
    loaded = reloaded(mapper, tmp_path)
    for each in (mapper, loaded):
        each.segmenter.update_objects(each.steps, each.scene_depth)
        each.parts.update(each.steps, each.segmenter.layer.state)
    assert_same_layer(loaded.segmenter.layer, mapper.segmenter.layer)
    assert_same_layer(loaded.parts.layer, mapper.parts.layer)
    assert as_seen(loaded) == as_seen(mapper)
    for each in (mapper, loaded):
        left = next(iter(each.keyframes)).id
        each.segmenter.drop_keyframe(left)
        each.segmenter.update_objects(each.steps, each.scene_depth)
    assert_same_layer(loaded.segmenter.layer, mapper.segmenter.layer)
    np.testing.assert_array_equal(loaded.segmenter.layer.memory.weights, mapper.segmenter.layer.memory.weights)


def test_a_name_that_is_in_use_stays_in_use(mapper, tmp_path):
    """The newer name weighs more, though not enough to take the older one's place."""
    first = mapper.snapshot().objects[0].id
    mapper.names.add_view([NameVote(first, "mug", 0.9, 0.5)])
    mapper.names.add_view([NameVote(first, "cup", 0.9, 0.52)])
    assert mapper.names.resolved()[first][0] == "mug"
    assert reloaded(mapper, tmp_path).names.resolved() == mapper.names.resolved()


def without(path, *prefixes: str) -> None:
    """A file as it was before something was kept in it."""
    arrays, info = read_map(path)
    arrays, info = ({k: v for k, v in each.items() if not k.startswith(prefixes)} for each in (arrays, info))
    write_map(path, arrays, info)


OF_VOTES = ("votes/", "voted_steps", "waiting", "unheard", "clustered_step", "new_votes", "mask_objects")
OF_PART_VOTES = ("part_votes/", "part_keyframes", "parts_step", "missing_parts", "parts/members/")


def test_in_a_file_without_votes_objects_stay_until_every_keyframe_has_voted_again(mapper, tmp_path):
    mapper.save(tmp_path / "map.cgc")
    without(tmp_path / "map.cgc", *OF_VOTES, *OF_PART_VOTES)
    loaded = Mapper.load(tmp_path / "map.cgc", CONFIG)
    known, parts = set(mapper.segmenter.layer.state.records), mapper.parts.layer.state.records
    held = {keyframe.id for keyframe in loaded.keyframes}
    feed(loaded, 3)
    updates = 0
    for _ in range(60):
        ids = loaded.segmenter.layer.state
        loaded.step()
        if loaded.segmenter.layer.state is not ids:
            updates += 1
            assert held <= set(loaded.segmenter.layer.votes)
        assert len(known & set(loaded.segmenter.layer.state.records)) >= len(known) - 1
        if not held <= set(loaded.parts.layer.votes):
            assert loaded.parts.layer.state.records == parts
    assert updates > 0


def test_a_file_without_votes_that_is_saved_again_meanwhile_still_waits_for_them(mapper, tmp_path):
    mapper.save(tmp_path / "map.cgc")
    without(tmp_path / "map.cgc", *OF_VOTES, *OF_PART_VOTES)
    loaded = Mapper.load(tmp_path / "map.cgc", CONFIG)
    feed(loaded, 3)
    loaded.step()
    again = reloaded(loaded, tmp_path)
    assert again.segmenter.unheard == loaded.segmenter.unheard and again.segmenter.unheard
    assert list(again.segmenter.waiting) == list(loaded.segmenter.waiting)


def test_a_file_with_an_importance_of_gaussians_can_be_read(mapper, tmp_path):
    mapper.save(tmp_path / "map.cgc")
    arrays, info = read_map(tmp_path / "map.cgc")
    arrays["rows/importance"] = np.zeros(len(arrays["rows/uids"]), np.float32)
    write_map(tmp_path / "map.cgc", arrays, info)
    assert as_seen(Mapper.load(tmp_path / "map.cgc", CONFIG)) == as_seen(mapper)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("votes/masks", np.full(3, 1, np.uint8)),
        ("votes/seen", np.zeros((1, 1), np.uint8)),
        ("votes/weights", None),
        ("mask_objects", np.zeros(2, np.int64)),
        ("objects/ids", np.zeros(2, np.int32)),
        ("rows/uids", np.zeros(3, np.int64)),
        ("keyframes/0/corrections", np.zeros(3, np.float32)),
        ("keyframes/0/image", np.zeros(20, np.uint8)),
        ("keyframes/0/depth", np.zeros((3, 4), np.float16)),
        ("prototypes/features", np.zeros((1, 3), np.float32)),
        ("memory/weights", np.zeros(77, np.float32)),
    ],
)
def test_a_garbled_file_is_refused_by_name_and_the_map_stays(mapper, tmp_path, name, value):
    mapper.save(tmp_path / "map.cgc")
    arrays, info = read_map(tmp_path / "map.cgc")
    del arrays[name]
    write_map(tmp_path / "map.cgc", arrays if value is None else arrays | {name: value}, info)
    ours = mapped(frames=2, steps=1)
    before, steps = as_seen(ours), ours.steps
    with pytest.raises(MapFileError, match="map.cgc lacks or garbles"):
        ours.restore(tmp_path / "map.cgc")
    assert as_seen(ours) == before and ours.steps == steps
    assert ours.step() is not None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("voted_steps", [[99, 1]]),
        ("part_keyframes", [99]),
        ("waiting_for_stereo", [[99, 0.5, -1, 0]]),
        ("next_uid", 1),
        ("next_keyframe_id", 0),
        ("missing", 3),
        ("background", [2.0, 0.0, 0.0]),
        ("names", {"x": 1}),
        ("objects", [{"id": 1}]),
    ],
)
def test_a_header_that_does_not_fit_its_arrays_is_refused(mapper, tmp_path, name, value):
    mapper.save(tmp_path / "map.cgc")
    arrays, info = read_map(tmp_path / "map.cgc")
    write_map(tmp_path / "map.cgc", arrays, info | {name: value})
    with pytest.raises(MapFileError, match="map.cgc lacks or garbles"):
        Mapper.load(tmp_path / "map.cgc", CONFIG)


def test_keyframes_that_wait_for_stereo_wait_on(tmp_path):
    mapper = mapped(frames=2)
    mapper.add_frame(replace(FRAMES[9], depth=None, masks=None))
    waiting = mapper.depth_source.waiting
    assert waiting
    loaded = reloaded(mapper, tmp_path)
    assert loaded.depth_source.waiting == waiting
    assert [keyframe.ready for keyframe in loaded.keyframes] == [keyframe.ready for keyframe in mapper.keyframes]


@settings(max_examples=8, deadline=None)
@given(st.lists(st.sampled_from(["frame", "steps", "file"]), min_size=2, max_size=7))
def test_through_any_sequence_of_frames_steps_and_files_a_loaded_map_rests(tmp_path_factory, history):
    path = tmp_path_factory.mktemp("history") / "map.cgc"
    mapper, frame, resting = mapped(frames=2, steps=1), 5, False
    for event in [*history, "steps"]:
        before = everything(mapper)
        if event == "frame":
            feed(mapper, frame)
            frame, resting = frame + 3, False
        elif event == "steps":
            train(mapper, 5)
            assert (everything(mapper) == before) == resting
        else:
            mapper.save(path)
            mapper, resting = Mapper.load(path, CONFIG), True
            assert everything(mapper) == before
