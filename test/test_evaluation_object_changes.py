"""What changed from one map of a place to another, by its objects' boxes."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from viewer_maps import map_file

from cgc_ros import cli
from cgc_ros.evaluation.object_changes import KnownObject, box_iou, known_objects, object_changes
from cgc_ros.mapping.object_editing import EditRequest, edit_objects
from cgc_ros.mapping.saved_map import open_map


def thing(object_id, x, size=(0.1, 0.2, 0.3), label="", turn=0.0, background=False):
    rotation = Rotation.from_euler("z", turn, degrees=True).as_matrix()
    return KnownObject(object_id, label, background, np.array([x, 0.0, 0.0]), rotation, np.array(size))


SIZES = ((0.1, 0.2, 0.3), (0.4, 0.05, 0.05), (0.2, 0.2, 0.2), (0.08, 0.08, 0.5))
ROOM = [thing(k + 1, 1.0 * k, size) for k, size in enumerate(SIZES)] + [thing(9, 0.0, (9, 9, 0.1), background=True)]


def told(before, after):
    return [(each.kind, each.id, each.id_before) for each in object_changes(before, after)]


def renumbered(objects):
    """As another run has them: other ids, boxes a little off."""
    ids = np.random.default_rng(0).permutation(len(objects)) + 1
    return [
        replace(each, id=int(object_id), center=each.center + 0.01, size=1.03 * each.size)
        for each, object_id in zip(objects, ids, strict=True)
    ]


@pytest.mark.parametrize("other_run", [False, True])
def test_what_is_gone_new_or_elsewhere_is_told_and_what_stayed_is_not(other_run):
    after = [ROOM[0], replace(ROOM[1], center=np.array([1.0, 0.5, 0.0])), *ROOM[3:], thing(12, 6.0, (0.3, 0.3, 0.05))]
    assert told(ROOM, ROOM) == []
    if other_run:
        after = renumbered(after)
    changes = object_changes(ROOM, after)
    assert [(each.kind, each.id_before) for each in changes] == [("moved", 2), ("removed", 3), ("appeared", None)]
    assert changes[0].id == after[1].id and changes[0].distance == pytest.approx(0.5, abs=0.02)
    assert changes[2].place == after[-1].center.tolist() and changes[1].place is None


def test_two_alike_that_swapped_are_told_apart_by_their_ids():
    before = [thing(1, 0.0), thing(2, 1.0), *ROOM[2:]]
    after = [replace(before[0], center=before[1].center), replace(before[1], center=before[0].center), *ROOM[2:]]
    assert told(before, after) == [("moved", 1, 1), ("moved", 2, 2)]


def test_ids_of_another_run_say_nothing_and_names_find_what_moved():
    before = [thing(1, 0.0, SIZES[1]), thing(2, 1.0, label="mug"), thing(3, 2.0, label="jug"), thing(4, 3.0, SIZES[2])]
    after = [thing(4, 0.0, SIZES[1]), thing(3, 5.0, label="mug"), thing(2, 6.0, label="jug"), thing(1, 3.0, SIZES[2])]
    assert told(before, after) == [("moved", 2, 3), ("moved", 3, 2)]


def test_background_is_no_change():
    assert told(ROOM, ROOM[:-1]) == [] == told(ROOM[:-1], ROOM)


@given(st.floats(0, 90), st.floats(-0.2, 0.2), st.floats(0.05, 0.5), st.floats(0.05, 0.5))
@settings(max_examples=60, deadline=None)
def test_the_overlap_of_upright_boxes_is_that_of_their_shadows(turn, shift, width, length):
    one, other = thing(1, 0.0, (0.2, 0.3, 0.4)), thing(2, shift, (width, length, 0.4), turn=turn)
    shadows = [((0.0, 0.0), (0.2, 0.3), 0.0), ((shift, 0.0), (width, length), turn)]
    corners = cv2.rotatedRectangleIntersection(*shadows)[1]
    shared = 0.0 if corners is None else cv2.contourArea(cv2.convexHull(corners))
    assert box_iou(one, other) == pytest.approx(shared / (0.06 + width * length - shared), abs=0.06)
    assert box_iou(other, one) == pytest.approx(box_iou(one, other), abs=0.06)


def test_map_files_are_compared_by_their_objects(tmp_path, capsys):
    mapper = open_map(map_file())
    gone = next(each for each in mapper.snapshot().objects if not each.background)
    edit_objects(mapper, EditRequest("rename", (gone.id,), "mug"))
    mapper.save(tmp_path / "before.cgc")
    edit_objects(mapper, EditRequest("delete", (gone.id,)))
    mapper.save(tmp_path / "after.cgc")
    paths = [str(tmp_path / f"{name}.cgc") for name in ("before", "after")]
    assert len(known_objects(tmp_path / "before.cgc")) == len(known_objects(tmp_path / "after.cgc")) + 1
    assert cli.main(["compare", *paths]) == 0
    shown = capsys.readouterr().out
    assert "removed" in shown and f"mug {gone.id}" in shown and "appeared" not in shown
    assert cli.main(["compare", paths[0], paths[0]]) == 0
    assert "No object was removed, appeared or moved." in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["compare", paths[0]])
    assert "two at a time" in capsys.readouterr().err
