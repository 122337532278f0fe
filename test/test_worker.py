"""The restartable thread: told to stop is told for good, and two never run at once."""

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cgc_ros.worker import Worker


def wait_until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.001)


class Job:
    """A run that obeys `stopping` only while `obeying` is set; keeps how many ran, and how many at once."""

    def __init__(self):
        self.obeying, self.wake = threading.Event(), threading.Event()
        self.obeying.set()
        self.runs = self.active = self.most_active = 0
        self.lock = threading.Lock()

    def run(self, stopping):
        with self.lock:
            self.runs += 1
            self.active += 1
            self.most_active = max(self.most_active, self.active)
        while not stopping.is_set():
            self.wake.wait()
            self.wake.clear()
        self.obeying.wait()
        with self.lock:
            self.active -= 1


@pytest.fixture
def job():
    job = Job()
    yield job
    job.obeying.set()


def test_a_run_that_was_told_to_stop_and_did_not_end_in_time_never_works_beside_the_next(job):
    worker = Worker("job", job.run, wake=job.wake.set)
    worker.start()
    wait_until(lambda: job.runs == 1)
    job.obeying.clear()
    assert not worker.stop(0.01) and not worker.is_started and not worker.has_ended
    worker.start()
    assert worker.is_started and job.runs == 1
    job.obeying.set()
    wait_until(lambda: job.runs == 2 and job.active == 1)
    assert job.most_active == 1
    assert worker.stop(10.0) and worker.has_ended and job.active == 0


def test_a_start_that_is_taken_back_before_it_took_effect_never_runs(job):
    worker = Worker("job", job.run, wake=job.wake.set)
    worker.start()
    wait_until(lambda: job.runs == 1)
    job.obeying.clear()
    worker.stop(0.0)
    worker.start()
    worker.stop(0.0)
    job.obeying.set()
    wait_until(lambda: worker.has_ended)
    assert job.runs == 1


def test_a_run_that_ends_by_an_error_is_logged_and_can_be_started_again(caplog):
    errors = iter([ZeroDivisionError("of the first run")])
    ran = threading.Event()

    def run(stopping):
        for error in errors:
            raise error
        ran.set()

    worker = Worker("fragile", run)
    worker.start()
    wait_until(lambda: worker.has_ended)
    assert "thread fragile ended" in caplog.text and "of the first run" in caplog.text and not worker.is_started
    worker.start()
    assert ran.wait(10.0)


def test_starting_twice_is_starting_once(job):
    worker = Worker("job", job.run, wake=job.wake.set)
    worker.start()
    worker.start()
    assert worker.stop(10.0) and job.runs <= 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["start", "stop", "renew", "hang", "obey"]), max_size=25))
def test_whatever_the_order_of_starts_and_stops_one_runs_at_most_and_the_last_word_holds(steps):
    job = Job()
    worker = Worker("job", job.run, wake=job.wake.set)
    wanted = False
    for step in steps:
        match step:
            case "start":
                worker.start()
                wanted = True
            case "stop":
                worker.stop(0.0)
                wanted = False
            case "renew":
                worker.renew()
            case "hang":
                job.obeying.clear()
            case "obey":
                job.obeying.set()
        assert worker.is_started == wanted
    job.obeying.set()
    if wanted:
        wait_until(lambda: job.active == 1)
    else:
        wait_until(lambda: worker.has_ended and job.active == 0)
    assert job.most_active <= 1
    assert worker.stop(10.0) and job.active == 0


def test_a_renewed_run_goes_on_in_a_new_thread_after_the_old_one_has_ended(job):
    worker = Worker("job", job.run, wake=job.wake.set)
    worker.renew()
    assert worker.has_ended  # nothing to renew
    worker.start()
    wait_until(lambda: job.runs == 1)
    before = worker.native_id
    job.obeying.clear()
    worker.renew()
    worker.renew()
    assert worker.is_started and not worker.has_ended and job.runs == 1
    job.obeying.set()
    wait_until(lambda: job.runs == 2 and job.active == 1)
    assert worker.native_id != before and job.most_active == 1
    assert worker.stop(10.0) and worker.has_ended and job.active == 0


def test_a_stop_while_a_run_is_renewed_is_obeyed(job):
    worker = Worker("job", job.run, wake=job.wake.set)
    worker.start()
    wait_until(lambda: job.runs == 1)
    job.obeying.clear()
    worker.renew()
    worker.tell_to_stop()
    job.obeying.set()
    wait_until(lambda: worker.has_ended)
    assert job.runs == 1 and not worker.is_started
