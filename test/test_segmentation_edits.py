"""Edits of the objects by hand, through whatever association does, saves, loads and undo.

CGC_FUZZ=50 runs 50 times as many generated sequences of edits as the suite does.
"""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from edit_world import EditWorld

from cgc_ros.frame import MAX_OBJECT_ID
from cgc_ros.mapping.object_editing import EditError

SEQUENCES = int(200 * float(os.environ.get("CGC_FUZZ", "1")))
AT_ONCE = 100


@pytest.fixture(autouse=True)
def one_thread():
    """Torch's threads wait for each other longer than so small a map takes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Watch:
    """What must be true of a world after everything that happens."""

    def __init__(self, world: EditWorld):
        self.world = world

    def check(self) -> None:
        layer = self.world.layer
        state, uids, ids = layer.state, self.world.uids, self.world.published
        present = np.unique(ids[ids >= 0]).tolist()
        assert present == sorted(state.records) == [record.id for record in state.records.values()]
        assert all(1 <= each <= MAX_OBJECT_ID for each in present)
        for at, edit in enumerate(layer.edits.log):
            later = [each for each in layer.edits.log[at + 1 :] if each.kind not in ("rename", "unpin")]
            touched = {each for other in later for each in (*other.ids, *(hold.id for hold in other.holds))}
            held_later = [uids[:0], *(hold.uids for other in later for hold in other.holds if not hold.lifted)]
            for hold in edit.holds:
                held = ids[np.isin(uids, hold.uids) & ~np.isin(uids, np.concatenate(held_later))]
                if edit.kind == "delete":
                    assert (held == -1).all() and hold.id not in present
                elif edit.kind == "pin" and not hold.lifted:
                    assert (held == hold.id).all() and (not len(held) or state.records[hold.id].pinned)
                elif edit.kind == "merge" and not touched & {*edit.ids}:
                    assert 2 * (held == edit.ids[0]).sum() >= len(held)
                    assert not set(edit.ids[1:]) & set(present)
                elif edit.kind == "split" and not touched & {each.id for each in edit.holds}:
                    assert 2 * (held == hold.id).sum() >= len(held)
        assert {key for key, record in state.records.items() if record.pinned} == layer.edits.pinned & set(present)


def pinned_gaussians(world: EditWorld) -> dict[int, np.ndarray]:
    return {each: world.uids[world.published == each] for each in world.layer.edits.pinned}


@pytest.mark.parametrize("first", range(0, SEQUENCES, AT_ONCE))
def test_fuzz_edits_hold_through_anything_and_are_undone(first):
    for seed in range(first, min(first + AT_ONCE, SEQUENCES)):
        world = EditWorld(seed)
        watch = Watch(world)
        for _ in range(int(world.rng.integers(6, 24))):
            what = world.rng.choice(["edit", "regroup", "save"], p=[0.45, 0.45, 0.1])
            before = world.layer.state
            if what == "edit":
                world.any_edit()
            elif what == "save":
                world.save_and_load()
            else:
                pins = pinned_gaussians(world)
                world.regroup()
                for pinned, had in pins.items():
                    now = world.uids[world.published == pinned]
                    assert np.isin(had[np.isin(had, world.uids)], now).all()
                    came = np.setdiff1d(now, had)
                    assert (before.ids_of(came) == -1).all()
            watch.check()
        while world.layer.edits.log:
            world.edit("undo")
            watch.check()
        np.testing.assert_array_equal(world.published, world.raw)


@pytest.fixture
def world() -> EditWorld:
    return EditWorld(0)


def test_what_is_deleted_does_not_come_back_under_another_number_nor_with_another_side(world):
    world.edit("delete", 3)
    for number in (40, 41, 42):
        world.raw[world.home == 3] = number  # association calls it something else
        world.born(np.full(30, 3), np.full(30, number))  # and training adds to it
        world.publish()
        assert sorted(world.layer.state.records) == [1, 2, 4, 5, 6]
        assert (world.published[world.home == 3] == -1).all() and (world.published[world.home == 2] == 2).all()
    world.edit("undo")
    assert (world.published == world.raw).all()


def test_a_new_thing_where_one_was_deleted_is_an_object(world):
    world.edit("delete", 3)
    world.raw[np.flatnonzero(world.raw == 3)[:5]] = 50  # its masks cover a little of what is there
    world.born(np.full(40, 3), np.full(40, 50), np.full(40, 50))
    world.publish()
    world.born(np.full(20, 3), np.full(20, 50), np.full(20, 50))
    world.publish()
    assert sorted(world.layer.state.records) == [1, 2, 4, 5, 6, 50]
    assert (world.published[world.home == 50] == 50).mean() > 0.9
    assert (world.published[world.home == 3] == -1).all()


def test_the_id_of_what_was_deleted_is_no_other_things_either(world):
    world.edit("delete", 3)
    world.raw[world.home == 3] = -1
    world.raw[world.home == 4] = 3  # association gives the number to something else
    world.publish()
    assert 3 not in world.layer.state.records and (world.published[world.home == 4] == 4).all()


def test_merged_objects_are_one_with_the_first_id_however_association_cuts_them(world):
    world.edit("merge", 4, 2)
    both = np.isin(world.home, (2, 4))
    for number, cut in ((60, world.home == 4), (61, world.home == 2), (62, both & (world.means[:, 1] > 0.5))):
        world.raw[cut] = number
        world.publish()
        assert (world.published[both] == 4).all() and not {2, 60, 61, 62} & world.layer.state.records.keys()
    world.raw[world.home == 2] = 5  # it takes one of them for a third, which is larger
    world.born(np.full(60, 5), np.full(60, 5))
    world.publish()
    assert (world.published[np.isin(world.home, (2, 4))] == 4).all()
    assert (world.published[world.home == 5] == 5).all()


def test_parts_stay_apart_and_what_grows_on_them_is_theirs(world):
    outcome = world.edit("split", 2)
    assert outcome.ids[0] == 2 and len(outcome.ids) == 2
    parts = {each: world.means[world.published == each] for each in outcome.ids}
    assert len(parts[2]) >= len(parts[outcome.ids[1]]) > 5
    world.raw[world.home == 2] = 70
    world.born(np.full(30, 2), np.full(30, 70))
    world.publish()
    of_thing, means = world.published[world.home == 2], world.means[world.home == 2]
    middles = np.stack([points.mean(axis=0) for points in parts.values()])
    assert set(of_thing.tolist()) == set(outcome.ids)
    nearest = np.linalg.norm(means[:, None] - middles, axis=2).argmin(axis=1)
    assert (np.array(outcome.ids)[nearest] == of_thing).mean() > 0.7


def test_what_is_pinned_stays_as_it_is_and_takes_nothing_from_others(world):
    world.edit("pin", 2)
    pinned = world.home == 2
    for change in ("joins", "is joined", "is cut", "is lost"):
        world.raw = world.home.copy()
        if change == "joins":
            world.raw[world.home == 3] = 2
        elif change == "is joined":
            world.raw[pinned] = 3
        elif change == "is cut":
            world.raw[pinned & (world.means[:, 1] > 0.5)] = 80
        else:
            world.raw[pinned] = -1
        world.publish()
        assert (world.published[pinned] == 2).all() and (world.published == 2).sum() == pinned.sum(), change
        assert (world.published[world.home == 3] == 3).all(), change
    assert world.layer.state.records[2].pinned
    world.edit("unpin", 2)
    assert 2 not in world.layer.state.records


def test_no_id_is_left_for_parts(world):
    world.layer.registry.next_id = MAX_OBJECT_ID + 1
    world.layer.registry.max_id = 0
    with pytest.raises(EditError, match="object 2 cannot be split: every id is taken"):
        world.edit("split", 2)
