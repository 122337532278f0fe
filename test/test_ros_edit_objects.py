"""~/edit_objects over DDS, on a map of four solids."""

import pytest
from cgc_ros.srv import EditObjects, LoadMap, QueryObjects, SaveMap
from ros_rig import Rig
from viewer_maps import mapper

from cgc_ros.mapping import MappingSession

EDIT = EditObjects.Request


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    session = MappingSession(mapper(), snapshot_period=0.05)
    session.change(lambda mapper: None)
    with Rig(session, map_directory=str(tmp_path_factory.mktemp("maps"))) as rig:
        rig.wait(lambda: known(rig))
        yield rig


def known(rig) -> dict:
    """Objects by id, as a query tells them."""
    return {each.id: each for each in rig.call(QueryObjects, "cgc/query_objects", include_background=True).objects}


def edit(rig, operation, *ids, label=""):
    return rig.call(EditObjects, "cgc/edit_objects", operation=operation, ids=list(ids), label=label)


def test_edits_show_at_once_hold_through_save_and_load_and_are_undone(rig):
    before = known(rig)
    first, second, third = sorted(before)[:3]
    named = edit(rig, EDIT.RENAME, first, label="  red  mug ")
    assert named.success and list(named.ids) == [first] and known(rig)[first].label == "red mug"
    merged = edit(rig, EDIT.MERGE, first, second)
    assert merged.success and list(merged.ids) == [first] and known(rig).keys() == before.keys() - {second}
    deleted = edit(rig, EDIT.DELETE, third)
    assert deleted.success and list(deleted.ids) == []
    assert edit(rig, EDIT.PIN, first).success
    left = before.keys() - {second, third}
    assert known(rig).keys() == left
    assert rig.call(SaveMap, "cgc/save_map", name="edited").success
    assert all(edit(rig, EDIT.UNDO).success for _ in range(4)) and known(rig).keys() == before.keys()
    loaded = rig.call(LoadMap, "cgc/load_map", name="edited")
    assert loaded.success and loaded.objects == len(left) and known(rig).keys() == left
    assert list(edit(rig, EDIT.UNDO).ids) == [first]
    assert list(edit(rig, EDIT.UNDO).ids) == [third]
    assert list(edit(rig, EDIT.UNDO).ids) == [first, second]
    assert known(rig).keys() == before.keys() and known(rig)[first].label == "red mug"
    assert edit(rig, EDIT.UNDO).success and known(rig)[first].label == ""


@pytest.mark.parametrize(
    ("operation", "ids", "message"),
    [
        (EDIT.DELETE, [999], "there is no object 999: ids are those of"),
        (EDIT.MERGE, [1], "merge object 1 with what"),
        (EDIT.SPLIT, [1], "object 1 has no parts"),
        (EDIT.UNPIN, [1], "object 1 is not pinned"),
        (EDIT.RENAME, [1, 2], "rename takes one object, not 2"),
        (EDIT.PIN, [], "pin which objects"),
        (EDIT.UNDO, [], "there is nothing to undo"),
        (200, [1], "operation 200 is unknown: 0 rename, 1 delete"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_id_and_the_remedy(rig, operation, ids, message):
    before = known(rig)
    answer = edit(rig, operation, *ids)
    assert not answer.success and message in answer.message
    assert known(rig).keys() == before.keys()


def test_what_is_pinned_is_neither_merged_split_nor_deleted(rig):
    first, second = sorted(known(rig))[:2]
    assert edit(rig, EDIT.PIN, first).success
    for operation, ids in ((EDIT.MERGE, (second, first)), (EDIT.SPLIT, (first,)), (EDIT.DELETE, (second, first))):
        answer = edit(rig, operation, *ids)
        assert not answer.success and f"object {first} is pinned: unpin it" in answer.message
    assert {first, second} <= known(rig).keys()
    assert edit(rig, EDIT.UNPIN, first).success and edit(rig, EDIT.DELETE, first).success
    for _ in range(3):
        assert edit(rig, EDIT.UNDO).success
