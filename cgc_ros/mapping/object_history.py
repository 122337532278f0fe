"""What a snapshot tells of objects beside where they are: how sure they are, which are away, what happened."""

from __future__ import annotations

from dataclasses import dataclass, field

from cgc_ros.mapping.events import ObjectEvent
from cgc_ros.mapping.existence import Presence
from cgc_ros.segmentation.objects import MapObject

_SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class ObjectHistory:
    """As of one snapshot."""

    events: tuple[ObjectEvent, ...] = ()  # all since the map began, oldest first
    absent: tuple[MapObject, ...] = ()  # gone or held, without their names
    presences: dict[int, Presence] = field(default_factory=dict)  # of objects that are there; not written to

    def told(self, object_id: int) -> dict:
        """What a MapObject says of it, by field: coarse, so that it is the same one as long as little has changed."""
        presence = self.presences.get(object_id)
        if presence is None:
            return {}
        last_ns = presence.last_confirmed_ns // _SECOND_NS * _SECOND_NS
        return {"existence": round(presence.existence, 2), "last_confirmed_ns": last_ns}
