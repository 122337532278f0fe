"""Which topics of a recording hold what: chosen by type, name and frame, each choice open to an override."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any

from rosbags.interfaces import Connection

from cgc_ros.frame import FrameError
from cgc_ros.messages.depth import decode_depth
from cgc_ros.messages.encodings import COLOR, find
from cgc_ros.messages.frame_names import frame_name, without_transport
from cgc_ros.messages.images import is_compressed
from cgc_ros.sequences.base import SequenceError

IMAGE = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
CAMERA_INFO = ("sensor_msgs/msg/CameraInfo",)
TRANSFORMS = ("tf2_msgs/msg/TFMessage", "tf/msg/tfMessage")  # the second is ROS 1's old one
POSES = ("geometry_msgs/msg/PoseStamped", "geometry_msgs/msg/PoseWithCovarianceStamped", "nav_msgs/msg/Odometry")
JOINT_STATES = ("sensor_msgs/msg/JointState",)
STRING = ("std_msgs/msg/String",)

#: What each topic that can be said must hold.
_TYPES = {"image": IMAGE, "camera_info": CAMERA_INFO, "depth": IMAGE, "masks": IMAGE, "ignore": IMAGE, "pose": POSES}

_NOT_A_CAMERA = ("/truth/", "mask", "/ignore", "depth", "disparity", "overlay", "segmentation", "render", "normal")
_SECOND_CHOICE = ("infra", "thermal")  # cameras, where there is none of colours
_COLOR_NAMES = ("color", "colour", "rgb")
_DEPTH_TRIALS = 3  # messages of a topic, one of which must be depth


@dataclass(frozen=True)
class BagTopics:
    """Topic names; None where the recording has none."""

    image: str
    camera_info: str
    depth: str | None = None
    masks: str | None = None
    ignore: str | None = None  # pixels that are no part of the world
    pose: str | None = None  # PoseStamped, PoseWithCovarianceStamped or Odometry; None: poses come from tf
    instances: str | None = None
    labels: str | None = None
    object_points: str | None = None
    robot_description: str | None = None  # a robot's URDF
    joint_states: tuple[str, ...] = ()


class TopicChooser:
    """Chooses topics among `connections`. `read(topic)` iterates over a topic's messages; what was ambiguous is in
    `warnings`.
    """

    def __init__(self, connections: list[Connection], read: Callable[[str], Iterator]):
        self._types = {connection.topic: connection.msgtype for connection in connections if connection.msgcount}
        self._counts = {connection.topic: connection.msgcount for connection in connections}
        self._read = read
        self.warnings: list[str] = []

    def choose(self, **overrides: str | None) -> BagTopics:
        """The topics to read; `overrides` by field of BagTopics. An override of "" leaves the topic out."""
        for role, topic in overrides.items():
            if topic and topic not in self._types:
                raise SequenceError("missing_topic", f"{role} topic {topic!r} has no messages here; {self.listing()}")
            if topic and self._types[topic] not in _TYPES[role]:
                raise SequenceError(
                    "wrong_type",
                    f"{role} topic {topic!r} holds {self._types[topic]}, not {' or '.join(_TYPES[role])}; "
                    f"{self.listing()}",
                )
        image = overrides.get("image") or self._image()
        automatic = {
            "image": lambda: image,
            "camera_info": lambda: self._camera_info(image),
            "depth": lambda: self._depth(image),
            "masks": lambda: self._first("/masks/compressed", "/masks"),
            "ignore": lambda: self._first("/ignore/compressed", "/ignore"),
            "instances": lambda: self._first("/truth/instances/compressed", "/truth/instances"),
            "labels": lambda: self._first("/truth/labels"),
            "object_points": lambda: self._first("/truth/object_points"),
            "pose": lambda: None,
            "robot_description": self._robot_description,
            "joint_states": lambda: tuple(self.of_type(JOINT_STATES)),
        }
        chosen: dict[str, Any] = {}
        for field in fields(BagTopics):
            override = overrides.get(field.name)
            chosen[field.name] = automatic[field.name]() if override is None else override or None
        if not chosen["camera_info"]:
            raise SequenceError(
                "missing_topic",
                f"no camera_info for {image} was recorded: record it too, or say camera_info_topic=; {self.listing()}",
            )
        return BagTopics(**chosen)

    def of_type(self, types: tuple[str, ...]) -> list[str]:
        """Topics of these types, the one with most messages first."""
        return sorted(
            (topic for topic, kind in self._types.items() if kind in types),
            key=lambda topic: (-self._counts[topic], topic),
        )

    def listing(self) -> str:
        return "topics: " + (", ".join(f"{topic} ({kind})" for topic, kind in sorted(self._types.items())) or "none")

    def _image(self) -> str:
        candidates = [topic for topic in self.of_type(IMAGE) if self._is_camera(topic)]
        if not candidates:
            raise SequenceError("missing_topic", f"no camera image was found: say image_topic=; {self.listing()}")

        def rank(topic: str) -> tuple:
            named_color = any(name in topic.lower() for name in _COLOR_NAMES)
            return (
                self._is_second_choice(topic),
                self._camera_info(topic) is None,
                not named_color,
                -self._counts[topic],
                topic != without_transport(topic),
                topic,
            )

        best = min(candidates, key=rank)
        equals = [topic for topic in candidates if self._is_second_choice(topic) == self._is_second_choice(best)]
        others = {without_transport(topic) for topic in equals if self._camera_info(topic)} - {without_transport(best)}
        if others:
            self.warnings.append(
                f"several cameras were recorded; {best} is read, not {', '.join(sorted(others))} (image_topic= chooses)"
            )
        return best

    def _peek(self, topic: str):
        """The first message that can be read, or None."""
        return next(self._read(topic), None)

    def _is_camera(self, topic: str) -> bool:
        if any(word in topic.lower() for word in _NOT_A_CAMERA):
            return False
        message = self._peek(topic)
        if message is None:
            return False
        if is_compressed(message):
            return "compressedDepth" not in message.format
        return find(message.encoding, COLOR) is not None

    def _is_second_choice(self, topic: str) -> bool:
        """Infrared, and 16-bit grey, which may as well be depth or labels."""
        return any(word in topic.lower() for word in _SECOND_CHOICE) or (
            getattr(self._peek(topic), "encoding", "") == "mono16"
        )

    def _camera_info(self, image: str) -> str | None:
        """The camera_info beside the image (image_transport's convention), or the recording's only one."""
        sibling = without_transport(image).rpartition("/")[0] + "/camera_info"
        infos = self.of_type(CAMERA_INFO)
        return sibling if sibling in infos else infos[0] if len(infos) == 1 else None

    def _depth(self, image: str) -> str | None:
        """A depth image in the colour camera's own frame: depth in another frame is not registered to the picture."""
        frame_id = frame_name(self._peek(image).header.frame_id)
        candidates = [
            topic for topic in self.of_type(IMAGE) if "depth" in topic.lower() and not topic.startswith("/truth/")
        ]

        def rank(topic: str) -> tuple:
            is_registered = "aligned" in topic or "registered" in topic
            return not is_registered, topic != without_transport(topic), not topic.endswith("/compressedDepth"), topic

        refused = []
        for topic in sorted(candidates, key=rank):
            message = self._peek(topic)
            if message is None:
                continue
            own_frame = frame_name(message.header.frame_id)
            if own_frame not in ("", frame_id):
                refused.append(
                    f"{topic} in {own_frame!r} is not registered to the colour camera {frame_id!r}: "
                    "record registered (aligned) depth"
                )
            elif error := self._why_no_depth(topic):
                refused.append(f"{topic}: {error}")
            else:
                return topic
        if refused:
            self.warnings.append(f"depth is left out: {'; '.join(refused)}")
        return None

    def _why_no_depth(self, topic: str) -> FrameError | None:
        """What its first messages all fail by; None where one of them is depth."""
        error = None
        for message in islice(self._read(topic), _DEPTH_TRIALS):
            try:
                decode_depth(message)
            except FrameError as failure:
                error = failure
            else:
                return None
        return error

    def _robot_description(self) -> str | None:
        """`/robot_description`, or the one of a namespace."""
        topics = [topic for topic in self.of_type(STRING) if topic.rpartition("/")[2] == "robot_description"]
        return min(topics, key=lambda topic: (topic.count("/"), topic), default=None)

    def _first(self, *names: str) -> str | None:
        return next((name for name in names if name in self._types), None)
