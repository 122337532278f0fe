"""Keyframes without depth wait for stereo: which goes first, when it is tried again, and when it gives up."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cgc_ros.evaluation.synthetic import SyntheticSequence
from cgc_ros.mapping import Mapper, MapperConfig, depth_source
from cgc_ros.mapping.config import KeyframeConfig, TrainingConfig
from cgc_ros.mapping.depth_source import MAX_TRIES, MAX_WAITING, STEREO_TRUST, DepthSource
from cgc_ros.mapping.keyframes import KeyframeStore

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
        return SimpleNamespace(depth=depth)


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


def test_the_least_explained_goes_first_and_one_at_a_time(matcher):
    source, store = DepthSource(torch.device("cpu")), store_of(4)
    for keyframe, urgency in zip(store, (0.1, 0.9, 0.1, 0.5), strict=True):
        source.wait(keyframe, urgency)
    order = [source.match_next(store, no_map).keyframe.id for _ in range(4)]
    assert order == [1, 3, 0, 2] and len(matcher.matched) == 4
    assert source.match_next(store, no_map) is None and source.waiting == []
    assert all(keyframe.depth_trust == STEREO_TRUST and (keyframe.depth == 2.0).all() for keyframe in store)


def test_without_a_partner_it_waits_and_what_stereo_cannot_settle_is_tried_with_new_partners_only(matcher):
    source, store = DepthSource(torch.device("cpu")), store_of(1)
    source.wait(store.keyframes[0], 1.0)
    assert source.match_next(store, no_map) is None and not matcher.matched
    matcher.share = 0.02
    for index in range(1, 3 + MAX_TRIES):
        store.add(BLIND[index], 2.0)
        for _ in range(2):
            assert source.match_next(store, no_map) is None
    assert len(matcher.matched) == MAX_TRIES and source.waiting == []
    assert store.keyframes[0].depth is None


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
    for matched in range(2, 5):
        for _ in range(mapper.config.seeding.stereo_every):
            assert mapper.step().keyframe_id not in mapper.depth_source.waiting
        assert len(matcher.matched) == matched
