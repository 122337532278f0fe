"""Keyframes without depth wait for stereo: which goes first, when it is tried again, and when it gives up."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cgc_ros.evaluation.synthetic import SyntheticSequence
from cgc_ros.mapping import Mapper, MapperConfig, depth_source
from cgc_ros.mapping.config import DepthConfig, KeyframeConfig, TrainingConfig
from cgc_ros.mapping.depth_source import MAX_WAITING, DepthSource
from cgc_ros.mapping.keyframes import KeyframeStore
from cgc_ros.mapping.mapper import UNMAPPED_FRAMES
from cgc_ros.stereo.matcher import StereoResult

CONFIG = DepthConfig()
SEQUENCE = SyntheticSequence(num_frames=12, width=80, height=60)
BLIND = [replace(SEQUENCE[index], depth=None, masks=None) for index in range(len(SEQUENCE))]


class Matcher:
    """In stereo's place: notes what is matched, and settles as much as the test says."""

    def __init__(self):
        self.matched, self.share = [], 1.0

    def __call__(self, reference, sources, config, prior):
        assert 1 <= len(sources) <= config.max_sources
        self.matched.append(tuple(reference.world_from_camera[:3, 3]))
        depth = torch.full((60, 80), 2.0)
        depth[int(60 * self.share) :] = 0.0
        return StereoResult(depth, 0.5 * (depth > 0))


@pytest.fixture
def matcher(monkeypatch):
    matcher = Matcher()
    monkeypatch.setattr(depth_source, "stereo_depth", matcher)
    return matcher


def store_of(count: int) -> KeyframeStore:
    store = KeyframeStore(KeyframeConfig(), TrainingConfig())
    for frame in BLIND[:count]:
        store.add(frame, 2.0)
    return store


def no_map(_):
    return None


def some_map(_):
    return np.zeros((60, 80), np.float32)


def test_depth_of_the_camera_is_taken_as_it_is_and_filled():
    store = KeyframeStore(KeyframeConfig(), TrainingConfig())
    depth = np.full((60, 80), 3.0, np.float32)
    depth[:, 40:] = 0.0
    keyframe = store.add(replace(BLIND[0], depth=depth), 3.0)
    found = DepthSource(torch.device("cpu")).measured(keyframe)
    np.testing.assert_allclose(found.depth, 3.0, rtol=1e-3)
    np.testing.assert_array_equal(found.guessed, depth == 0)
    keyframe.depth = np.zeros((60, 80), np.float16)
    assert DepthSource(torch.device("cpu")).measured(keyframe) is None


def test_before_a_match_the_map_is_asked_anew_whether_it_explains_the_next(matcher):
    """What has been mapped meanwhile waits behind what is still new, and is trained on while it waits."""
    source, store = DepthSource(torch.device("cpu"), DepthConfig(looks_again=3)), store_of(5)
    for keyframe, urgency in zip(store, (0.2, 0.9, 0.8, 0.7, 0.6), strict=True):
        source.wait(keyframe, urgency)
    by_now, asked = {0: 0.2, 1: 0.01, 2: 0.3, 3: 0.65, 4: 0.0}, []

    def unexplained(keyframe):
        asked.append(keyframe.id)
        return by_now[keyframe.id]

    source.look_again(unexplained, explained=0.05)
    assert asked == [1, 2, 3]  # no more than three, and 3 is next
    assert source.urgency(store) == 0.65
    assert [keyframe.ready for keyframe in store] == [False, True, False, False, False]
    assert source.match_next(store, no_map).keyframe.id == 3
    source.look_again(unexplained, explained=0.05)
    assert asked[3:] == [4, 2]  # 4 is mapped by now, and 2 that comes before the others was asked twice
    assert [source.match_next(store, no_map).keyframe.id for _ in range(4)] == [2, 0, 1, 4]
    source.look_again(unexplained, explained=0.05)
    assert source.urgency(store) is None and len(asked) == 5


def test_the_least_explained_goes_first_and_one_at_a_time(matcher):
    source, store = DepthSource(torch.device("cpu")), store_of(4)
    for keyframe, urgency in zip(store, (0.1, 0.9, 0.1, 0.5), strict=True):
        source.wait(keyframe, urgency)
    order = [source.match_next(store, no_map).keyframe.id for _ in range(4)]
    assert order == [1, 3, 0, 2] and len(matcher.matched) == 4
    assert source.match_next(store, no_map) is None and source.waiting == []
    assert all(keyframe.depth_trust == CONFIG.stereo_trust and (keyframe.depth == 2.0).any() for keyframe in store)


def test_without_a_partner_it_waits_and_what_stereo_cannot_settle_is_tried_with_new_partners_only(matcher):
    source, store = DepthSource(torch.device("cpu")), store_of(1)
    source.wait(store.keyframes[0], 1.0)
    assert source.match_next(store, some_map) is None and not matcher.matched
    matcher.share = 0.02
    for index in range(1, 3 + CONFIG.max_tries):
        store.add(BLIND[index], 2.0)
        for _ in range(2):
            assert source.match_next(store, some_map) is None
    assert len(matcher.matched) == CONFIG.max_tries and source.waiting == []
    assert store.keyframes[0].depth is None


def start(monkeypatch, matcher, common_depths, count):
    """What each try of a stream's start gave, while stereo settles a tenth of every view and `common_depths` come."""
    matcher.share, tries, depths = 0.1, [], iter(common_depths)
    monkeypatch.setattr(depth_source, "common_depth", lambda *_: next(depths))
    source, store = DepthSource(torch.device("cpu")), KeyframeStore(KeyframeConfig(), TrainingConfig())
    for frame in BLIND[:count]:
        source.wait(store.add(frame, 0.0), 1.0)
        tries.append(source.match_next(store, no_map))
    return source, store, tries


def test_a_map_does_not_begin_with_little_stereo_but_with_a_guess_after_many_tries(monkeypatch, matcher):
    common = [None, None, 9.0, None, 3.0, None, None, 5.0]
    source, store, tries = start(monkeypatch, matcher, common, CONFIG.start_tries + 1)
    assert tries[:-1] == [None] * CONFIG.start_tries and source.is_guessed
    guess = tries[-1]
    assert guess.guessed.all() and (guess.depth == 5.0).all()  # the median of 9, 3 and 5
    assert guess.keyframe.ready and guess.keyframe.depth is None and guess.keyframe.id not in source.waiting
    matched = {tuple(store.keyframes[index].world_from_camera[:3, 3]) for index in (0, 1)}
    assert set(matcher.matched) == matched  # each had its tries: the first frame may be a bad one
    matcher.share = 1.0
    assert source.match_next(store, some_map) is not None and not source.is_guessed


def test_nothing_is_guessed_while_the_images_show_no_motion(monkeypatch, matcher):
    source, _, tries = start(monkeypatch, matcher, [None] * len(BLIND), len(BLIND))
    assert tries == [None] * len(BLIND) and len(source.waiting) == len(BLIND) and not source.is_guessed


def test_partners_of_a_start_are_looked_for_at_several_widths(monkeypatch, matcher):
    hints = []
    monkeypatch.setattr(
        depth_source, "choose_partners", lambda _, views, count, hint, config: hints.append(hint) or [0][: len(views)]
    )
    start(monkeypatch, matcher, [None] * len(BLIND), 1 + CONFIG.start_reaches)
    here, *others = (frame.world_from_camera[:3, 3] for frame in BLIND[: 1 + CONFIG.start_reaches])
    hints = hints[-CONFIG.start_reaches :]
    for index, hint in enumerate(hints):
        widest = max(np.linalg.norm(other - here) for other in others[: index + 1])
        assert hint == pytest.approx(widest / np.tan(np.deg2rad(4.0)) / 2**index)


def test_a_camera_that_creeps_is_mapped_from_a_guess_that_its_motion_then_mends():
    """2.6 mm from frame to frame where everything is more than a metre away."""
    sequence, mapper = SyntheticSequence(num_frames=1500, width=160, height=120), Mapper(MapperConfig(sh_degree=0))
    faults = []
    for index in range(70):
        mapper.add_frame(replace(sequence[index], depth=None, masks=None))
        faults.append(next(iter(mapper.faults()), None))
        for _ in range(3):
            mapper.step()
    assert "depth_guessed" in faults[: CONFIG.start_tries + 4] and faults[-1] is None
    frame = sequence[35]
    depth = mapper.growth.rendered_depth(mapper.keyframes.add(frame, 0.0))
    known = depth > 0
    assert known.mean() > 0.9
    assert np.median(np.abs(depth - frame.depth)[known] / frame.depth[known]) < 0.03


def test_a_camera_without_depth_that_stands_still_is_said_to_until_it_moves():
    mapper = Mapper(MapperConfig(sh_degree=0))
    for _ in range(UNMAPPED_FRAMES):
        assert mapper.faults() == {}
        mapper.add_frame(BLIND[0])
    assert f"no map yet after {UNMAPPED_FRAMES} frames" in mapper.faults()["no_parallax"]
    for frame in BLIND[1:4]:
        mapper.add_frame(frame)
    assert len(mapper.model) > 0 and mapper.faults() == {}


def test_those_that_left_are_forgotten_and_the_queue_is_bounded(matcher):
    source, store = DepthSource(torch.device("cpu")), KeyframeStore(KeyframeConfig(), TrainingConfig())
    for index in range(MAX_WAITING + 5):
        source.wait(store.add(BLIND[0], 2.0), urgency=float(index))
    assert source.waiting == list(range(5, MAX_WAITING + 5))
    assert [keyframe.ready for keyframe in store] == [True] * 5 + [False] * MAX_WAITING
    source.forget(7)
    source.forget(7)
    assert 7 not in source.waiting


def test_training_goes_on_between_two_keyframes_that_are_matched(matcher):
    mapper = Mapper(MapperConfig(backend="cpu", sh_degree=0))
    for frame in BLIND:
        mapper.add_frame(frame)
    assert len(matcher.matched) == 1 < len(mapper.depth_source.waiting)  # the map had to start with something
    steps = []
    for matched in range(2, 5):
        before = mapper.steps
        while len(matcher.matched) < matched and mapper.steps < before + 1000:
            assert mapper.step().keyframe_id not in mapper.depth_source.waiting
        steps.append(mapper.steps - before)
    assert len(matcher.matched) == 4 and min(steps[1:]) > 1


def test_a_keyframe_of_a_whole_recording_is_matched_with_its_neighbours_not_with_far_views():
    sequence = SyntheticSequence(num_frames=24, width=160, height=120)
    store = KeyframeStore(KeyframeConfig(), TrainingConfig())
    for index in range(len(sequence)):
        store.add(replace(sequence[index], depth=None, masks=None), 0.0)
    for index in (0, 12, 23):
        result, truth = DepthSource(torch.device("cpu")).match(store.keyframes[index], store), sequence[index].depth
        depth = result.depth.numpy()
        known = depth > 0
        assert known.mean() > 0.3 and np.median(np.abs(depth - truth)[known] / truth[known]) < 0.02
    alone = KeyframeStore(KeyframeConfig(), TrainingConfig())
    assert DepthSource(torch.device("cpu")).match(alone.add(BLIND[0], 0.0), alone) is None


def test_a_floater_leaves_a_keyframes_depth_once_others_see_through_it(monkeypatch):
    """Stereo is the truth here, but for a block in the first keyframe that it sees at half the distance."""
    sequence = SyntheticSequence(num_frames=24, width=160, height=120)
    store = KeyframeStore(KeyframeConfig(), TrainingConfig())
    truth = {}
    for index in range(8, 13):
        keyframe = store.add(replace(sequence[index], depth=None, masks=None), 1.3)
        truth[tuple(keyframe.world_from_camera[:3, 3])] = sequence[index].depth
    block = (slice(50, 70), slice(60, 80))

    def matched(reference, sources, config, prior):
        depth = torch.from_numpy(truth[tuple(reference.world_from_camera[:3, 3])].copy())
        if (reference.world_from_camera == store.keyframes[0].world_from_camera).all():
            depth[block] *= 0.5
        return StereoResult(depth, torch.full_like(depth, 0.6))

    monkeypatch.setattr(depth_source, "stereo_depth", matched)
    source = DepthSource(torch.device("cpu"))
    for keyframe, urgency in zip(store, (0.9, 0.8, 0.7, 0.6, 0.5), strict=True):
        source.wait(keyframe, urgency)
    seeds = [source.match_next(store, some_map_of(keyframe)) for keyframe in store]
    assert [seed.keyframe.id for seed in seeds] == [0, 1, 2, 3, 4]
    assert (seeds[0].depth[block] < 1.0).all()  # nobody knows better yet
    assert np.median(seeds[-1].confidence) > np.median(seeds[0].confidence)
    first = store.keyframes[0].depth
    assert (first[block] > 0).mean() < 0.1
    assert (first > 0).mean() > 0.9


def some_map_of(keyframe):
    return lambda _: np.full(keyframe.image.shape[:2], 1.3, np.float32)
