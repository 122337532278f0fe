"""Errors that nobody expected: what kind they are, what becomes of their tensors, and how often the log tells."""

import logging
import time
import weakref

import pytest
import torch

from cgc_ros.evaluation.synthetic import SyntheticSequence
from cgc_ros.mapping import Failure, FailureLog, Mapper, MapperConfig, MappingSession, is_gpu_lost, is_out_of_memory

SEQUENCE = SyntheticSequence(num_frames=4, width=80, height=60)
OUT_OF_MEMORY = [
    torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("CUDA error: out of memory"),
]
GPU_LOST = [
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("CUDA error: device-side assert triggered\nCUDA kernel errors might be reported asynchronously"),
    *([torch.AcceleratorError("CUDA error: unspecified launch failure")] if hasattr(torch, "AcceleratorError") else []),
]


def wait_until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def session():
    session = MappingSession(Mapper(MapperConfig(backend="cpu", sh_degree=0)), snapshot_period=0.05)
    session.start()
    session.submit(SEQUENCE[0])
    wait_until(lambda: session.status().steps > 2)
    yield session
    session.stop()


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_memory_that_ran_out_is_told_from_a_gpu_that_is_lost(error):
    assert is_out_of_memory(error) and not is_gpu_lost(error)


@pytest.mark.parametrize("error", GPU_LOST)
def test_a_gpu_that_is_lost_is_told_from_other_errors(error):
    assert is_gpu_lost(error) and not is_out_of_memory(error)
    assert not is_gpu_lost(ValueError("no such CUDA error")) and not is_gpu_lost(RuntimeError("shapes do not match"))


def test_a_failed_step_holds_no_tensor_while_memory_is_made_free(session, monkeypatch):
    tensors, collected = [], []

    def failing_step():
        leaf = torch.zeros(1000, requires_grad=True)
        loss = (leaf * 2).sum()
        tensors.extend([weakref.ref(leaf), weakref.ref(loss)])
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    step = session.mapper.step
    monkeypatch.setattr(session.mapper, "step", lambda: step() if tensors else failing_step())
    relieve = session.mapper.relieve_memory

    def relieve_memory():
        collected.extend(each() is None for each in tensors)
        return relieve()

    monkeypatch.setattr(session.mapper, "relieve_memory", relieve_memory)
    wait_until(lambda: "out_of_memory" in session.status().faults)
    assert collected == [True, True]


def test_a_lost_gpu_is_a_fault_of_its_own_that_lasts_and_nothing_is_tried_again(session, monkeypatch, caplog):
    tries = []

    def step():
        tries.append(time.monotonic())
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    wait_until(lambda: session.snapshot is not None)
    monkeypatch.setattr(session.mapper, "step", step)
    wait_until(lambda: "gpu_lost" in session.status().faults)
    assert "illegal memory access" in session.status().faults["gpu_lost"]
    for index in (1, 2):
        session.submit(SEQUENCE[index])
    wait_until(lambda: session.status().dropped.get("gpu_lost") == 2)
    assert len(tries) == 1 and caplog.text.count("Traceback") == 1
    assert session.snapshot.num_gaussians > 0 and session.ask(lambda mapper: mapper.keyframes.next_id) == 1
    session.reset()
    assert "gpu_lost" in session.status().faults  # only a restart helps


def test_an_error_that_repeats_is_logged_once_and_then_now_and_then_with_its_number(monkeypatch, caplog):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    log = FailureLog(logging.getLogger("test"))

    def fail(error):
        try:
            raise error
        except RuntimeError as caught:
            return Failure.of(caught)

    for second in range(21):
        clock[0] = float(second)
        log.write("mapping failed", fail(RuntimeError(f"number {second}")))  # another text, the same place
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 3 and "number 0" in messages[0] and "(9 times more in the last 10 s)" in messages[1]
    log.write("mapping failed", Failure.of(ValueError("elsewhere")))
    assert "elsewhere" in caplog.records[-1].getMessage()


def test_memory_that_a_reader_lacks_is_made_free_by_the_mapper_s_thread_and_its_failure_is_told(session, monkeypatch):
    def relieve_memory():
        raise MemoryError("not even for that")

    monkeypatch.setattr(session.mapper, "relieve_memory", relieve_memory)
    session.relieve_memory()
    wait_until(lambda: "not even for that" in session.status().faults.get("out_of_memory", ""))
    steps = session.status().steps
    wait_until(lambda: session.status().steps > steps)
