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
