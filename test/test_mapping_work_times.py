"""Where the mapper's time goes."""

import pytest

from cgc_ros.evaluation.synthetic import SyntheticSequence
from cgc_ros.mapping import Mapper, MapperConfig
from cgc_ros.mapping.work_times import KINDS, WorkTimes


def test_work_is_counted_by_its_kind_also_where_it_fails():
    now = [0.0]
    work = WorkTimes(lambda: now[0])
    assert work.training_share is None
    with work.spend("train"):
        now[0] += 3.0
    with pytest.raises(ValueError), work.spend("votes"):
        now[0] += 1.0
        raise ValueError("no")
    assert work.busy == dict.fromkeys(KINDS, 0.0) | {"train": 3.0, "votes": 1.0}
    assert work.training_share == 0.75


def test_a_mapper_counts_all_that_it_does():
    sequence = SyntheticSequence(num_frames=6)
    mapper = Mapper(MapperConfig(backend="cpu", sh_degree=0))
    for index in range(4):
        mapper.add_frame(sequence[index])
        for _ in range(8):
            mapper.step()
    mapper.snapshot()
    assert all(mapper.work.busy[kind] > 0 for kind in ("train", "objects", "votes", "snapshot", "frames"))
    mapper.reset()
    assert mapper.work.training_share is None
