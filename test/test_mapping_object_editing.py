"""Edits of a real map's objects, while it goes on, in its file, and in what is refused."""

import numpy as np
import pytest
from viewer_maps import CONFIG, SEQUENCE, mapper

from cgc_ros.mapping import Mapper, create_mapper
from cgc_ros.mapping.config import MapperConfig
from cgc_ros.mapping.object_editing import EditError, EditRequest, edit_objects


def ids(mapper: Mapper) -> set[int]:
    return set(mapper.segmenter.layer.state.records)


def go_on(mapper: Mapper) -> None:
    """New frames, training, votes and updates of the objects."""
    updates = mapper.segmenter.clustered_step
    for index in (3, 5):
        mapper.add_frame(SEQUENCE[index])
    for _ in range(8):
        mapper.step()
    mapper.refresh_objects()
    assert mapper.segmenter.clustered_step > updates


def test_edits_hold_while_mapping_goes_on_and_in_the_file(tmp_path):
    edited = mapper()
    snapshot = edited.snapshot()
    one, other, third, *_ = (item.id for item in snapshot.objects if not item.background)
    uids = {each: snapshot.model.uids[snapshot.object_ids == each].numpy() for each in (one, other, third)}
    edit_objects(edited, EditRequest("merge", (one, other)))
    edit_objects(edited, EditRequest("delete", (third,)))
    edit_objects(edited, EditRequest("pin", (one,)))
    left = ids(edited)
    for step in ("at once", "later", "loaded", "later again"):
        if step == "loaded":
            edited.save(tmp_path / "map.cgc")
            edited = Mapper.load(tmp_path / "map.cgc", CONFIG)
        elif step != "at once":
            go_on(edited)
        state, living = edited.segmenter.layer.state, edited.model.uids.numpy()
        assert not {other, third} & ids(edited) and left <= ids(edited), step
        for each, expected in ((one, one), (other, one), (third, -1)):
            assert (state.ids_of(np.intersect1d(uids[each], living)) == expected).all(), step
        assert {item.id for item in edited.snapshot().objects if item.pinned} == {one}
    for back in ((one,), (third,), (one, other)):
        assert edit_objects(edited, EditRequest("undo")).ids == back
    assert {one, other, third} <= ids(edited)
    with pytest.raises(EditError, match="nothing to undo"):
        edit_objects(edited, EditRequest("undo"))


def test_the_papers_recipe_has_names_only():
    paper = create_mapper(MapperConfig(backend="cpu", recipe="paper"))
    with pytest.raises(EditError, match="recipe 'paper' .* renamed only"):
        edit_objects(paper, EditRequest("delete", (1,)))


def test_an_unknown_edit_is_refused_by_name():
    with pytest.raises(EditError, match="edit 'explode' is unknown: rename, delete"):
        edit_objects(mapper(), EditRequest("explode", (1,)))
