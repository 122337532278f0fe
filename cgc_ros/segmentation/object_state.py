"""What is known of a map's objects at one moment: which Gaussian is whose, and a record of each."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class ObjectRecord:
    """What is known of an object beside its Gaussians."""

    id: int
    background: bool
    confidence: float  # 0..1, `object_confidence`
    num_views: int
    first_seen_ns: int
    last_seen_ns: int
    pinned: bool = False  # by hand: association may neither merge, split nor drop it


@dataclass(frozen=True)
class GaussianIds:
    """Which Gaussian has which id."""

    uids: np.ndarray  # [N] int64 sorted, Gaussians that were labelled
    ids: np.ndarray  # [N] int32, -1 = none

    def ids_of(self, uids: np.ndarray) -> np.ndarray:
        """Id of each Gaussian by uid, [M] int32; -1 for those without one or younger than this state."""
        if len(self.uids) == 0:
            return np.full(len(uids), -1, dtype=np.int32)
        at = np.searchsorted(self.uids, uids).clip(max=len(self.uids) - 1)
        return np.where(self.uids[at] == uids, self.ids[at], -1).astype(np.int32)


@dataclass(frozen=True)
class ObjectState(GaussianIds):
    """One consistent state of the layer, of object ids; replaced as a whole by each update."""

    confidence: np.ndarray  # [N] float32
    records: dict[int, ObjectRecord]
    undecided: np.ndarray  # [N] bool: without an object, though most views that see it have a mask there

    def without(self, object_id: int) -> ObjectState:
        """The same without an object: its Gaussians are nobody's."""
        records = {key: record for key, record in self.records.items() if key != object_id}
        return replace(self, ids=np.where(self.ids == object_id, np.int32(-1), self.ids), records=records)

    def renumbered(self, object_id: int, new_id: int, first_seen_ns: int | None) -> ObjectState:
        """The same with an object under another id, which was first seen then (None: as this one)."""
        records = dict(self.records)
        record = records.pop(object_id, None)
        if record is not None:
            first_ns = record.first_seen_ns if first_seen_ns is None else first_seen_ns
            records[new_id] = replace(record, id=new_id, first_seen_ns=first_ns)
        return replace(self, ids=np.where(self.ids == object_id, np.int32(new_id), self.ids), records=records)


def empty_state() -> ObjectState:
    """Of a map without objects."""
    return ObjectState(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32), {}, np.zeros(0, bool))
