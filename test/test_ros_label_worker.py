"""The thread behind label images: the newest view wins, and mapping is left its share of the time."""

import os
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from std_msgs.msg import Header

from cgc_ros.frame import Intrinsics
from cgc_ros.ros.intake import View
from cgc_ros.ros.label_worker import LabelWorker

CAMERA = Intrinsics(4, 3, 4.0, 4.0, 1.5, 1.0)


def run(render_s, share, period_s=0.0, seconds=1.0):
    """Label images per second of a 100 Hz camera, their views' numbers, and how many newer views had come by then."""
    stamps, newer, sent = [], [], [0]

    def render(view):
        newer.append(sent[0] - view.stamp_ns)
        time.sleep(render_s)
        return np.zeros((3, 4), np.uint16)

    worker = LabelWorker(
        render,
        lambda labelled: stamps.append(labelled.view.stamp_ns),
        lambda: True,
        lambda: period_s,
        lambda: share,
        lambda error: None,
    )
    worker.start()
    start = time.monotonic()
    for index in range(round(100 * seconds)):
        sent[0] = index
        worker.submit(View(Header(), index, None, CAMERA, np.eye(4), time.monotonic_ns()))
        time.sleep(0.01)
    elapsed = time.monotonic() - start  # more than `seconds` on a busy machine
    assert worker.stop()
    return len(stamps) / elapsed, stamps, newer


@pytest.mark.skipif(sys.platform != "linux", reason="only on Linux has a thread a priority of its own")
def test_rendering_steps_back_as_far_as_it_is_told():
    def niceness(view=None):
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    found = []
    worker = LabelWorker(
        niceness, lambda labelled: found.append(labelled.labels), lambda: True, lambda: 0.0, lambda: 1.0, raising, 4
    )
    worker.start()
    worker.submit(View(Header(), 0, None, CAMERA, np.eye(4), time.monotonic_ns()))
    deadline = time.monotonic() + 5.0
    while not found:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert worker.stop() and found == [min(19, niceness() + 4)]


def raising(error):
    raise error


@pytest.mark.parametrize(("render_s", "share", "period_s"), [(0.05, 0.5, 0.0), (0.001, 1.0, 0.1)])
def test_slow_label_images_leave_time_to_mapping_and_the_rate_is_bounded(render_s, share, period_s):
    rate, stamps, newer = run(render_s, share, period_s)
    assert 4 < rate <= 12 and stamps == sorted(stamps)  # 10, and one at the start and the end
    assert np.median(newer) <= 1  # the newest view, not one that waited for the rest to be over


def test_without_a_bound_they_follow_each_other():
    rate, _, _ = run(0.05, 1.0)
    assert 12 < rate <= 22


def test_a_worker_that_did_not_stop_in_time_never_publishes_beside_the_one_started_after_it():
    hanging, entered, published = threading.Event(), threading.Event(), []

    def render(view):
        if view.stamp_ns == 0:
            entered.set()
            assert hanging.wait(10.0)
        return np.zeros((3, 4), np.uint16)

    worker = LabelWorker(
        render,
        lambda labelled: published.append(labelled.view.stamp_ns),
        lambda: True,
        lambda: 0.0,
        lambda: 1.0,
        raising,
    )
    view = View(Header(), 0, None, CAMERA, np.eye(4), time.monotonic_ns())
    worker.start()
    worker.submit(view)
    assert entered.wait(5.0)
    assert not worker.stop(0.05)
    worker.start()
    worker.submit(replace(view, stamp_ns=1))
    assert [thread.name for thread in threading.enumerate()].count("labels") == 1
    hanging.set()
    deadline = time.monotonic() + 5.0
    while not published:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert worker.stop() and published == [1]  # what was stopped says nothing any more
