"""Streaming a recording: what the mapper sees, when, and what a run leaves behind."""

from __future__ import annotations

import itertools
import time

import cv2
import numpy as np
import pytest
from evaluation_fakes import FakeSession, PerfectSnapshot, VirtualClock, map_object, read

from cgc_ros.evaluation.mapping_run import StreamOptions, default_budget, feed_times, stream
from cgc_ros.evaluation.run_output import write_run
from cgc_ros.evaluation.run_record import RunRecorder
from cgc_ros.evaluation.synthetic import SyntheticSequence
from cgc_ros.mapping.work_times import KINDS
from cgc_ros.run_files import RunError
from cgc_ros.sequences import SequenceError


@pytest.fixture(scope="module")
def sequence() -> SyntheticSequence:
    return SyntheticSequence(num_frames=16, width=64, height=48)


def test_held_out_frames_are_never_shown(sequence):
    session = FakeSession()
    stream(session, sequence, StreamOptions(budget=0.3), clock=VirtualClock())
    assert [frame.name for frame in session.submitted] == [f"{i:04d}" for i in range(16) if i % 8 != 7]


def test_the_budget_is_time_from_the_first_frame_to_the_end(sequence):
    clock = VirtualClock()
    outcome = stream(FakeSession(), sequence, StreamOptions(budget=30.0), clock=clock)
    assert outcome.seconds == pytest.approx(30.0, abs=0.05) and clock.now == pytest.approx(130.0, abs=0.05)
    assert outcome.stream_seconds == pytest.approx(
        15 * 14 / 16, abs=0.1
    )  # spread over half of it, the last slot held out


def test_a_schedule_that_is_over_ends_the_run_before_its_budget(sequence):
    session = FakeSession()
    session.mapper.finished = True
    outcome = stream(session, sequence, StreamOptions(budget=30.0), clock=VirtualClock())
    assert outcome.stream_seconds <= outcome.seconds < outcome.stream_seconds + 0.1


def test_frames_come_at_the_rate_asked_for_and_held_out_ones_keep_their_slots(sequence):
    clock, times = VirtualClock(), []
    session = FakeSession(on_submit=lambda frame: times.append(clock.now))
    stream(session, sequence, StreamOptions(budget=12.0, rate_hz=2.0), clock=clock)
    slots = [index / 2 for index in range(16) if index % 8 != 7]
    assert np.allclose(np.array(times) - times[0], slots, atol=0.05)


def test_without_a_rate_frames_are_spread_over_half_the_budget_and_wait_for_the_mapper(sequence):
    assert feed_times(sequence, 160.0, StreamOptions())[-1] == pytest.approx(75.0)
    assert not feed_times(sequence, 160.0, StreamOptions(feed_share=0.0)).any()
    waits = []

    class Slow(FakeSession):
        @property
        def waiting_frames(self):
            waits.append(1)
            return 1 if len(waits) % 3 else 0

        @waiting_frames.setter
        def waiting_frames(self, value):
            pass

    session = Slow()
    outcome = stream(session, sequence, StreamOptions(budget=10.0), clock=VirtualClock())
    assert len(session.submitted) == 14 and outcome.not_submitted == 0 and len(waits) > 14


def test_frames_the_budget_leaves_no_time_for_are_counted(sequence):
    outcome = stream(FakeSession(), sequence, StreamOptions(budget=0.3, rate_hz=20.0), clock=VirtualClock())
    assert outcome.not_submitted > 0
    assert outcome.frames_submitted + outcome.not_submitted == 14


def test_depth_and_masks_can_be_withheld(sequence):
    session = FakeSession()
    stream(session, sequence, StreamOptions(budget=0.2, use_depth=False, use_masks=False), clock=VirtualClock())
    assert all(frame.depth is None and frame.masks is None for frame in session.submitted)


def test_the_default_budget_is_the_recordings_length_and_a_minute(sequence):
    assert default_budget(sequence, None) == pytest.approx(15 / 5 + 60)
    assert default_budget(sequence, 2.0) == pytest.approx(16 / 2 + 60)


def test_ctrl_c_ends_the_stream_and_keeps_what_came_so_far(sequence, tmp_path):
    def interrupt(frame):
        if frame.name == "0004":
            raise KeyboardInterrupt

    session = FakeSession(on_submit=interrupt)
    outcome = stream(session, sequence, StreamOptions(budget=5.0), clock=VirtualClock())
    assert outcome.interrupted and outcome.seconds < 5
    metrics = write_run(tmp_path, session, sequence, outcome, {"backend": "cpu"})
    assert metrics["run"]["interrupted"] and (tmp_path / "map.cgc").exists()


def test_an_unreadable_frame_is_left_out_and_named(tmp_path):
    class Damaged(SyntheticSequence):
        def load_image(self, index):
            if index == 2:
                raise SequenceError("bad_image", "images/0002.jpg is truncated")
            return super().load_image(index)

    session = FakeSession()
    outcome = stream(
        session, Damaged(num_frames=6, width=64, height=48), StreamOptions(budget=0.2), clock=VirtualClock()
    )
    assert outcome.unreadable == ["images/0002.jpg is truncated"] and len(session.submitted) == 5


def test_a_recording_without_one_readable_frame_is_an_error():
    class Broken(SyntheticSequence):
        def load_image(self, index):
            raise SequenceError("bad_image", f"image {index} is damaged")

    with pytest.raises(SequenceError, match="no frame could be read; first: image 0 is damaged"):
        stream(FakeSession(), Broken(num_frames=3), StreamOptions(budget=0.2), clock=VirtualClock())


def test_a_recording_that_holds_everything_out_is_an_error(sequence, monkeypatch):
    monkeypatch.setattr(SyntheticSequence, "is_held_out", lambda self, index: True)
    with pytest.raises(RunError, match="every frame is held out"):
        stream(FakeSession(), sequence, StreamOptions(budget=0.2), clock=VirtualClock())


def test_a_run_leaves_its_map_objects_metrics_history_and_previews(sequence, tmp_path):
    session = FakeSession()
    outcome = stream(session, sequence, StreamOptions(budget=1.5), clock=VirtualClock())
    metrics = write_run(tmp_path, session, sequence, outcome, {"backend": "cpu", "masks": "given"})
    assert session.paused and session.stopped
    assert read(tmp_path / "metrics.json") == metrics | {"machine": metrics["machine"]}
    assert metrics["frames"] == {"submitted": 14, "used": 14, "dropped": {}, "unreadable": 0, "not_submitted": 0}
    assert metrics["keyframes_per_second"] == pytest.approx(7 / outcome.stream_seconds)
    assert metrics["steps_per_second"] == pytest.approx(70 / outcome.seconds)
    assert metrics["training_share"] is None and set(metrics["busy"]) == set(KINDS)
    assert metrics["id_stability"] == 1.0 and metrics["label_latency_ms_p95"] >= metrics["label_latency_ms_p50"] > 0
    assert metrics["peak_rss_mb"] > 50

    objects = read(tmp_path / "objects.json")["objects"]
    assert [item["id"] for item in objects] == [43, 44, 45, 46] and objects[0]["label"] == "box 1"
    assert np.array(objects[0]["box"]["rotation"]).shape == (3, 3)
    records = read(tmp_path / "history.json")["records"]
    assert len(records) >= 2 and all(later["t"] > earlier["t"] for earlier, later in itertools.pairwise(records))
    previews = sorted((tmp_path / "previews").glob("*.png"))
    assert len(previews) == 4 and cv2.imread(str(previews[0])).shape == (48, 4 * 64 + 3 * 4, 3)


def test_id_stability_pools_publications_and_tells_the_second_half_apart():
    recorder, session = RunRecorder(), FakeSession()
    clouds = [np.random.default_rng(seed).uniform(0, 0.1, (200, 3)) + [seed, 0, 0] for seed in range(2)]
    for version, ids in enumerate([(1, 2), (1, 2), (1, 3), (1, 3)]):
        session.snapshot = PerfectSnapshot(version)
        session.snapshot.objects = tuple(map_object(key, cloud) for key, cloud in zip(ids, clouds, strict=True))
        recorder.sample(float(2 * version), session, None, stream_share=0.25 * (version + 1))
    figures = recorder.figures()
    assert (
        figures["id_stability"] == pytest.approx(5 / 6) and figures["ids_changed"] == 1 and figures["ids_vanished"] == 0
    )
    assert figures["id_stability_second_half"] == pytest.approx(
        5 / 6
    )  # the change came at three quarters: transitions 1 to 3
    assert figures["label_latency_ms_p50"] is None


def test_the_same_publication_is_not_compared_with_itself():
    recorder, session = RunRecorder(), FakeSession(snapshot=PerfectSnapshot(5))
    for second in range(4):
        recorder.sample(float(second), session, None, 0.5)
    assert recorder.figures()["id_stability"] is None and len(recorder.records) == 4


def test_sampling_takes_its_share_of_the_time_and_no_more(sequence):
    """A label image that takes 30 ms is timed every 3 s, however often the recorder is asked."""

    class Slow(PerfectSnapshot):
        segmented = 0

        def segment(self, camera):
            self.segmented += 1
            start = time.perf_counter()
            while time.perf_counter() - start < 0.03:
                pass
            return super().segment(camera)

    recorder, snapshot = RunRecorder(), Slow(1)
    session = FakeSession(snapshot=snapshot)
    for second in range(60):
        recorder.sample(float(second), session, sequence[0], 0.5)
    spent_s = sum(recorder.label_latencies_ms) / 1000
    assert 0 < snapshot.segmented and spent_s <= 0.011 * 60 + max(recorder.label_latencies_ms) / 1000


def test_comparing_publications_makes_no_clouds():
    class WithoutClouds(PerfectSnapshot):
        def __init__(self, version: int):
            super().__init__(version)
            self._things = super().things
            self.objects = None

        @property
        def things(self):
            return self._things

    recorder, session = RunRecorder(), FakeSession()
    for version in range(2):
        session.snapshot = WithoutClouds(version)
        recorder.sample(2.0 * version, session, None, 0.5)
    assert recorder.figures()["id_stability"] == 1.0 and recorder.records[-1]["objects"] == 4
