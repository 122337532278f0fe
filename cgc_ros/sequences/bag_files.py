"""A recording's files, opened by rosbags. Imported by `bag` only, which knows whether rosbags is there."""

from __future__ import annotations

import struct
from pathlib import Path

from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.rosbag1 import ReaderError as ReaderError1
from rosbags.rosbag2 import ReaderError as ReaderError2
from rosbags.typesys import Stores, get_typestore

from cgc_ros.sequences.base import SequenceError

#: What rosbags raises on bytes that are no message of their type, and on files that are damaged.
DAMAGE = (AnyReaderError, ValueError, IndexError, KeyError, AssertionError, struct.error)
READ_ERRORS = (ReaderError1, ReaderError2, AnyReaderError, OSError, EOFError, ValueError, AssertionError, KeyError)


def open_files(files: list[Path]) -> AnyReader:
    """A reader of one recording's files, open. Raises SequenceError."""
    try:
        reader = AnyReader(files, default_typestore=get_typestore(Stores.ROS2_JAZZY))
        reader.open()
    except READ_ERRORS as error:
        raise unreadable(files[0], error) from error
    if not any(connection.msgcount for connection in reader.connections):
        reader.close()
        raise SequenceError("empty", f"{files[0]} holds no messages: record again")
    return reader


def unreadable(path: Path, error: Exception) -> SequenceError:
    """The error about a file that rosbags cannot read."""
    return SequenceError(
        "unreadable",
        f"{path} cannot be read ({type(error).__name__}: {error}): "
        "where a recording was cut off, `ros2 bag reindex`, `mcap recover` or (ROS 1) `rosbag reindex` may repair it",
    )
