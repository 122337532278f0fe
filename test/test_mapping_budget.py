"""Training's share of the mapper's time, and what the rest does with what is left."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cgc_ros.evaluation.synthetic import SyntheticSequence
from cgc_ros.mapping import Mapper, MapperConfig
from cgc_ros.mapping.budget import SIDE, WorkBudget
from cgc_ros.mapping.config import BudgetConfig
from cgc_ros.mapping.work_times import WorkTimes

CONFIG = BudgetConfig(train=0.7, train_while_frames=0.45, calm_after=2.0, least=0.1, stereo=0.5, votes=0.2, objects=0.3)
STEP = 0.05  # seconds


class Worker:
    """A thread whose work takes what it is told to."""

    def __init__(self, by_clock: bool = True):
        self.now = 0.0
        self.work = WorkTimes(lambda: self.now)
        self.budget = WorkBudget(CONFIG, self.work, by_clock)
        self.order = []

    def do(self, kind: str, cost: float) -> None:
        self.order.append(kind)
        with self.budget.spend(kind, cost):
            self.now += cost

    def step(self, due, costs) -> None:
        """A step of training, and what the budget lets go beside it."""
        self.do("train", STEP)
        while kind := self.budget.next(due):
            self.do(kind, costs[kind])

    def share(self, *kinds: str) -> float:
        return sum(self.work.busy[kind] for kind in kinds) / sum(self.work.busy.values())


COSTS = st.fixed_dictionaries({kind: st.floats(1e-3, 1.0) for kind in SIDE})


@settings(max_examples=40, deadline=None)
@given(st.lists(COSTS, min_size=50, max_size=150))
def test_training_gets_its_share_but_for_one_piece_whatever_the_others_cost(costs):
    """The bound of Goyal, Vin and Cheng's theorem 1: services over shares differ by at most a piece over its share."""
    worker = Worker()
    for each in costs:
        worker.step(SIDE, each)
    train, side = worker.work.busy["train"], sum(worker.work.busy[kind] for kind in SIDE)
    largest = max(max(each.values()) for each in costs)
    assert train / CONFIG.train - side / (1 - CONFIG.train) >= -largest / (1 - CONFIG.train) - 1e-9
    assert train / CONFIG.train - side / (1 - CONFIG.train) <= STEP / CONFIG.train + 1e-9


def test_each_kind_of_side_work_gets_its_share_of_what_training_leaves():
    worker = Worker()
    for _ in range(2000):
        worker.step(SIDE, {"stereo": 0.3, "votes": 0.02, "objects": 0.01})
    assert worker.share("train") == pytest.approx(0.7, abs=0.01)
    assert worker.share("stereo") == pytest.approx(0.15, abs=0.01)
    assert worker.share("votes") == pytest.approx(0.06, abs=0.01)
    assert worker.share("objects") == pytest.approx(0.09, abs=0.01)


def test_what_others_do_not_need_goes_to_training_and_is_not_saved_up():
    worker = Worker()
    for _ in range(500):
        worker.step((), {})
    assert worker.share("train") == 1.0
    before = worker.work.busy["train"]
    for _ in range(100):
        worker.step(("objects",), {"objects": 0.01})
    assert worker.work.busy["objects"] / (worker.work.busy["train"] - before) == pytest.approx(3 / 7, abs=0.03)


def test_more_urgent_work_of_a_kind_goes_sooner():
    def stereo_of(urgency: float) -> float:
        worker = Worker()
        for _ in range(1000):
            with worker.budget.spend("train", STEP):
                worker.now += STEP
            while kind := worker.budget.next(("stereo", "objects")):
                with worker.budget.spend(kind, 0.05, urgency if kind == "stereo" else 1.0):
                    worker.now += 0.05
        return worker.work.busy["stereo"] / worker.work.busy["objects"]

    assert stereo_of(1.0) == pytest.approx(5 / 3, rel=0.05)
    assert stereo_of(4.0) == pytest.approx(20 / 3, rel=0.05)


@pytest.mark.parametrize(("frame_cost", "train", "least"), [(0.02, 0.45, 0.3), (0.5, 0.3, 0.04)])
def test_frames_count_against_the_rest_which_never_starves(frame_cost, train, least):
    """A frame every three steps, cheap, and so dear that nothing would be left."""
    worker = Worker()
    for index in range(3000):
        if index % 3 == 0:
            worker.budget.note_frame()
            worker.do("frames", frame_cost)
        worker.step(SIDE, {"stereo": 0.1, "votes": 0.02, "objects": 0.01})
    assert worker.share(*SIDE) > least
    if frame_cost < 0.1:
        assert worker.share("train") == pytest.approx(train, abs=0.02)
    else:  # the least that the rest has, beside training that has all else
        assert worker.share(*SIDE) / worker.share("train") == pytest.approx(
            CONFIG.least / CONFIG.train_while_frames, abs=0.01
        )


def test_without_a_clock_the_order_of_work_depends_on_the_work_alone():
    def order(slowness: float) -> list[str]:
        worker = Worker(by_clock=False)
        for index in range(200):
            worker.step(SIDE, {"stereo": 0.3, "votes": 0.02, "objects": 0.01})
            worker.now += slowness * index
        return worker.order

    assert order(0.0) == order(1.0) and set(order(0.0)) == {"train", *SIDE}


def test_a_mapper_with_masks_and_without_depth_does_some_of_everything():
    sequence, mapper = SyntheticSequence(num_frames=8), Mapper(MapperConfig(backend="cpu", sh_degree=0))
    for index in range(len(sequence)):
        mapper.add_frame(replace(sequence[index], depth=None))
        for _ in range(8):
            mapper.step()
    assert all(mapper.work.busy[kind] > 0 for kind in ("train", *SIDE, "frames"))
    assert not mapper.segmenter.waiting


def test_time_that_training_does_not_want_is_for_what_is_due_beside_it():
    sequence, mapper = SyntheticSequence(num_frames=12), Mapper(MapperConfig(backend="cpu", sh_degree=0))
    assert not mapper.work_beside()
    for index in range(3):
        mapper.add_frame(sequence[index])
    steps, pieces = mapper.steps, 0
    while mapper.work_beside() and pieces < 1000:
        pieces += 1
    assert mapper.steps == steps and 0 < pieces < 1000
    assert not mapper.segmenter.waiting and len(mapper.segmenter.layer.state.records) > 0
