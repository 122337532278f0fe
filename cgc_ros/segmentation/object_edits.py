"""What was done to the objects by hand, in order: laid over what association finds, kept through it, and undone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from cgc_ros.gaussians.storage import SavedState
from cgc_ros.segmentation.edit_holds import Edit, Hold, Update
from cgc_ros.segmentation.object_state import ObjectRecord, ObjectState

_SOURCE_SHARE = 0.1  # of an object's Gaussians that one of association's must have for its record to count


@dataclass
class ObjectEdits:
    """The edits that hold. `draw` gives an id that nobody has, -1 where none is left."""

    draw: Callable[[], int]
    min_gaussians: int = 20  # of an object that an edit has taken Gaussians from
    log: list[Edit] = field(default_factory=list)
    records: dict[int, ObjectRecord] = field(default_factory=dict)  # of the edits' ids, as they were last published

    def __post_init__(self) -> None:
        self._lift()

    @property
    def spoken_for(self) -> set[int]:
        """Ids that no other object may get."""
        return set().union(*(edit.spoken_for for edit in self.log))

    @property
    def pinned(self) -> set[int]:
        """Ids of the objects that are pinned."""
        return {hold.id for edit in self.log if edit.kind == "pin" for hold in edit.holds if not hold.lifted}

    def add(self, edit: Edit, state: ObjectState) -> None:
        """One more edit, of the objects as `state` has them."""
        self.log.append(edit)
        self._lift()
        self._note(state)
        if edit.kind == "split":
            whole = self.records[edit.ids[0]]
            self.records |= {hold.id: replace(whole, id=hold.id) for hold in edit.holds}

    def take_back(self) -> Edit:
        """The last edit, which does not hold any more; IndexError where there is none."""
        edit = self.log.pop()
        self._lift()
        self.records = {key: record for key, record in self.records.items() if key in self.spoken_for}
        return edit

    def laid_over(self, found: ObjectState) -> ObjectState:
        """The objects that association `found` with all edits; depends on nothing else."""
        return self._laid_over(found, None)

    def follow(self, found: ObjectState, before: ObjectState, means: np.ndarray) -> ObjectState:
        """The same after an update: edits take in what is new since the state found `before`; `means` [N, 3] are the
        positions of the Gaussians of `found`.
        """
        if not self.log:
            return found
        former = before.ids_of(found.uids).astype(np.int64)
        return self._laid_over(found, Update(means, former, self.draw, self.min_gaussians))

    def saved(self) -> SavedState:
        """For a map file."""
        holds = [hold for edit in self.log for hold in edit.holds]
        none = np.zeros(0, np.int64)
        arrays = {
            "edits/uids": np.concatenate([none, *(hold.uids for hold in holds)]),
            "edits/stranger_uids": np.concatenate([none, *(edit.stranger_uids for edit in self.log)]),
            "edits/stranger_ids": np.concatenate([none, *(edit.stranger_ids for edit in self.log)]),
        }
        log = [
            {
                "kind": edit.kind,
                "ids": list(edit.ids),
                "holds": [[hold.id, len(hold.uids)] for hold in edit.holds],
                "label": edit.label,
                "label_before": edit.label_before,
                "strangers": len(edit.stranger_uids),
            }
            for edit in self.log
        ]
        return SavedState(arrays, {"edits": log, "edited": [asdict(record) for record in self.records.values()]})

    def restore(self, state: SavedState) -> None:
        """Go on from what `saved` gave; without edits where the file is older than they are kept.

        KeyError, TypeError or ValueError where it lacks or garbles something.
        """
        arrays, info = state
        self.log, self.records = [], {}
        if "edits" not in info:
            return
        uids, stranger_uids = _Pieces(arrays["edits/uids"]), _Pieces(arrays["edits/stranger_uids"])
        stranger_ids = _Pieces(arrays["edits/stranger_ids"])
        for entry in info["edits"]:
            edit = Edit(
                str(entry["kind"]),
                tuple(map(int, entry["ids"])),
                [Hold(int(object_id), uids.take(count)) for object_id, count in entry["holds"]],
                str(entry["label"]),
                str(entry["label_before"]),
                stranger_uids.take(entry["strangers"]),
                stranger_ids.take(entry["strangers"]),
            )
            self.log.append(edit)
        for pieces in (uids, stranger_uids, stranger_ids):
            pieces.end()
        self._lift()
        self.records = {int(entry["id"]): ObjectRecord(**entry) for entry in info["edited"]}

    def _lift(self) -> None:
        """Lift the pins that were taken out since; an object is pinned once, so a later pin is after that."""
        unpinned: set[int] = set()
        for edit in reversed(self.log):
            if edit.kind == "unpin":
                unpinned |= set(edit.ids)
            for hold in edit.holds if edit.kind == "pin" else ():
                hold.lifted = hold.id in unpinned

    def _laid_over(self, found: ObjectState, update: Update | None) -> ObjectState:
        """Each edit depends on those before it, and on none after it: what is taken back leaves no trace."""
        edits = [edit for edit in self.log if edit.holds]
        if not edits:
            return found
        uids, labels = found.uids, found.ids.astype(np.int64)
        settled, settled_before = np.zeros((2, len(uids)), bool)
        for edit in edits:
            if update is not None:
                former = edit.laid_over(uids, update.former, settled_before)  # as the edit was
                edit.learn(uids, labels, settled, update)
                update = replace(update, former=former)
            labels = edit.laid_over(uids, labels, settled)
        self._drop_remains(labels, found.ids, set().union(*(edit.targets.tolist() for edit in edits)))
        state = self._with_records(found, labels)
        self._note(state)
        return state

    def _drop_remains(self, labels: np.ndarray, before: np.ndarray, kept: Iterable[int]) -> None:
        """Objects that edits left too little of are none; in `labels` [N]."""
        count = max(int(labels.max(initial=0)), int(before.max(initial=0))) + 2
        sizes, found = (np.bincount(each % count, minlength=count) for each in (labels, before.astype(np.int64)))
        small = (sizes < self.min_gaussians) & (sizes != found)
        small[[each for each in kept if 0 <= each < count]] = False
        labels[small[labels]] = -1

    def _with_records(self, found: ObjectState, labels: np.ndarray) -> ObjectState:
        changed = labels != found.ids
        touched = np.unique(np.concatenate([labels[changed], found.ids[changed]]))
        records = {key: record for key, record in found.records.items() if key not in set(touched.tolist())}
        for object_id in touched[touched >= 0].tolist():
            rows = np.flatnonzero(labels == object_id)
            record = self._record(object_id, rows, found) if len(rows) else None
            if record is not None:
                records[object_id] = record
            else:
                labels[rows] = -1
        records |= {key: replace(records[key], pinned=True) for key in self.pinned if key in records}
        records = {key: records[key] for key in sorted(records)}
        return replace(found, ids=labels.astype(np.int32), records=records)

    def _record(self, object_id: int, rows: np.ndarray, found: ObjectState) -> ObjectRecord | None:
        """What is known of an object of these Gaussians, by the records of those that association found there."""
        ids, counts = np.unique(found.ids[rows], return_counts=True)
        order = np.argsort(-counts, kind="stable")
        sources = [
            (found.records[key], count)
            for key, count in zip(ids[order].tolist(), counts[order].tolist(), strict=True)
            if key in found.records and count >= _SOURCE_SHARE * len(rows)
        ]
        if not sources:
            return self.records.get(object_id)  # association has lost it: as it was known last
        return replace(
            sources[0][0],
            id=object_id,
            confidence=float(np.average([s.confidence for s, _ in sources], weights=[count for _, count in sources])),
            num_views=max(source.num_views for source, _ in sources),
            first_seen_ns=min(source.first_seen_ns for source, _ in sources),
            last_seen_ns=max(source.last_seen_ns for source, _ in sources),
        )

    def _note(self, state: ObjectState) -> None:
        """Remember the records of the edits' ids: association may lose them."""
        for object_id in self.spoken_for & state.records.keys():
            self.records[object_id] = replace(state.records[object_id], pinned=False)


class _Pieces:
    """An array of a file, taken piece by piece."""

    def __init__(self, values: np.ndarray):
        self._values, self._at = values.astype(np.int64), 0
        if values.ndim != 1:
            raise ValueError(f"edits have an array of shape {values.shape}")

    def take(self, count: int) -> np.ndarray:
        """The next `count`; ValueError where there are fewer."""
        self._at += int(count)
        if not 0 <= count <= self._at <= len(self._values):
            raise ValueError("edits lack some of their Gaussians")
        return self._values[self._at - int(count) : self._at]

    def end(self) -> None:
        """ValueError unless all was taken."""
        if self._at != len(self._values):
            raise ValueError("edits have Gaussians that are no edit's")
