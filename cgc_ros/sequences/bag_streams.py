"""Where a recording's messages are, and which calibration holds when. Imported by `bag` only, which has rosbags."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from cgc_ros.frame import FrameError, Intrinsics
from cgc_ros.messages.camera_info import CameraCalibration, calibration_of
from cgc_ros.messages.stamps import stamp_of
from cgc_ros.sequences.base import SequenceError

if TYPE_CHECKING:
    from rosbags.highlevel import AnyReader


class Entry(NamedTuple):
    """One message. What was recorded in one instant is told apart by its order."""

    stamp_ns: int  # of its header; -1: the message is damaged
    recorded_ns: int
    order: int  # how many came before it in that instant
    size: tuple[int, int]  # width and height of its image; (0, 0) unknown


@dataclass
class Stream:
    """Where the messages of one topic are, sorted by stamp once all are there."""

    topic: str
    connections: list
    entries: list[Entry] = field(default_factory=list)

    def add(self, stamp_ns: int, recorded_ns: int, size: tuple[int, int] = (0, 0)) -> None:
        is_same_instant = bool(self.entries) and self.entries[-1].recorded_ns == recorded_ns
        order = self.entries[-1].order + 1 if is_same_instant else 0
        self.entries.append(Entry(stamp_ns, recorded_ns, order, size))

    def sort(self) -> None:
        self.entries.sort(key=lambda entry: entry.stamp_ns)

    def nearest(self, stamp_ns: int, tolerance_ns: int) -> Entry | None:
        after = bisect_left(self.entries, stamp_ns, key=lambda entry: entry.stamp_ns)
        near = [
            self.entries[index]
            for index in (after, after - 1)
            if 0 <= index < len(self.entries) and abs(self.entries[index].stamp_ns - stamp_ns) <= tolerance_ns
        ]
        return min(near, key=lambda entry: abs(entry.stamp_ns - stamp_ns)) if near else None

    def message(self, reader: AnyReader, entry: Entry):
        for index, (connection, _, data) in enumerate(
            reader.messages(self.connections, start=entry.recorded_ns, stop=entry.recorded_ns + 1)
        ):
            if index == entry.order:
                return reader.deserialize(data, connection.msgtype)
        raise SequenceError(
            "truncated",
            f"{self.topic}: the message recorded at {entry.recorded_ns} ns cannot be found again: did the file change?",
        )


class Calibrations:
    """Calibrations over time: a camera may change its resolution midway. `notes`: what had to be read otherwise."""

    def __init__(self, topic: str, rectified: bool):
        self._topic, self._rectified = topic, rectified
        self._stamps: list[int] = []
        self._calibrations: list[CameraCalibration] = []
        self._error: FrameError | None = None  # of a message that cannot be used
        self.notes: dict[str, None] = {}  # in order

    def add(self, info) -> None:
        try:
            calibration = calibration_of(info, self._rectified)
        except FrameError as error:
            self._error = error
            return
        self.notes |= dict.fromkeys(calibration.notes)
        if not self._calibrations or calibration != self._calibrations[-1]:
            self._stamps.append(stamp_of(info.header.stamp))
            self._calibrations.append(calibration)

    def at(self, stamp_ns: int, size: tuple[int, int]) -> Intrinsics:
        """Of the image of this stamp and size (width, height). An image that no calibration is of gets the delivered
        one: loading it says so.
        """
        if not self._calibrations:
            if self._error is not None:
                raise SequenceError(self._error.reason, f"{self._topic}: {self._error}") from self._error
            raise SequenceError(
                "missing_camera_info", f"no message of {self._topic} can be read: record camera_info with the images"
            )
        calibration = self._calibrations[max(0, bisect_right(self._stamps, stamp_ns) - 1)]
        try:
            intrinsics, note = calibration.for_image(*size)
        except FrameError:
            return calibration.delivered
        self.notes |= {note: None} if note else {}
        return intrinsics
