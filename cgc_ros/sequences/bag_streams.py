"""Where a recording's messages are, and which calibration holds when. Imported by `bag` only, which has rosbags."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cgc_ros.frame import Intrinsics
from cgc_ros.sequences import bag_messages
from cgc_ros.sequences.base import SequenceError

if TYPE_CHECKING:
    from rosbags.highlevel import AnyReader


@dataclass
class Stream:
    """Where the messages of one topic are. Sorted by header stamp; `order` keeps messages apart that were recorded in
    one instant.
    """

    topic: str
    connections: list
    stamps: list[int] = field(default_factory=list)
    recorded: list[tuple[int, int]] = field(
        default_factory=list
    )  # (time of recording, how many before it at that time)

    def add(self, stamp: int, recorded_ns: int) -> None:
        before = 0
        if self.recorded and self.recorded[-1][0] == recorded_ns:
            before = self.recorded[-1][1] + 1
        self.stamps.append(stamp)
        self.recorded.append((recorded_ns, before))

    def sort(self) -> None:
        order = sorted(range(len(self.stamps)), key=lambda index: self.stamps[index])
        self.stamps, self.recorded = [self.stamps[index] for index in order], [self.recorded[index] for index in order]

    def nearest(self, stamp: int, tolerance_ns: int) -> int | None:
        after = bisect_left(self.stamps, stamp)
        near = [
            index
            for index in (after, after - 1)
            if 0 <= index < len(self.stamps) and abs(self.stamps[index] - stamp) <= tolerance_ns
        ]
        return min(near, key=lambda index: abs(self.stamps[index] - stamp)) if near else None

    def message(self, reader: AnyReader, position: int):
        recorded_ns, before = self.recorded[position]
        for index, (connection, _, data) in enumerate(
            reader.messages(self.connections, start=recorded_ns, stop=recorded_ns + 1)
        ):
            if index == before:
                return reader.deserialize(data, connection.msgtype)
        raise SequenceError(
            "truncated",
            f"{self.topic}: the message recorded at {recorded_ns} ns cannot be found again: did the file change?",
        )


class Calibrations:
    """Intrinsics over time: a camera may change its resolution midway."""

    def __init__(self, topic: str, rectified: bool):
        self._topic, self._rectified = topic, rectified
        self._stamps: list[int] = []
        self._intrinsics: list[Intrinsics] = []

    def add(self, info) -> None:
        intrinsics = bag_messages.intrinsics(info, self._rectified)
        if not self._intrinsics or intrinsics != self._intrinsics[-1]:
            self._stamps.append(bag_messages.stamp_ns(info.header.stamp))
            self._intrinsics.append(intrinsics)

    def at(self, stamp: int) -> Intrinsics:
        if not self._intrinsics:
            raise SequenceError(
                "missing_camera_info", f"no message of {self._topic} can be read: record camera_info with the images"
            )
        return self._intrinsics[max(0, bisect_right(self._stamps, stamp) - 1)]
