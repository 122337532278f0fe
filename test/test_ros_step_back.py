"""Mapping steps back for others, but not before there is something to label."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from cgc_ros.ros.parameters import NodeParameters
from cgc_ros.ros.session_factory import create_session
from cgc_ros.ros.step_back import StepBack
from cgc_ros.thread_priority import ProcessorShare, process_threads

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads have no niceness of their own")


def niceness(thread):
    return os.getpriority(os.PRIO_PROCESS, thread)


def session_of(thread, source):
    """What of a session is told to step back."""
    session = SimpleNamespace(native_thread=thread, mask_source=source, renewed=0)
    session.renew_thread = lambda: setattr(session, "renewed", session.renewed + 1)
    return session


@pytest.fixture
def new_thread():
    """Makes threads that do nothing; their native ids."""
    stop, threads = threading.Event(), []

    def make():
        threads.append(threading.Thread(target=stop.wait, daemon=True))
        threads[-1].start()
        return threads[-1].native_id

    yield make
    stop.set()
    for thread in threads:
        thread.join()


@pytest.fixture
def mapper_thread(new_thread):
    """A thread as the session's."""
    return new_thread()


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


class Accounts:
    """The scheduler's accounts of a thread that always wanted to run and got a `share` of the time."""

    def __init__(self, monkeypatch):
        self.ran = self.waited = 0.0
        monkeypatch.setattr(Path, "read_text", lambda path: f"{self.ran:.0f} {self.waited:.0f} 1\n")

    def spend(self, seconds, share):
        self.ran += share * seconds * 1e9
        self.waited += (1 - share) * seconds * 1e9


@pytest.fixture
def accounts(monkeypatch):
    return Accounts(monkeypatch)


def test_a_mapper_that_others_leave_nothing_goes_on_in_a_thread_that_steps_back_less(
    mapper_thread, new_thread, accounts
):
    own, session = niceness(0), session_of(mapper_thread, None)
    step_back = StepBack(session, 15)
    step_back.watch()
    step_back.update()
    assert niceness(mapper_thread) == min(19, own + 15)
    accounts.spend(1.0, 0.03)
    step_back.watch()
    assert session.renewed == 0  # not for a moment's wait
    accounts.spend(1.5, 0.03)
    step_back.watch()
    assert session.renewed == 1
    session.native_thread = new_thread()
    step_back.watch()
    step_back.update()
    assert niceness(session.native_thread) == min(19, own + 9)


@pytest.mark.parametrize(("share", "further"), [(0.3, 9), (0.9, 15)])
def test_how_far_it_steps_back_is_what_others_leave_it(mapper_thread, accounts, share, further):
    own, session = niceness(0), session_of(mapper_thread, None)
    step_back = StepBack(session, 15)
    step_back.watch()
    accounts.spend(3.0, share)
    step_back.watch()
    step_back.update()
    assert niceness(mapper_thread) == min(19, own + further) and session.renewed == 0


def test_once_others_have_gone_it_steps_back_all_the_way(mapper_thread, accounts):
    own, session = niceness(0), session_of(mapper_thread, None)
    step_back = StepBack(session, 15)
    for share in (0.3, 0.9):
        step_back.watch()
        accounts.spend(3.0, share)
        step_back.watch()
        step_back.update()
    assert niceness(mapper_thread) == min(19, own + 15) and session.renewed == 0


def test_without_the_schedulers_accounts_nothing_is_known(mapper_thread, monkeypatch):
    share = ProcessorShare(0.0)
    monkeypatch.setattr(Path, "read_text", lambda path: "what?")
    assert share.update(mapper_thread) is None and share.update(mapper_thread) is None


def test_the_share_of_a_thread_that_runs_alone_is_known():
    share = ProcessorShare(0.001)
    assert share.update(threading.get_native_id()) is None
    begin = time.thread_time()
    while time.thread_time() - begin < 0.02:
        pass
    assert 0.0 < share.update(threading.get_native_id()) <= 1.0
