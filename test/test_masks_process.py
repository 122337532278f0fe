"""A mask source in a process of its own: the same masks, and what happens when it fails, dies, hangs or is ended."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import psutil
import pytest
from waiting import wait_until

from cgc_ros.masks import MaskError, create_mask_source
from cgc_ros.masks.process import MaskProcess

rng = np.random.default_rng(0)
IMAGE = np.kron(rng.integers(0, 255, (6, 8, 3)), np.ones((20, 20, 1))).astype(np.uint8)
DEPTH = np.full(IMAGE.shape[:2], 2.0, np.float32)


@pytest.fixture(scope="module")
def masks():
    masks = MaskProcess("graph", niceness=3, min_area=50).wait_until_ready()
    yield masks
    masks.close()


def test_it_makes_the_source_s_own_masks_in_a_nicer_process(masks):
    here = create_mask_source("graph", min_area=50)
    assert (masks.name, masks.uses_depth) == (here.name, here.uses_depth)
    for depth in (None, DEPTH):
        np.testing.assert_array_equal(masks.segment(IMAGE, depth=depth), here.segment(IMAGE, depth=depth))
    np.testing.assert_array_equal(masks.segment_rendered(IMAGE, DEPTH), here.segment_rendered(IMAGE, DEPTH))
    assert masks.pid != os.getpid() and psutil.Process(masks.pid).nice() == os.nice(0) + 3


def test_what_the_source_refuses_is_refused_with_its_reason_and_its_trace(masks):
    pid = masks.pid
    with pytest.raises(MaskError, match=r"\(120, 160, 1\)") as refused:
        masks.segment(IMAGE[:, :, :1])
    assert refused.value.reason == "bad_image" and "check_input" in str(refused.value.__cause__)
    with pytest.raises(MaskError, match="AttributeError") as failed:
        masks.segment(None)
    assert failed.value.reason == "mask_source_failed"
    assert masks.segment(IMAGE).shape == (2, *IMAGE.shape[:2]) and masks.pid == pid


@pytest.mark.parametrize(
    ("kind", "options", "reason"),
    [("maks", {}, "unknown_kind"), ("graph", {"spacing": 3}, "bad_options"), ("graph", {"parts": 1.0}, "bad_options")],
)
def test_a_source_that_cannot_be_made_says_why(kind, options, reason):
    with pytest.raises(MaskError) as refused:
        MaskProcess(kind, **options).wait_until_ready()
    assert refused.value.reason == reason


def test_one_that_died_between_two_images_is_started_anew(masks):
    pid = masks.pid
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # a zombie's other threads take a moment
    assert masks.segment(IMAGE).max() > 1 and masks.pid != pid


@pytest.mark.parametrize("end", ["abandon", "close"])
def test_one_that_does_not_come_back_can_be_ended_and_the_next_image_has_another(masks, end):
    masks.segment(IMAGE)
    pid, failures = masks.pid, []
    os.kill(pid, signal.SIGSTOP)  # as a model that hangs

    def segment():
        with pytest.raises(MaskError, match="ended by signal SIGKILL") as ended:
            masks.segment(IMAGE)
        failures.append(ended.value.reason)

    thread = threading.Thread(target=segment)
    thread.start()
    time.sleep(0.1)
    assert thread.is_alive()
    started = time.monotonic()
    getattr(masks, end)()
    thread.join(5.0)
    assert failures == ["mask_process_ended"] and not psutil.pid_exists(pid)
    assert time.monotonic() - started < 3.0
    assert masks.segment(IMAGE).max() > 1 and masks.pid != pid


def test_it_ends_with_its_parent_however_that_ends_and_not_by_ctrl_c():
    program = (
        "from cgc_ros.masks.process import MaskProcess\n"
        "masks = MaskProcess('graph').wait_until_ready()\n"
        "print(masks.pid, flush=True)\n"
        "import time; time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    child = psutil.Process(int(parent.stdout.readline()))
    os.kill(child.pid, signal.SIGINT)
    time.sleep(0.2)
    assert child.is_running() and child.status() != psutil.STATUS_ZOMBIE
    os.kill(child.pid, signal.SIGSTOP)  # it cannot read the end of its pipe
    parent.kill()
    parent.wait()
    os.kill(child.pid, signal.SIGCONT)
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
