"""The thread behind label images: the newest view wins, and mapping is left its share of the time."""

import os
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from ros_fakes import Taken
from std_msgs.msg import Header

from cgc_ros.frame import Intrinsics
from cgc_ros.ros.label_worker import LabelWorker
from cgc_ros.ros.parameters import NodeParameters
from cgc_ros.ros.view import View

CAMERA = Intrinsics(4, 3, 4.0, 4.0, 1.5, 1.0)


class Rig:
    """A worker whose label images are made by `render(view)`; `stamps` are those of what it published."""

    def __init__(self, render, share=1.0, rate=0.0, niceness=0):
        self.render, self.stamps, self.failures = render, [], Taken()
        current = SimpleNamespace(current=NodeParameters(label_share=share, label_rate=rate))
        self.worker = LabelWorker(self, self, current, self.failures, niceness)

    def labels(self, view):
        made = self.render(view)
        return np.zeros((3, 4), np.uint16) if made is None else made

    def is_wanted(self):
        return True

    def publish(self, labelled):
        self.stamps.append(labelled.view.stamp_ns)

    def send(self, stamp_ns):
        self.worker.on_view(View(Header(), stamp_ns, None, CAMERA, np.eye(4), time.monotonic_ns()))


def wait_until(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def run(render_s, share, rate=0.0, seconds=1.0):
    """Label images per second of a 100 Hz camera, their views' numbers, and how many newer views had come by then."""
    newer, sent = [], [0]

    def render(view):
        newer.append(sent[0] - view.stamp_ns)
        time.sleep(render_s)

    rig = Rig(render, share, rate)
    rig.worker.start()
    start = time.monotonic()
    for index in range(round(100 * seconds)):
        sent[0] = index
        rig.send(index)
        time.sleep(0.01)
    elapsed = time.monotonic() - start  # more than `seconds` on a busy machine
    assert rig.worker.stop() and not rig.failures
    return len(rig.stamps) / elapsed, rig.stamps, newer


@pytest.mark.skipif(sys.platform != "linux", reason="only on Linux has a thread a priority of its own")
def test_rendering_steps_back_as_far_as_it_is_told():
    def niceness(view=None):
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    found = []
    rig = Rig(lambda view: found.append(niceness()), niceness=4)
    rig.worker.start()
    rig.send(0)
    wait_until(lambda: found)
    assert rig.worker.stop() and found == [min(19, niceness() + 4)]


@pytest.mark.parametrize(("render_s", "share", "rate"), [(0.05, 0.5, 0.0), (0.001, 1.0, 10.0)])
def test_slow_label_images_leave_time_to_mapping_and_the_rate_is_bounded(render_s, share, rate):
    rate, stamps, newer = run(render_s, share, rate)
    assert 4 < rate <= 12 and stamps == sorted(stamps)  # 10, and one at the start and the end
    assert np.median(newer) <= 1  # the newest view, not one that waited for the rest to be over


def test_without_a_bound_they_follow_each_other():
    rate, _, _ = run(0.05, 1.0)
    assert 12 < rate <= 22


def test_a_failure_is_told_in_words_and_the_next_view_has_its_turn():
    def render(view):
        if view.stamp_ns == 0:
            raise MemoryError("none left")

    rig = Rig(render)
    rig.worker.start()
    rig.send(0)
    wait_until(lambda: rig.failures)
    assert rig.failures[0].kind == "out_of_memory" and "none left" in rig.failures[0].message
    rig.send(1)
    wait_until(lambda: rig.stamps == [1])
    assert rig.worker.stop()


def test_a_worker_that_did_not_stop_in_time_never_publishes_beside_the_one_started_after_it():
    hanging, entered = threading.Event(), threading.Event()

    def render(view):
        if view.stamp_ns == 0:
            entered.set()
            assert hanging.wait(10.0)

    rig = Rig(render)
    rig.worker.start()
    rig.send(0)
    assert entered.wait(5.0)
    assert not rig.worker.stop(0.05)
    rig.worker.start()
    rig.send(1)
    assert [thread.name for thread in threading.enumerate()].count("labels") == 1
    hanging.set()
    wait_until(lambda: rig.stamps)
    assert rig.worker.stop() and rig.stamps == [1]  # what was stopped says nothing any more
