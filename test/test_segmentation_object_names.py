"""Names from a 2D detector's boxes: which object a box means, what views agree on, and that a hand's name holds."""

import numpy as np
import pytest

from cgc_ros.frame import IGNORED, UNLABELLED
from cgc_ros.segmentation.object_names import NamedBox, NameVote, ObjectNames, ViewWeights, match_boxes


def image(*objects, size=(120, 160)):
    """A label image of filled rectangles (id, left, top, right, bottom), later ones in front."""
    labels = np.full(size, UNLABELLED, np.uint16)
    for object_id, left, top, right, bottom in objects:
        labels[top:bottom, left:right] = object_id
    return labels


def said(labels, *boxes):
    return {(vote.object_id, vote.name): vote.weight for vote in match_boxes(labels, [NamedBox(*box) for box in boxes])}


def vote(object_id, name, score=0.9, weight=None):
    return NameVote(object_id, name, score, score if weight is None else weight)


def test_a_box_names_the_object_it_encloses_with_a_weight_of_score_and_overlap():
    labels = image((3, 20, 20, 60, 60))
    votes = said(labels, (20, 20, 60, 70, "mug", 0.8))  # 40x40 pixels in a box of 40x50
    assert votes == {(3, "mug"): pytest.approx(0.8 * 40 * 40 / (40 * 50), rel=0.02)}


def test_a_box_around_several_objects_names_none_of_them():
    labels = image((1, 20, 20, 50, 60), (2, 60, 20, 90, 60), (3, 100, 20, 130, 60))
    assert said(labels, (18, 18, 132, 62, "cups", 0.9)) == {}


def test_a_box_around_a_bowl_of_fruit_names_the_bowl():
    labels = image((1, 20, 20, 100, 100), (2, 40, 40, 60, 60), (3, 62, 40, 80, 60))
    assert set(said(labels, (20, 20, 100, 100, "bowl", 0.9), (40, 40, 60, 60, "apple", 0.7))) == {
        (1, "bowl"), (2, "apple"),
    }  # fmt: skip


def test_a_wall_that_frames_a_cupboard_does_not_take_its_name():
    labels = image((1, 0, 0, 160, 120), (2, 10, 10, 150, 110))  # their boxes overlap by three quarters
    assert set(said(labels, (8, 8, 152, 112, "cupboard", 0.9))) == {(2, "cupboard")}


def test_a_box_that_is_mostly_ignored_names_nothing():
    labels = image((5, 20, 20, 60, 60))
    labels[20:60, 20:35] = IGNORED
    assert set(said(labels, (20, 20, 60, 60, "mug", 0.9))) == {(5, "mug")}
    labels[20:60, 20:45] = IGNORED
    assert said(labels, (20, 20, 60, 60, "hand", 0.9)) == {}


def test_a_few_stray_pixels_do_not_make_an_object_larger():
    labels = image((5, 20, 20, 60, 60))
    labels[110, 150], labels[5, 3] = 5, 5
    assert (5, "box") in said(labels, (20, 20, 60, 60, "box", 0.9))


def test_where_two_objects_fit_alike_the_vote_is_worth_little():
    halves = image((1, 20, 20, 60, 40), (2, 20, 40, 60, 61))
    whole = image((1, 20, 20, 60, 60))
    box = (20, 20, 60, 60, "book", 0.9)
    assert max(said(halves, box).values(), default=0.0) < 0.1 * said(whole, box)[1, "book"]


def test_two_boxes_of_one_class_on_one_object_count_once():
    labels = image((1, 20, 20, 60, 60))
    once = said(labels, (20, 20, 60, 60, "mug", 0.9))
    assert said(labels, (20, 20, 60, 60, "mug", 0.9), (20, 20, 60, 62, "mug", 0.5)) == once


@pytest.mark.parametrize(
    "box", [(-90, 0, -10, 50), (200, 0, 300, 50), (50, 50, 50, 90), (60, 60, 20, 20), (np.nan, 0, 10, 10)]
)
def test_boxes_that_enclose_nothing_say_nothing(box):
    assert said(image((1, 0, 0, 160, 120)), (*box, "ghost", 1.0)) == {}
    assert said(image(), (10, 10, 50, 50, "ghost", 1.0)) == {}


def test_confidence_grows_with_views_that_agree_and_falls_where_they_do_not():
    names, confidences = ObjectNames(), []
    for _ in range(6):
        names.add_view([vote(4, "mug")])
        confidences.append(names.resolved()[4][1])
    assert confidences == sorted(confidences) and confidences[0] < 0.6 < confidences[-1] < 0.9
    for _ in range(4):
        names.add_view([vote(4, "bowl")])
    name, confidence = names.resolved()[4]
    assert name == "mug" and confidence < confidences[-1] - 0.2


def test_unsure_detections_never_make_a_sure_name():
    names = ObjectNames()
    for _ in range(100):
        names.add_view([vote(1, "cat", score=0.3)])
    assert 0.2 < names.resolved()[1][1] <= 0.3


def test_a_wrong_first_name_is_outvoted_without_flicker():
    names, shown = ObjectNames(), []
    for said_now in ["bowl", "mug", "bowl", *["mug"] * 12]:
        names.add_view([vote(2, said_now)])
        shown.append(names.resolved()[2][0])
    assert shown[0] == "bowl" and shown[-1] == "mug"
    assert sum(before != after for before, after in zip(shown, shown[1:], strict=False)) == 1


def test_a_name_of_long_ago_can_be_overruled():
    names = ObjectNames()
    for _ in range(500):
        names.add_view([vote(2, "box")])
    for _ in range(60):
        names.add_view([vote(2, "drawer")])
    assert names.resolved()[2][0] == "drawer"


def test_a_name_given_by_hand_wins_until_it_is_taken_away():
    names = ObjectNames()
    names.give(7, "Anna's mug")
    for _ in range(20):
        names.add_view([vote(7, "cup")])
    assert names.resolved() == {7: ("Anna's mug", 1.0)}
    names.give(7, "")
    assert names.resolved()[7][0] == "cup" and names.resolved()[7][1] < 1.0


def test_a_camera_that_stands_still_does_not_outvote_other_places():
    weights, pose, elsewhere = ViewWeights(), np.eye(4), np.eye(4)
    elsewhere[0, 3] = 0.2
    still = sum(weights.weight(pose, 1.0) for _ in range(1000))
    assert still < 8
    assert weights.weight(elsewhere, 1.0) == 1.0
    assert weights.weight(elsewhere, 1.0) == 0.5


def test_names_and_votes_survive_a_file():
    names = ObjectNames()
    names.give(1, "shelf")
    for said_now in ("mug", "mug", "cup"):
        names.add_view([vote(2, said_now)])
    again = ObjectNames.from_json({key: {str(k): v for k, v in part.items()} for key, part in names.to_json().items()})
    assert again.resolved() == names.resolved()
    for each in (names, again):
        each.add_view([vote(2, "cup")])
    assert again.resolved() == names.resolved()


def test_files_without_votes_are_read_and_garbled_ones_refused():
    assert ObjectNames.from_json({"names": {"3": ["mug", 1.0]}}).resolved() == {3: ("mug", 1.0)}
    with pytest.raises(ValueError, match="finite"):
        ObjectNames.from_json({"names": {}, "name_votes": {"3": {"mug": [float("nan"), 1.0]}}})


def test_candidates_per_object_are_bounded():
    names = ObjectNames()
    for number in range(200):
        names.add_view([vote(1, f"class {number}")])
    assert len(names.to_json()["name_votes"][1]) <= 16
