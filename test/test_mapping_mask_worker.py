"""Masks of keyframes: which depth a source is handed, when it looks again, and when it does not."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from cgc_ros.evaluation.synthetic import SyntheticSequence
from cgc_ros.frame import IGNORED, UNLABELLED
from cgc_ros.mapping import Mapper, MapperConfig, MappingSession
from cgc_ros.mapping.config import KeyframeConfig
from cgc_ros.mapping.mask_worker import HOPELESS, LOOK_AGAIN, LOOK_AGAIN_STEPS, MaskWorker
from cgc_ros.masks import MaskSource

FRAME = SyntheticSequence(num_frames=8, width=80, height=60)[0]
BLIND = replace(FRAME, depth=None, masks=None)


class Source(MaskSource):
    name, uses_depth = "watchful", True

    def __init__(self):
        self.depths = []

    def segment(self, image, *, depth=None):
        self.depths.append(depth)
        return np.ones(image.shape[:2], np.int32)


class Reporter:
    def __init__(self):
        self.counts, self.faults = Counter(), {}

    def count(self, reason):
        self.counts[reason] += 1

    def fault(self, name, message):
        self.faults[name] = message

    def clear_fault(self, name):
        self.faults.pop(name, None)


class Rig:
    """A worker whose thread runs, on a map that the test says."""

    def __init__(self, snapshot=None, source=None, timeout=1.0):
        self.snapshot, self.steps = snapshot, 0
        self.source, self.reporter = source or Source(), Reporter()
        self.worker = MaskWorker(
            self.source, lambda: (self.snapshot, self.steps), self.reporter, queue_size=2, timeout=timeout, niceness=4
        )

    def __enter__(self):
        self.worker.start()
        return self

    def __exit__(self, *_):
        self.has_ended = self.worker.stop(5.0)

    def masks(self):
        return self.worker.finished.get(timeout=5.0)


@pytest.fixture(scope="module")
def snapshot():
    mapper = Mapper(MapperConfig(backend="cpu", sh_degree=0))
    mapper.add_frame(FRAME)
    for _ in range(15):
        mapper.step()
    return mapper.snapshot()


def test_the_cameras_own_depth_goes_first_and_is_final(snapshot):
    with Rig(snapshot) as rig:
        rig.worker.request(3, replace(FRAME, masks=None))
        assert rig.masks()[0] == 3
        rig.steps = 10_000
        time.sleep(0.2)
        assert rig.worker.finished.empty()
    np.testing.assert_array_equal(rig.source.depths, [FRAME.depth])


def test_without_it_the_map_s_depth_is_rendered(snapshot):
    with Rig(snapshot) as rig:
        rig.worker.request(3, BLIND)
        rig.masks()
    (depth,) = rig.source.depths
    assert depth.shape == FRAME.depth.shape and depth.dtype == np.float32
    known = (depth > 0) & (FRAME.depth > 0)
    assert known.mean() > 0.5
    assert np.median(np.abs(depth - FRAME.depth)[known] / FRAME.depth[known]) < 0.05  # after 15 steps


def test_a_keyframe_is_looked_at_again_as_the_map_gets_better_at_ever_longer_intervals(snapshot):
    with Rig() as rig:
        rig.worker.request(3, BLIND)
        rig.masks()
        assert rig.source.depths == [None]
        rig.snapshot = snapshot
        for _ in range(2):
            due = int(LOOK_AGAIN * rig.steps + LOOK_AGAIN_STEPS)
            rig.steps = due - 1
            time.sleep(0.15)
            assert rig.worker.finished.empty()
            rig.steps = due
            assert rig.masks()[0] == 3
        assert len(rig.source.depths) == 3 and rig.source.depths[1] is not None
        rig.worker.forget(3)
        rig.steps = 100_000
        time.sleep(0.15)
        assert rig.worker.finished.empty()


def test_a_source_is_told_which_depth_is_the_maps_own(snapshot):
    class Telling(Source):
        def segment_rendered(self, image, depth):
            self.depths.append("rendered")
            return np.ones(image.shape[:2], np.int32)

    with Rig(snapshot, Telling()) as rig:
        for frame in (BLIND, FRAME):
            rig.worker.request(3, frame)
            rig.masks()
        assert rig.source.depths[0] == "rendered" and rig.source.depths[1] is FRAME.depth


def test_a_source_that_does_not_use_depth_is_not_asked_again(snapshot):
    source = Source()
    source.uses_depth = False
    with Rig(snapshot, source) as rig:
        rig.worker.request(3, BLIND)
        rig.masks()
        rig.steps = 10_000
        time.sleep(0.15)
        assert rig.worker.finished.empty()
    assert source.depths == [None]


class Known:
    """A snapshot of one object, 7, in the left half of every view, and of pixels that are ignored."""

    def __init__(self, records):
        self.num_gaussians, self.records = 5, records

    def segment(self, camera):
        labels = np.full((camera.height, camera.width), UNLABELLED, np.uint16)
        labels[:, : camera.width // 2] = 7
        labels[: camera.height // 2] = IGNORED
        return labels


def test_a_source_that_makes_less_of_what_is_known_is_told_what_the_map_sees():
    class Newsy(Source):
        uses_depth, uses_known = False, True

        def segment_news(self, image, known, *, depth=None):
            self.depths.append(known)
            return np.ones(image.shape[:2], np.int32)

    height, width = BLIND.image.shape[:2]
    with Rig(None, Newsy()) as rig:
        for snapshot in (None, Known({}), Known({7: "an object"})):
            rig.snapshot = snapshot
            rig.worker.request(3, BLIND)
            rig.masks()
    assert rig.source.depths[:2] == [None, None]  # all of an image by `segment`, as long as no object is known
    expected = np.zeros((height, width), np.int32)
    expected[height // 2 :, : width // 2] = 8
    np.testing.assert_array_equal(rig.source.depths[2], expected)


def test_the_newest_keyframes_go_first_and_late_ones_are_counted_and_come_later():
    rig = Rig()  # not started: nothing takes them away
    for keyframe_id in range(5):
        rig.worker.request(keyframe_id, BLIND)
    assert rig.reporter.counts == {"masks_late": 3}
    with rig:
        assert [rig.masks()[0] for _ in range(5)] == [3, 4, 0, 1, 2]


def test_a_late_keyframe_on_which_the_source_fails_is_not_tried_for_ever():
    class Failing(Source):
        def segment(self, image, *, depth=None):
            self.depths.append(depth)
            raise RuntimeError("weights on fire")

    rig = Rig(source=Failing())
    rig.source.uses_depth = False
    for keyframe_id in range(4):
        rig.worker.request(keyframe_id, BLIND)
    with rig:
        time.sleep(0.4)
    assert len(rig.source.depths) == 4 and rig.reporter.counts["masks_failed"] == 4


def test_masks_of_a_keyframe_that_has_left_or_is_another_map_s_are_not_taken():
    session = MappingSession(Mapper(MapperConfig(backend="cpu", sh_degree=0)), Source())  # not started
    session.mapper.add_frame(BLIND)
    masks = np.ones(BLIND.image.shape[:2], np.int32)
    for keyframe_id, stamp_ns in ((7, BLIND.stamp_ns), (0, BLIND.stamp_ns - 1)):
        session.masks.finished.put((keyframe_id, stamp_ns, masks))
    session.turn()
    assert not session.mapper.segmenter.masks
    session.masks.finished.put((0, BLIND.stamp_ns, masks))
    session.turn()
    assert list(session.mapper.segmenter.masks) == [0]


def test_nothing_is_made_of_keyframes_that_were_forgotten():
    rig = Rig()
    rig.worker.request(0, BLIND)
    rig.worker.forget()
    with rig:
        rig.worker.request(1, BLIND)
        assert rig.masks()[0] == 1
        time.sleep(0.15)
        assert rig.worker.finished.empty()


def test_a_keyframe_that_leaves_the_store_leaves_the_queue_too():
    config = MapperConfig(backend="cpu", sh_degree=0, keyframes=KeyframeConfig(max_keyframes=4))
    session = MappingSession(Mapper(config), Source(), mask_queue_size=2)  # not started: nothing takes jobs away
    sequence = SyntheticSequence(num_frames=24, width=80, height=60)
    for index in range(len(sequence)):
        session.submit(replace(sequence[index], masks=None))
        session.turn()
    held = set(session.mapper.keyframes.keyframes)
    assert session.mapper.keyframes.next_id > len(held) == 4 and session.masks.wanted() == held


@pytest.mark.skipif(sys.platform != "linux", reason="only on Linux has a thread a priority of its own")
def test_masks_give_way_to_whoever_wants_the_same_cores():
    found = []

    class Curious(Source):
        def segment(self, image, *, depth=None):
            found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
            return super().segment(image, depth=depth)

    ours = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    with Rig(source=Curious()) as rig:
        rig.worker.request(0, FRAME)
        rig.worker.finished.get(timeout=10.0)
    assert found == [min(19, ours + 4)]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == ours


class Stuck(Source):
    """Comes back only when it is abandoned or closed, and then with an error, as a process that was killed."""

    def __init__(self):
        super().__init__()
        self.ended, self.how = threading.Event(), []

    def segment(self, image, *, depth=None):
        assert self.ended.wait(10.0)
        raise ConnectionError("its process ended")

    def abandon(self):
        self.how.append("abandoned")
        self.ended.set()

    def close(self):
        self.how.append("closed")
        self.ended.set()


def test_a_source_that_does_not_come_back_is_named_first_and_abandoned_later():
    with Rig(source=Stuck(), timeout=0.2) as rig:
        started = time.monotonic()
        rig.worker.request(0, FRAME)
        while "mask_source_failed" not in rig.reporter.faults:
            rig.worker.watch()
            if "mask_source_hung" in rig.reporter.faults and rig.source.how == []:
                named = time.monotonic() - started
            assert time.monotonic() - started < 10.0
            time.sleep(0.01)
        assert 0.2 <= named < time.monotonic() - started >= 0.2 * HOPELESS
        assert rig.source.how == ["abandoned"] and rig.reporter.counts["masks_failed"] == 1
        rig.worker.watch()
        assert "mask_source_hung" not in rig.reporter.faults


def test_at_the_end_a_source_is_closed_and_what_it_has_in_work_is_no_fault():
    with Rig(source=Stuck()) as rig:
        rig.worker.request(0, FRAME)
        while not rig.worker.is_working:
            time.sleep(0.01)
    assert rig.source.how == ["closed"] and rig.has_ended
    assert rig.reporter.faults == {} and rig.reporter.counts == {}
