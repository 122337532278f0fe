"""What happened to objects of the map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Kinds of events, as events.json and ObjectEvent have them.
KINDS = ("appeared", "removed", "moved", "returned", "merged", "split", "corrected")


@dataclass(frozen=True)
class ObjectEvent:
    """Something that happened to an object, as the map noticed it."""

    stamp_ns: int  # of the newest frame taken in then
    frame: str  # its name
    id: int
    kind: str  # one of KINDS
    position: np.ndarray  # [3] metres: middle of its box where it is now, or was (removed)
    transform: np.ndarray | None = None  # [4, 4] new from old place, for moved, returned and corrected

    def to_json(self) -> dict:
        """For files."""
        transform = None if self.transform is None else self.transform.tolist()
        return {
            "stamp_ns": self.stamp_ns,
            "frame": self.frame,
            "id": self.id,
            "kind": self.kind,
            "position": self.position.tolist(),
            "transform": transform,
        }

    @staticmethod
    def from_json(found: dict) -> ObjectEvent:
        """What `to_json` gave; KeyError, TypeError or ValueError where it is garbled."""
        transform = found["transform"]
        event = ObjectEvent(
            int(found["stamp_ns"]),
            str(found["frame"]),
            int(found["id"]),
            str(found["kind"]),
            np.array(found["position"], dtype=np.float64).reshape(3),
            None if transform is None else np.array(transform, dtype=np.float64).reshape(4, 4),
        )
        if event.kind not in KINDS:
            raise ValueError(f"an event of kind {event.kind!r}")
        return event
