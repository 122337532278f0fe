"""Mapping steps back for others, but not before there is something to label."""

import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from cgc_ros.ros.parameters import NodeParameters
from cgc_ros.ros.session_factory import create_session
from cgc_ros.ros.step_back import StepBack
from cgc_ros.thread_priority import process_threads

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads have no niceness of their own")


def niceness(thread):
    return os.getpriority(os.PRIO_PROCESS, thread)


def session_of(thread, source):
    """What of a session is told to step back."""
    return SimpleNamespace(native_thread=thread, mask_source=source)


@pytest.fixture
def mapper_thread():
    """A thread as the session's."""
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, daemon=True)
    thread.start()
    yield thread.native_id
    stop.set()
    thread.join()


@pytest.fixture
def masks_process():
    script = "import threading, sys; threading.Thread(target=sys.stdin.read).start(); print(); sys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.readline()  # both threads are there
    yield process.pid
    process.communicate(b"")


def test_training_and_all_threads_of_the_masks_step_back_once(mapper_thread, masks_process):
    own = niceness(0)
    step_back = StepBack(session_of(mapper_thread, SimpleNamespace(pid=masks_process)), 3)
    assert niceness(mapper_thread) == own
    step_back.update()
    step_back.update()
    assert niceness(mapper_thread) == min(19, own + 3) and niceness(0) == own
    threads = process_threads(masks_process)
    assert len(threads) == 2 and {niceness(thread) for thread in threads} == {min(19, own + 13)}


def test_niceness_zero_never_steps_back(mapper_thread):
    own = niceness(mapper_thread)
    StepBack(session_of(mapper_thread, None), 0).update()
    assert niceness(mapper_thread) == own


def test_a_new_session_has_its_full_share():
    session = create_session(NodeParameters(mask_source="none"))
    session.start()
    try:
        assert niceness(session.native_thread) == niceness(0)
        StepBack(session, 3).update()
        assert niceness(session.native_thread) == min(19, niceness(0) + 3)
    finally:
        session.stop()
