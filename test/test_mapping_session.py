"""The session around a mapper: bounded queues, counted drops, snapshots, and calls between steps."""

import os
import signal
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from waiting import wait_until

from cgc_ros.evaluation.synthetic import SyntheticSequence
from cgc_ros.mapping import Mapper, MapperConfig, MappingSession
from cgc_ros.masks import MaskSource
from cgc_ros.masks.process import MaskProcess
from cgc_ros.thread_priority import MASKS_NICENESS

SEQUENCE = SyntheticSequence(num_frames=8, width=80, height=60)
CONFIG = MapperConfig(backend="cpu", sh_degree=0)


@pytest.fixture
def session():
    session = MappingSession(Mapper(CONFIG), snapshot_period=0.05)
    session.start()
    yield session
    session.stop()


def test_frames_become_a_map_and_snapshots_grow(session):
    assert session.status().state == "waiting"
    for index in range(4):
        session.submit(SEQUENCE[index])
        wait_until(lambda: session.waiting_frames == 0)
    wait_until(
        lambda: session.status().steps > 5 and session.snapshot is not None and session.snapshot.num_gaussians > 0
    )
    version = session.snapshot.version
    wait_until(lambda: session.snapshot.version > version)
    status = session.status()
    assert status.state == "mapping" and status.frames_used == status.frames_received == 4
    assert status.keyframes >= 1 and status.gaussians > 0 and status.steps_per_second > 0


def test_newest_frames_win_and_every_drop_is_counted(monkeypatch):
    session = MappingSession(Mapper(CONFIG), queue_size=2)  # not started: nothing takes the frames away
    for index in range(5):
        session.submit(SEQUENCE[index])
    assert session.status().dropped == {"queue_full": 3}
    assert session.status().frames_received == 5
    add_frame, taken = session.mapper.add_frame, []
    monkeypatch.setattr(session.mapper, "add_frame", lambda frame: taken.append(frame.name) or add_frame(frame))
    while session.waiting_frames:
        session.turn()
    assert taken == [SEQUENCE[3].name, SEQUENCE[4].name]


def test_a_refused_frame_is_counted_named_and_mapping_goes_on(session):
    bad = replace(SEQUENCE[0], world_from_camera=np.full((4, 4), np.nan))
    session.submit(bad)
    wait_until(lambda: session.status().dropped.get("bad_pose") == 1)
    assert "pose" in session.status().faults["bad_pose"]
    session.submit(SEQUENCE[0])
    wait_until(lambda: session.status().keyframes == 1)


def test_pause_stops_training_and_counts_frames_resume_goes_on(session):
    session.submit(SEQUENCE[0])
    wait_until(lambda: session.status().steps > 2)
    session.pause()
    time.sleep(0.3)
    steps = session.status().steps
    session.submit(SEQUENCE[1])
    time.sleep(0.3)
    status = session.status()
    assert status.state == "paused" and status.steps == steps and status.dropped == {"paused": 1}
    session.pause(False)
    wait_until(lambda: session.status().steps > steps)


def test_calls_run_in_the_worker_and_hand_back_results_and_errors(session):
    assert session.ask(lambda mapper: threading.current_thread().name) == "mapper"
    with pytest.raises(ZeroDivisionError):
        session.ask(lambda mapper: 1 / 0)
    assert session.ask(lambda mapper: mapper.steps) >= 0


def test_only_what_changes_the_map_publishes_it(session):
    session.submit(SEQUENCE[0])
    wait_until(lambda: session.snapshot is not None)
    session.pause()
    session.ask(lambda mapper: None)  # the step under way has ended
    before = session.snapshot
    session.ask(lambda mapper: mapper.steps)
    assert session.snapshot is before
    session.change(lambda mapper: mapper.names.give(1, "mug"))
    assert session.snapshot.version > before.version and session.snapshot.names[1] == ("mug", 1.0)


def test_reset_empties_map_and_counters(session):
    session.submit(SEQUENCE[0])
    wait_until(lambda: session.status().keyframes == 1)
    session.reset()
    status = session.status()
    assert (status.keyframes, status.frames_received, status.steps) == (0, 0, 0)
    assert session.snapshot.num_gaussians == 0


class FailingMasks(MaskSource):
    name = "failing"

    def __init__(self):
        self.calls = 0

    def segment(self, image, *, depth=None):
        self.calls += 1
        if self.calls == 1:
            raise RuntimeError("weights on fire")
        return np.ones(image.shape[:2], dtype=np.int32)


def test_a_mask_source_that_fails_never_stops_mapping():
    source = FailingMasks()
    session = MappingSession(Mapper(CONFIG), source, snapshot_period=0.05)
    session.start()
    try:
        session.submit(replace(SEQUENCE[0], masks=None))
        wait_until(lambda: session.status().dropped.get("masks_failed") == 1)
        assert "weights on fire" in session.status().faults["mask_source_failed"]
        wait_until(lambda: session.status().steps > 2)
        session.submit(replace(SEQUENCE[4], masks=None))
        wait_until(lambda: source.calls == 2 and "mask_source_failed" not in session.status().faults)
        wait_until(lambda: len(session.mapper.segmenter.masks) == 1)
    finally:
        session.stop()
    assert session.status().state == "stopped"


def test_a_mask_source_that_hangs_is_named_by_the_timeout_of_that_moment():
    release = threading.Event()

    class HangingMasks(MaskSource):
        name = "hanging"

        def segment(self, image, *, depth=None):
            release.wait(20)
            return np.ones(image.shape[:2], dtype=np.int32)

    session = MappingSession(Mapper(CONFIG), HangingMasks(), mask_timeout=0.1)
    session.start()
    try:
        session.submit(replace(SEQUENCE[0], masks=None))
        wait_until(lambda: "mask_source_hung" in session.status().faults)
        session.mask_timeout = 60.0
        wait_until(lambda: "mask_source_hung" not in session.status().faults)
        session.mask_timeout = 0.1
        wait_until(lambda: "mask_source_hung" in session.status().faults)
        wait_until(lambda: session.status().steps > 1)
        release.set()
        wait_until(lambda: "mask_source_hung" not in session.status().faults)
    finally:
        release.set()
        session.stop()


def test_masks_made_in_another_process_that_hangs_go_on_with_the_next_keyframe():
    masks = MaskProcess("graph").wait_until_ready()
    session = MappingSession(Mapper(CONFIG), masks, mask_timeout=0.3)
    session.start()
    try:
        session.submit(replace(SEQUENCE[0], masks=None))
        wait_until(lambda: len(session.mapper.segmenter.masks) == 1)
        os.kill(masks.pid, signal.SIGSTOP)
        session.submit(replace(SEQUENCE[3], masks=None))
        wait_until(lambda: "mask_source_hung" in session.status().faults)
        wait_until(lambda: session.status().dropped.get("masks_failed") == 1)
        assert "ended by signal SIGKILL" in session.status().faults["mask_source_failed"]
        session.submit(replace(SEQUENCE[6], masks=None))
        wait_until(lambda: len(session.mapper.segmenter.masks) == 2)
        assert session.status().faults == {}
    finally:
        session.stop()
    assert masks.pid is None


@pytest.mark.skipif(sys.platform != "linux", reason="only on Linux has a thread a priority of its own")
def test_training_steps_back_as_far_as_it_is_told_and_masks_further():
    found = []

    class Masks(MaskSource):
        name = "curious"

        def segment(self, image, *, depth=None):
            found.append(thread_niceness())
            return np.ones(image.shape[:2], dtype=np.int32)

    ours = thread_niceness()
    session = MappingSession(Mapper(CONFIG), Masks(), niceness=4)
    session.start()
    try:
        assert session.ask(lambda _: thread_niceness()) == min(19, ours + 4)
        session.submit(replace(SEQUENCE[0], masks=None))
        wait_until(lambda: found == [min(19, ours + 4 + MASKS_NICENESS)])
    finally:
        session.stop()
    assert thread_niceness() == ours


def thread_niceness():
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_an_unexpected_error_is_named_and_mapping_goes_on(session, monkeypatch):
    session.submit(SEQUENCE[0])
    wait_until(lambda: session.status().steps > 1)
    step = session.mapper.step
    failures = iter([RuntimeError("cosmic ray"), torch.cuda.OutOfMemoryError("CUDA out of memory")])

    def failing_step():
        error = next(failures, None)
        if error is not None:
            raise error
        return step()

    before = session.status()
    monkeypatch.setattr(session.mapper, "step", failing_step)
    wait_until(lambda: {"mapping_failed", "out_of_memory"} <= set(session.status().faults))
    assert "cosmic ray" in session.status().faults["mapping_failed"]
    wait_until(lambda: session.status().steps > before.steps + 2)
    cap = session.mapper.config.density.max_gaussians  # what the cut left
    assert 0 < session.status().gaussians <= cap < MapperConfig().density.max_gaussians
