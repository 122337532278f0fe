"""rosbag2 recordings (MCAP or SQLite, compressed or not) and ROS 1 bags, read by the rosbags library; no ROS is needed.

Opening reads the recording once, for stamps, transforms and calibrations; pixels are read from disk when a frame is
asked for.
"""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import cv2
import numpy as np

try:
    from rosbags.highlevel import AnyReader, AnyReaderError
    from rosbags.typesys import Stores, get_typestore
except ImportError as error:  # reported by `read`, so that the other readers work without it
    _MISSING: ImportError | None = error
else:
    from cgc_ros.sequences import bag_messages, bag_topics
    from cgc_ros.sequences.bag_poses import PoseSource
    from cgc_ros.sequences.bag_streams import Calibrations, Stream

    _MISSING = None

from cgc_ros.sequences.base import FrameInfo, Sequence, SequenceError, hold_out_every_eighth
from cgc_ros.transform_buffer import TransformError

_SUFFIXES = (".mcap", ".db3", ".bag")


def recognises(path: Path) -> bool:
    return _recording(path) is not None


def read(
    path: Path,
    *,
    image_topic: str | None = None,
    camera_info_topic: str | None = None,
    depth_topic: str | None = None,
    masks_topic: str | None = None,
    pose_topic: str | None = None,
    camera_frame: str | None = None,
    map_frame: str | None = None,
    pose_frame: str | None = None,
    sync_tolerance_s: float = 0.02,
) -> Sequence:
    """Open a recording. Topics and frames are found by themselves; each can be said instead ("" leaves depth or masks
    out).

    `camera_frame`: optical frame, else the image header's. `map_frame`: else the root of its tf tree. `pose_frame`:
    whose pose the pose topic gives, else Odometry's child_frame_id, else the camera's. `sync_tolerance_s`: how far
    stamps of depth, masks and truth may be from their image's.
    """
    if _MISSING is not None:
        raise SequenceError(
            "missing_package",
            f"reading {path} needs rosbags and rosbags-image ({_MISSING}): pip install rosbags rosbags-image",
        )
    reader = _open(path)
    try:
        return _BagReading(path, reader, round(sync_tolerance_s * 1e9)).sequence(
            {
                "image": image_topic,
                "camera_info": camera_info_topic,
                "depth": depth_topic,
                "masks": masks_topic,
                "pose": pose_topic,
            },
            camera_frame,
            map_frame,
            pose_frame,
        )
    except BaseException:
        reader.close()
        raise


class BagSequence(Sequence):
    """Frames of an open recording. `close()` frees its files early."""

    def __init__(
        self,
        reader: AnyReader,
        streams: dict[str, Stream | None],
        name: str,
        frames: list[FrameInfo],
        tolerance_ns: int,
        **options,
    ):
        super().__init__(
            name,
            frames,
            has_depth=streams["depth"] is not None,
            has_masks=streams["masks"] is not None,
            metric_scale=True,
            **options,
        )
        self._reader: AnyReader | None = reader
        self._streams = streams
        self._tolerance_ns = tolerance_ns
        self._lock = threading.Lock()  # one file position

    def load_image(self, index: int) -> np.ndarray:
        return self._load("image", index, bag_messages.color_image)

    def load_depth(self, index: int) -> np.ndarray | None:
        depth = self._load("depth", index, bag_messages.depth_image)
        size = (self.frames[index].intrinsics.width, self.frames[index].intrinsics.height)
        if depth is not None and depth.shape[::-1] != size and depth.shape[1] * size[1] == depth.shape[0] * size[0]:
            depth = cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST)  # registered, at another resolution
        return depth

    def load_masks(self, index: int) -> np.ndarray | None:
        return self._load("masks", index, bag_messages.label_image)

    def load_instances(self, index: int) -> np.ndarray | None:
        return self._load("instances", index, bag_messages.label_image)

    def close(self) -> None:
        """Close the recording's files; frames cannot be loaded any more."""
        with self._lock:
            reader, self._reader = self._reader, None
            if reader is not None:
                reader.close()

    def _load(self, role: str, index: int, decode):
        stream, info = self._streams[role], self.frames[index]
        if stream is None:
            return None
        position = stream.nearest(info.stamp_ns, 0 if role == "image" else self._tolerance_ns)
        if position is None:
            return None
        with self._lock:
            if self._reader is None:
                raise SequenceError("closed", f"{self.name} was closed: open it again")
            message = stream.message(self._reader, position)
        try:
            return decode(message)
        except SequenceError as error:
            raise SequenceError(error.reason, f"{self.name}, {stream.topic}, frame {info.name}: {error}") from error


class _BagReading:
    """The one pass over a recording that opening it takes."""

    def __init__(self, path: Path, reader: AnyReader, tolerance_ns: int):
        self._path, self._reader, self._tolerance_ns = path, reader, tolerance_ns
        self._damaged: Counter[str] = Counter()  # messages that cannot be deserialised, by topic
        self._warnings: list[str] = []

    def sequence(
        self, overrides: dict[str, str | None], camera_frame: str | None, map_frame: str | None, pose_frame: str | None
    ) -> BagSequence:
        chooser = bag_topics.TopicChooser(self._reader.connections, self._peek)
        topics = chooser.choose(**overrides)
        camera_frame = camera_frame or self._peek(topics.image).header.frame_id
        poses = PoseSource(camera_frame, chooser, topics.pose, pose_frame)
        images = Stream(topics.image, self._connections(topics.image))
        streams: dict[str, Stream | None] = {"image": images}
        for role in ("depth", "masks", "instances"):
            topic = getattr(topics, role)
            streams[role] = None if topic is None else Stream(topic, self._connections(topic))
        calibrations = self._scan(topics, streams, poses)
        poses.settle(map_frame)
        frames = self._frames(images, calibrations, poses)
        self._warnings += [*chooser.warnings, *poses.warnings]
        self._warnings += [
            f"{count} messages of {topic} are damaged: left out" for topic, count in sorted(self._damaged.items())
        ]
        has_truth = streams["instances"] is not None or topics.object_points is not None
        labels = (
            None if topics.labels is None else bag_messages.instance_names(self._peek(topics.labels), topics.labels)
        )
        points = (
            None
            if topics.object_points is None
            else bag_messages.labelled_points(self._peek(topics.object_points), topics.object_points)
        )
        if has_truth and labels is None:
            self._warnings.append("ground truth is left out: /truth/labels, which names its ids, was not recorded")
        return BagSequence(
            self._reader,
            streams,
            self._path.resolve().stem,
            hold_out_every_eighth(frames),
            self._tolerance_ns,
            warnings=tuple(self._warnings),
            labels=labels if has_truth else None,
            object_points=points,
        )

    def _scan(self, topics: bag_topics.BagTopics, streams: dict[str, Stream | None], poses: PoseSource) -> Calibrations:
        calibrations = Calibrations(topics.camera_info, bag_topics.is_rectified(topics.image))
        by_topic = {stream.topic: stream for stream in streams.values() if stream is not None}
        wanted = {*by_topic, topics.camera_info, *poses.topics}
        connections = [connection for connection in self._reader.connections if connection.topic in wanted]
        for connection, recorded_ns, data in self._messages(connections):
            message = self._deserialize(connection, data)
            if connection.topic in by_topic:
                # A damaged message still takes its place among those recorded at the same instant.
                stamp = -1 if message is None else bag_messages.stamp_ns(message.header.stamp)
                by_topic[connection.topic].add(stamp, recorded_ns)
            elif message is not None and connection.topic == topics.camera_info:
                calibrations.add(message)
            elif message is not None:
                poses.add(connection.topic, message)
        for stream in by_topic.values():
            stream.sort()
        return calibrations

    def _frames(self, images: Stream, calibrations: Calibrations, poses: PoseSource) -> list[FrameInfo]:
        frames: list[FrameInfo] = []
        without_pose: Counter[str] = Counter()
        example: dict[str, str] = {}
        for stamp in (stamp for stamp in images.stamps if stamp >= 0):
            if frames and stamp == frames[-1].stamp_ns:
                without_pose["repeated_stamp"] += 1
                example.setdefault("repeated_stamp", f"stamp {stamp} ns came before")
                continue
            try:
                frames.append(
                    FrameInfo(
                        f"{len(frames):05d}",
                        stamp,
                        poses.world_from_camera(stamp),
                        calibrations.at(stamp),
                        held_out=False,
                    )
                )
            except TransformError as error:
                without_pose[error.reason] += 1
                example.setdefault(error.reason, str(error))
        for reason, count in without_pose.most_common():
            self._warnings.append(f"{count} of {len(images.stamps)} images are left out, {reason}: {example[reason]}")
        if not frames:
            raise SequenceError(
                "no_poses",
                f"{self._path}: no image of {images.topic} has a pose; "
                + "; ".join([*self._warnings, *poses.warnings]),
            )
        return frames

    def _connections(self, topic: str) -> list:
        return [connection for connection in self._reader.connections if connection.topic == topic]

    def _peek(self, topic: str):
        """The first message of a topic that can be deserialised, or None."""
        for connection, _, data in self._messages(self._connections(topic)):
            try:
                return self._reader.deserialize(data, connection.msgtype)
            except _DAMAGE:
                continue  # counted when the topic is scanned
        return None

    def _deserialize(self, connection, data):
        try:
            return self._reader.deserialize(data, connection.msgtype)
        except _DAMAGE:
            self._damaged[connection.topic] += 1
            return None

    def _messages(self, connections: list):
        try:
            yield from self._reader.messages(connections)
        except _READ_ERRORS as error:
            raise _unreadable(self._path, error) from error


#: What rosbags raises on bytes that are no message of their type, and on files that are damaged.
_DAMAGE = () if _MISSING else (AnyReaderError, ValueError, IndexError, KeyError, UnicodeDecodeError, AssertionError)
_READ_ERRORS = (
    ()
    if _MISSING
    else (*bag_topics.READER_ERRORS, AnyReaderError, OSError, EOFError, ValueError, AssertionError, KeyError)
)


def _open(path: Path) -> AnyReader:
    recording = _recording(path) or path
    files = sorted(file for suffix in _SUFFIXES for file in recording.glob(f"*{suffix}")) if recording.is_dir() else []
    if recording.is_dir() and not (recording / "metadata.yaml").is_file():
        if len(files) != 1:
            raise SequenceError(
                "missing_file",
                f"{recording} holds {len(files)} recordings and no metadata.yaml: run `ros2 bag reindex {recording}`",
            )
        recording = files[0]
    try:
        reader = AnyReader([recording], default_typestore=get_typestore(Stores.ROS2_JAZZY))
        reader.open()
    except _READ_ERRORS as error:
        raise _unreadable(recording, error) from error
    if not any(connection.msgcount for connection in reader.connections):
        reader.close()
        raise SequenceError("empty", f"{recording} holds no messages: record again")
    return reader


def _unreadable(path: Path, error: Exception) -> SequenceError:
    return SequenceError(
        "unreadable",
        f"{path} cannot be read ({type(error).__name__}: {error}): "
        "where a recording was cut off, `ros2 bag reindex` or "
        "`mcap recover` may repair it",
    )


def _recording(path: Path) -> Path | None:
    if path.is_file():
        if path.name == "metadata.yaml":
            return path.parent
        return path if path.suffix in _SUFFIXES else None
    return path if (path / "metadata.yaml").is_file() or any(path.glob("*.mcap")) or any(path.glob("*.db3")) else None
