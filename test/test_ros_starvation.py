"""A mapper without processor time is noticed; one that has nothing to do, or is told to be slow, is left alone."""

from dataclasses import replace

from ros_fakes import FakeSession
from ros_rig import Rig

from cgc_ros.ros.starvation import StarvationWatch

SECOND = 1_000_000_000


def after(seconds, steps_per_s, **how):
    """What the watch says after so long, looking four times a second."""
    watch = StarvationWatch()
    for tick in range(seconds * 4):
        said = watch.update(tick * SECOND // 4, int(tick / 4 * steps_per_s), **({"is_mapping": True} | how))
    return said


def test_training_that_hardly_goes_on_is_noticed_after_ten_seconds():
    assert after(9, 0.2) == ""
    assert after(12, 0.2) == "2 training steps in 10 s"
    assert after(60, 0.0) == "0 training steps in 10 s"


def test_training_that_goes_on_rests_or_is_bounded_by_the_user_is_left_alone():
    assert after(60, 1.0) == ""
    assert after(60, 0.0, is_mapping=False) == ""
    assert after(60, 0.2, wanted_hz=0.2) == ""


def test_another_map_starts_the_count_anew():
    watch = StarvationWatch()
    watch.update(0, 100, True)
    assert watch.update(11 * SECOND, 5, True) == ""
    assert watch.update(12 * SECOND, 5, True) == ""


class StarvedSession(FakeSession):
    """Takes frames and never trains."""

    def status(self):
        return replace(super().status(), objects=0, steps=1)


def test_a_starved_mapper_is_named_with_what_to_set():
    with Rig(StarvedSession(), sync_wait=0.05) as rig:
        rig.connect()
        diagnosis = rig.wait(lambda: rig.diagnosis("mapping_starved"), 20.0, do=rig.send, every=0.1)
        assert "training_niceness" in diagnosis
