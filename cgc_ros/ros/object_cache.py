"""The newest snapshot's objects, made once for topics and queries alike: making them costs more than sending them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from std_msgs.msg import Header

from cgc_ros.msg import Object
from cgc_ros.ros.conversions.objects import ObjectsIn, object_messages
from cgc_ros.ros.conversions.stamps import time_message
from cgc_ros.ros.roles import SnapshotSource

if TYPE_CHECKING:
    from cgc_ros.mapping import MapObject, MapSnapshot


@dataclass(frozen=True)
class MadeObjects:
    """A snapshot and its objects."""

    snapshot: MapSnapshot
    stamp_ns: int  # of the newest frame taken in, never ahead of the node's clock
    objects: tuple[MapObject, ...]
    made_s: float  # monotonic time
    #: By map frame and id, without clouds, each with the object that it is of; shared by all that one cache makes.
    messages: dict[str, dict[int, tuple[MapObject, Object]]] = field(default_factory=dict)

    def in_map(self, map_frame: str) -> ObjectsIn:
        """How they go into messages of the map's own frame."""
        return ObjectsIn(Header(frame_id=map_frame, stamp=time_message(self.stamp_ns)))

    def plain_messages(self, map_frame: str) -> dict[int, Object]:
        """Each object's message in the map's own frame, without its cloud, by id; made where the object is new."""
        frame, known = self.in_map(map_frame), self.messages.get(map_frame, {})
        changed = [each for each in self.objects if each.id not in known or known[each.id][0] is not each]
        made = {
            each.id: (each, message) for each, message in zip(changed, object_messages(changed, frame), strict=True)
        }
        found = {each.id: made.get(each.id) or known[each.id] for each in self.objects}
        for _, message in found.values():
            message.cloud.header = frame.header
        self.messages[map_frame] = found
        return {key: message for key, (_, message) in found.items()}


def past_stamp(snapshot: MapSnapshot, now_ns: int) -> int:
    """The stamp of what is sent of a snapshot: its newest frame's, which is never ahead of the node's clock. A map from
    a file, or from before the clock went back, can be of a later time: nobody could look up its transforms.
    """
    return min(snapshot.stamp_ns, now_ns)


class ObjectCache:
    """Thread-safe. `clock_ns` is the node's."""

    def __init__(self, maps: SnapshotSource, clock_ns: Callable[[], int]):
        self._maps, self.clock_ns = maps, clock_ns
        self._newest: MadeObjects | None = None
        self._messages: dict[str, dict[int, tuple[MapObject, Object]]] = {}
        self._making = threading.Lock()

    def get(self, max_age_s: float) -> MadeObjects | None:
        """Objects of the newest snapshot, or such as were made at most `max_age_s` ago; None while there is no map."""
        found = self._fresh(max_age_s)
        if found is not None:
            return found
        with self._making:
            found = self._fresh(max_age_s)  # another thread may have made them meanwhile
            if found is not None:
                return found
            snapshot = self._maps.snapshot
            if snapshot is None:
                return None
            objects = snapshot.objects
            stamp_ns = past_stamp(snapshot, self.clock_ns())
            self._newest = MadeObjects(snapshot, stamp_ns, objects, time.monotonic(), self._messages)
            return self._newest

    def clear(self) -> None:
        """The map was replaced: what was made is of another map."""
        with self._making:
            self._newest, self._messages = None, {}

    def _fresh(self, max_age_s: float) -> MadeObjects | None:
        newest = self._newest
        snapshot = self._maps.snapshot
        if newest is None or snapshot is None or newest.stamp_ns > self.clock_ns():  # the clock went back
            return None
        is_newest = newest.snapshot is snapshot
        return newest if is_newest or time.monotonic() - newest.made_s <= max_age_s else None
