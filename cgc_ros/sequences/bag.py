"""rosbag2 recordings (MCAP or SQLite, compressed or not) and ROS 1 bags, read by the rosbags library; no ROS is needed.

Opening reads the recording once, for stamps, transforms and calibrations; pixels are read from disk when a frame is
asked for.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

try:
    from rosbags.highlevel import AnyReader
except ImportError as error:  # reported by `read`, so that the other readers work without it
    _MISSING: ImportError | None = error
else:
    from cgc_ros.sequences import bag_files, bag_topics, bag_truth
    from cgc_ros.sequences.bag_poses import PoseOptions, PoseSource
    from cgc_ros.sequences.bag_robot import JointStates, robot_source
    from cgc_ros.sequences.bag_streams import Calibrations, Stream

    _MISSING = None

from cgc_ros.frame import FrameError
from cgc_ros.messages.depth import decode_depth
from cgc_ros.messages.frame_names import is_rectified
from cgc_ros.messages.images import SampleRange, decode_image, is_compressed, observe_samples, size_of
from cgc_ros.messages.label_images import decode_masks
from cgc_ros.messages.stamps import stamp_of
from cgc_ros.sequences.base import FrameInfo, Sequence, SequenceError, hold_out_every_eighth
from cgc_ros.transform_buffer import TransformError

_ROS_1_SUFFIX = ".bag"
_SUFFIXES = (".mcap", ".db3", _ROS_1_SUFFIX)
_RECTIFIED = {"auto": None, "true": True, "false": False}
_COMPRESSED_SAMPLED = 10  # every so-manieth file of 16 bits is looked at for the bits that it uses


def recognises(path: Path) -> bool:
    return _recording(path) is not None


def read(
    path: Path,
    *,
    image_topic: str | None = None,
    camera_info_topic: str | None = None,
    depth_topic: str | None = None,
    masks_topic: str | None = None,
    ignore_topic: str | None = None,
    pose_topic: str | None = None,
    camera_frame: str | None = None,
    map_frame: str | None = None,
    pose_frame: str | None = None,
    tf_topic: str | None = None,
    rectified: str = "auto",
    depth_unit: float = 0.001,
    sync_tolerance_s: float = 0.02,
) -> Sequence:
    """Open a recording. Topics and frames are found by themselves; each can be said instead ("" leaves depth, masks
    or ignored pixels out).

    `camera_frame`: optical frame, else the image header's. `map_frame`: else the root of its tf tree. `pose_frame`:
    whose pose the pose topic gives, else Odometry's child_frame_id, else the camera's. `tf_topic`: of several robots.
    `rectified`: `true` or `false`: whether the images are (camera_info's P holds, not K and D), else their topic's name
    says it. `depth_unit`: metres of one count of integer depth. `sync_tolerance_s`: how far stamps of depth, masks and
    truth may be from their image's.
    """
    if rectified not in _RECTIFIED:
        raise SequenceError("unknown_option", f"rectified={rectified}: say one of {', '.join(_RECTIFIED)}")
    if not 0 < depth_unit <= 1:
        raise SequenceError("unknown_option", f"depth_unit={depth_unit}: say metres, e.g. 0.001 or 0.0002")
    if _MISSING is not None:
        raise SequenceError(
            "missing_package",
            f"reading {path} needs rosbags ({_MISSING}): pip install rosbags",
        )
    reader = bag_files.open_files(_files(path))
    try:
        return _BagReading(path, reader, round(sync_tolerance_s * 1e9), _RECTIFIED[rectified], depth_unit).sequence(
            {
                "image": image_topic,
                "camera_info": camera_info_topic,
                "depth": depth_topic,
                "masks": masks_topic,
                "ignore": ignore_topic,
                "pose": pose_topic,
            },
            PoseOptions(camera_frame, map_frame, pose_frame, tf_topic),
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
        samples: SampleRange,
        depth_unit: float,
        **options,
    ):
        super().__init__(
            name,
            frames,
            has_depth=streams["depth"] is not None,
            has_masks=streams["masks"] is not None,
            has_ignore=streams["ignore"] is not None,
            metric_scale=True,
            **options,
        )
        self._reader: AnyReader | None = reader
        self._streams = streams
        self._tolerance_ns = tolerance_ns
        self._samples, self._depth_unit = samples, depth_unit
        self._lock = threading.Lock()  # one file position

    def load_image(self, index: int) -> np.ndarray:
        return self._load("image", index, lambda message: decode_image(message, self._samples))

    def load_depth(self, index: int) -> np.ndarray | None:
        return self._load("depth", index, lambda message: decode_depth(message, self._depth_unit))

    def load_masks(self, index: int) -> np.ndarray | None:
        return self._load("masks", index, decode_masks)

    def load_ignore(self, index: int) -> np.ndarray | None:
        return self._load("ignore", index, lambda message: decode_masks(message) != 0)

    def load_instances(self, index: int) -> np.ndarray | None:
        return self._load("instances", index, decode_masks)

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
        entry = stream.nearest(info.stamp_ns, 0 if role == "image" else self._tolerance_ns)
        if entry is None:
            return None
        with self._lock:
            if self._reader is None:
                raise SequenceError("closed", f"{self.name} was closed: open it again")
            message = stream.message(self._reader, entry)
        try:
            return decode(message)
        except FrameError as error:
            raise SequenceError(error.reason, f"{self.name}, {stream.topic}, frame {info.name}: {error}") from error


class _BagReading:
    """The one pass over a recording that opening it takes."""

    def __init__(self, path: Path, reader: AnyReader, tolerance_ns: int, rectified: bool | None, depth_unit: float):
        self._path, self._reader, self._tolerance_ns = path, reader, tolerance_ns
        self._rectified, self._depth_unit = rectified, depth_unit
        self._samples = SampleRange()
        self._is_deep = True  # images have 16 bits, until one has not
        self._damaged: Counter[str] = Counter()  # messages that cannot be deserialised, by topic
        self._warnings: list[str] = []
        self._joints = JointStates()

    def sequence(self, overrides: dict[str, str | None], pose_options: PoseOptions) -> BagSequence:
        chooser = bag_topics.TopicChooser(self._reader.connections, self._read)
        topics = chooser.choose(**overrides)
        first = self._first(topics.image)
        poses = PoseSource(topics.image, first.header.frame_id, chooser, topics.pose, pose_options)
        images = Stream(topics.image, self._connections(topics.image))
        streams: dict[str, Stream | None] = {"image": images}
        for role in ("depth", "masks", "ignore", "instances"):
            topic = getattr(topics, role)
            streams[role] = None if topic is None else Stream(topic, self._connections(topic))
        calibrations = self._scan(topics, streams, poses)
        poses.settle()
        frames = self._frames(images, calibrations, poses)
        self._warnings += [*chooser.warnings, *poses.warnings, *calibrations.notes]
        self._warnings += [note] if (note := self._samples.note()) else []
        self._warnings += [
            f"{count} messages of {topic} are damaged: left out" for topic, count in sorted(self._damaged.items())
        ]
        has_truth = streams["instances"] is not None or topics.object_points is not None
        labels = None if topics.labels is None else bag_truth.instance_names(self._first(topics.labels), topics.labels)
        points = (
            None
            if topics.object_points is None
            else bag_truth.labelled_points(self._first(topics.object_points), topics.object_points)
        )
        if has_truth and labels is None:
            self._warnings.append("ground truth is left out: /truth/labels, which names its ids, was not recorded")
        sequence = BagSequence(
            self._reader,
            streams,
            self._path.resolve().stem,
            hold_out_every_eighth(frames),
            self._tolerance_ns,
            self._samples,
            self._depth_unit,
            warnings=tuple(self._warnings),
            labels=labels if has_truth else None,
            object_points=points,
        )
        if topics.robot_description is not None:
            urdf = self._first(topics.robot_description).data
            stamps = [info.stamp_ns for info in frames]
            sequence.robot_source = robot_source(self._path.resolve(), urdf, self._joints, poses, stamps)
        return sequence

    def _scan(self, topics: bag_topics.BagTopics, streams: dict[str, Stream | None], poses: PoseSource) -> Calibrations:
        rectified = is_rectified(topics.image) if self._rectified is None else self._rectified
        calibrations = Calibrations(topics.camera_info, rectified)
        by_topic = {stream.topic: stream for stream in streams.values() if stream is not None}
        joint_states = topics.joint_states if topics.robot_description else ()
        wanted = {*by_topic, topics.camera_info, *poses.topics, *joint_states}
        connections = [connection for connection in self._reader.connections if connection.topic in wanted]
        for connection, recorded_ns, data in self._messages(connections):
            message = self._deserialize(connection, data)
            if connection.topic in by_topic:
                stream = by_topic[connection.topic]
                if message is None:  # it still takes its place among those recorded at the same instant
                    stream.add(-1, recorded_ns)
                    continue
                is_image = stream is streams["image"]
                stream.add(stamp_of(message.header.stamp), recorded_ns, size_of(message) if is_image else (0, 0))
                if is_image:
                    self._observe(message, len(stream.entries) - 1)
            elif message is not None and connection.topic == topics.camera_info:
                calibrations.add(message)
            elif message is not None and connection.topic in joint_states:
                self._joints.add(message)
            elif message is not None:
                poses.add(connection.topic, message)
        for stream in by_topic.values():
            stream.sort()
        return calibrations

    def _frames(self, images: Stream, calibrations: Calibrations, poses: PoseSource) -> list[FrameInfo]:
        frames: list[FrameInfo] = []
        without_pose: Counter[str] = Counter()
        example: dict[str, str] = {}
        for stamp, _, _, size in (entry for entry in images.entries if entry.stamp_ns >= 0):
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
                        calibrations.at(stamp, size),
                        held_out=False,
                    )
                )
            except TransformError as error:
                without_pose[error.reason] += 1
                example.setdefault(error.reason, str(error))
        for reason, count in without_pose.most_common():
            self._warnings.append(f"{count} of {len(images.entries)} images are left out, {reason}: {example[reason]}")
        if not frames:
            raise SequenceError(
                "no_poses",
                f"{self._path}: no image of {images.topic} has a pose; "
                + "; ".join([*self._warnings, *poses.warnings]),
            )
        return frames

    def _connections(self, topic: str) -> list:
        return [connection for connection in self._reader.connections if connection.topic == topic]

    def _read(self, topic: str) -> Iterator:
        """The messages of a topic that can be deserialised."""
        for connection, _, data in self._messages(self._connections(topic)):
            try:
                yield self._reader.deserialize(data, connection.msgtype)
            except bag_files.DAMAGE:
                continue  # counted when the topic is scanned

    def _first(self, topic: str):
        first = next(self._read(topic), None)
        if first is None:
            raise SequenceError(
                "damaged", f"{self._path}: no message of {topic} can be read: record again, or say another topic"
            )
        return first

    def _observe(self, message, index: int) -> None:
        """How many of 16 bits the images use: all raw ones say it, of files, which take time, some."""
        if self._is_deep and not (is_compressed(message) and index % _COMPRESSED_SAMPLED):
            try:
                self._is_deep = observe_samples(message, self._samples)
            except FrameError:
                return  # named when the frame is loaded

    def _deserialize(self, connection, data):
        try:
            return self._reader.deserialize(data, connection.msgtype)
        except bag_files.DAMAGE:
            self._damaged[connection.topic] += 1
            return None

    def _messages(self, connections: list):
        try:
            yield from self._reader.messages(connections)
        except bag_files.READ_ERRORS as error:
            raise bag_files.unreadable(self._path, error) from error


def _files(path: Path) -> list[Path]:
    """The files of the recording at `path`, or its folder where metadata.yaml lists them."""
    recording = _recording(path)
    if recording is None or recording.is_file() or (recording / "metadata.yaml").is_file():
        return [recording or path]
    files = sorted(file for suffix in _SUFFIXES for file in recording.glob(f"*{suffix}"))
    if len(files) != 1 and {file.suffix for file in files} != {_ROS_1_SUFFIX}:  # several of those are one recording
        raise SequenceError(
            "missing_file",
            f"{recording} holds {len(files)} recordings and no metadata.yaml: run `ros2 bag reindex {recording}`",
        )
    return files


def _recording(path: Path) -> Path | None:
    if path.is_file():
        if path.name == "metadata.yaml":
            return path.parent
        return path if path.suffix in _SUFFIXES else None
    has_files = any(next(path.glob(f"*{suffix}"), None) for suffix in _SUFFIXES)
    return path if (path / "metadata.yaml").is_file() or has_files else None
