"""Edit a map's objects by hand: what is asked for is checked, done, and told in words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from cgc_ros.gaussians.storage import SavedState
from cgc_ros.mapping.mapper import Mapper
from cgc_ros.segmentation.edit_holds import Edit, Hold
from cgc_ros.segmentation.membership import rows_among
from cgc_ros.segmentation.object_names import clean_name

#: What may be asked for; EditObjects.srv numbers them in this order.
KINDS = ("rename", "delete", "merge", "split", "pin", "unpin", "undo")


class EditError(ValueError):
    """An edit that cannot be made; the message names the object and the remedy."""


@dataclass(frozen=True)
class EditRequest:
    """One edit."""

    kind: str  # of KINDS
    ids: tuple[int, ...] = ()  # rename, split: one; merge: the first is kept; undo: none
    label: str = ""  # of a rename, empty: none


@dataclass(frozen=True)
class EditOutcome:
    """What was done."""

    message: str
    ids: tuple[int, ...]  # objects that it left, or brought back


def edit_objects(mapper: Mapper, request: EditRequest) -> EditOutcome:
    """Do it; raises EditError, and then everything is as it was. The next snapshot shows it.

    It holds through later mapping, saving and loading until it is undone (`segmentation.edit_holds`).
    """
    if request.kind not in KINDS:
        raise EditError(f"edit {request.kind!r} is unknown: {', '.join(KINDS)}")
    if not mapper.edits_objects and request.kind not in ("rename", "undo"):
        raise EditError(
            f"a map of recipe {mapper.config.recipe!r} finds its objects anew for every view: they can be renamed only"
        )
    ids = tuple(dict.fromkeys(map(int, request.ids)))
    if request.kind == "undo":
        return _undo(mapper)
    if not ids:
        raise EditError(f"{request.kind} which objects? Give their ids, as ~/objects or the viewer's list shows them")
    editor = _Editor(mapper)
    if request.kind == "rename":
        return editor.rename(_only(ids, "rename"), clean_name(request.label))
    return {
        "delete": editor.delete,
        "merge": editor.merge,
        "split": lambda ids: editor.split(_only(ids, "split")),
        "pin": editor.pin,
        "unpin": editor.unpin,
    }[request.kind](ids)


def edited_state(mapper: Mapper) -> SavedState:
    """What of a map's file edits change."""
    layer = mapper.segmenter.layer
    own = SavedState({}, mapper.names.to_json() | {"next_object_id": layer.registry.next_id})
    parts = [mapper.parts.layer.saved(mapper.model.uids.cpu().numpy())] if mapper.parts.layer.votes else []
    return SavedState.joined([own, layer.edits.saved(), *parts])


@dataclass(frozen=True)
class _Editor:
    """The edits of one map, each given the ids of objects."""

    mapper: Mapper

    def rename(self, object_id: int, label: str) -> EditOutcome:
        self._check((object_id,))
        names = self.mapper.names
        self._do(Edit("rename", (object_id,), label=label, label_before=names.given(object_id)))
        names.give(object_id, label)
        return EditOutcome(f"object {object_id} is now {label or 'without a name of its own'}", (object_id,))

    def delete(self, ids: tuple[int, ...]) -> EditOutcome:
        self._check(ids, movable="delete")
        self._do(Edit("delete", ids, self._holds(ids)))
        return EditOutcome(f"deleted {_listed(ids)}", ())

    def merge(self, ids: tuple[int, ...]) -> EditOutcome:
        self._check(ids, movable="merge")
        if len(ids) < 2:
            raise EditError(f"merge object {ids[0]} with what? Give two ids or more: the first is kept")
        self._do(Edit("merge", ids, self._holds(ids)))
        return EditOutcome(f"{_listed(ids)} are object {ids[0]} now", ids[:1])

    def split(self, object_id: int) -> EditOutcome:
        self._check((object_id,), movable="split")
        parts = self._parts(object_id)
        if len(parts) < 2:
            raise EditError(
                f"object {object_id} has no parts to be split into: they come from masks at two levels of detail "
                "(docs/segmentation.md, parts and wholes)"
            )
        ids = [object_id, *(self.mapper.segmenter.layer.draw_id() for _ in parts[1:])]
        if min(ids) < 0:
            raise EditError(f"object {object_id} cannot be split: every id is taken; delete or merge others first")
        self._do(Edit("split", (object_id,), [Hold(*each) for each in zip(ids, parts, strict=True)]))
        return EditOutcome(f"object {object_id} is {_listed(ids)} now", tuple(ids))

    def pin(self, ids: tuple[int, ...]) -> EditOutcome:
        self._check(ids)
        new = [each for each in ids if each not in self.mapper.segmenter.layer.edits.pinned]
        if not new:
            return EditOutcome(f"{_listed(ids)}: pinned already", ids)
        self._do(Edit("pin", tuple(new), self._holds(new)))
        return EditOutcome(f"pinned {_listed(new)}", ids)

    def unpin(self, ids: tuple[int, ...]) -> EditOutcome:
        for each in ids:
            if each not in self.mapper.segmenter.layer.edits.pinned:
                self._check((each,))
                raise EditError(f"object {each} is not pinned: nothing is to be done")
        self._do(Edit("unpin", ids))
        return EditOutcome(f"unpinned {_listed(ids)}", ids)

    def _check(self, ids: Iterable[int], movable: str = "") -> None:
        """EditError unless the map has these objects and, where they are to be made others, none is pinned."""
        layer = self.mapper.segmenter.layer
        for each in ids:
            if each not in layer.state.records:
                raise EditError(f"there is no object {each}: ids are those of ~/objects and of the viewer's list")
            if movable and each in layer.edits.pinned:
                raise EditError(f"object {each} is pinned: unpin it to {movable} it")

    def _holds(self, ids: Iterable[int]) -> list[Hold]:
        state = self.mapper.segmenter.layer.state
        return [Hold(each, state.uids[state.ids == each]) for each in ids]

    def _parts(self, object_id: int) -> list[np.ndarray]:
        """Uids of each of an object's parts, the largest first; what belongs to none is the nearest one's."""
        state, model = self.mapper.segmenter.layer.state, self.mapper.model
        uids = state.uids[state.ids == object_id]
        rows = rows_among(model.uids.cpu().numpy(), uids)
        uids, rows = uids[rows >= 0], rows[rows >= 0]
        part_of = self.mapper.parts.layer.state.ids_of(uids)
        known, counts = np.unique(part_of[part_of >= 0], return_counts=True)
        known = known[counts >= self.mapper.config.segmentation.min_gaussians]
        counted = np.isin(part_of, known)
        if len(known) < 2:
            return []
        means = model.means.detach().cpu().numpy()[rows]
        part_of[~counted] = part_of[counted][cKDTree(means[counted]).query(means[~counted])[1]]
        return sorted((uids[part_of == part] for part in known), key=len, reverse=True)

    def _do(self, edit: Edit) -> None:
        self.mapper.segmenter.layer.edit(edit)
        _cut_anew(self.mapper)


def _undo(mapper: Mapper) -> EditOutcome:
    layer = mapper.segmenter.layer
    if not layer.edits.log:
        raise EditError("there is nothing to undo: no edit holds")
    edit = layer.take_back()
    if edit.kind == "rename":
        mapper.names.give(edit.ids[0], edit.label_before)
    _cut_anew(mapper)
    back = tuple(each for each in edit.ids if each in layer.state.records)
    return EditOutcome(f"took back: {edit.kind} {_listed(edit.ids)}", back)


def _cut_anew(mapper: Mapper) -> None:
    """Parts follow the objects that they are of."""
    if mapper.parts.layer.votes and not mapper.parts.unheard and len(mapper.model):
        mapper.parts.update(mapper.steps, mapper.segmenter.layer.state)


def _only(ids: tuple[int, ...], kind: str) -> int:
    if len(ids) != 1:
        raise EditError(f"{kind} takes one object, not {len(ids)}: ask for one after the other")
    return ids[0]


def _listed(ids: Iterable[int]) -> str:
    """object 3; objects 3, 4 and 5."""
    texts = list(map(str, ids))
    if len(texts) == 1:
        return f"object {texts[0]}"
    return f"objects {', '.join(texts[:-1])} and {texts[-1]}"
