"""Which topics of a recording hold what: chosen by type, name and frame, each choice open to an override."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from rosbags.interfaces import Connection
from rosbags.rosbag1 import ReaderError as ReaderError1
from rosbags.rosbag2 import ReaderError as ReaderError2

from cgc_ros.sequences.base import SequenceError

READER_ERRORS = (ReaderError1, ReaderError2)

IMAGE = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
CAMERA_INFO = ("sensor_msgs/msg/CameraInfo",)
TRANSFORMS = ("tf2_msgs/msg/TFMessage",)
POSES = ("geometry_msgs/msg/PoseStamped", "geometry_msgs/msg/PoseWithCovarianceStamped", "nav_msgs/msg/Odometry")

_COLOR_ENCODINGS = ("rgb", "bgr", "mono", "bayer", "yuv", "uyvy", "yuyv", "8UC")
_NOT_A_CAMERA = (
    "/truth/",
    "mask",
    "depth",
    "infra",
    "thermal",
    "disparity",
    "overlay",
    "segmentation",
    "render",
    "normal",
)
_COLOR_NAMES = ("color", "colour", "rgb")
_TRANSPORTS = ("/compressed", "/compressedDepth", "/theora", "/ffmpeg")


@dataclass(frozen=True)
class BagTopics:
    """Topic names; None where the recording has none."""

    image: str
    camera_info: str
    depth: str | None = None
    masks: str | None = None
    pose: str | None = None  # PoseStamped, PoseWithCovarianceStamped or Odometry; None: poses come from tf
    instances: str | None = None
    labels: str | None = None
    object_points: str | None = None


class TopicChooser:
    """Chooses topics among `connections`. `peek(topic)` gives a topic's first message or None; what was ambiguous is in
    `warnings`.
    """

    def __init__(self, connections: list[Connection], peek):
        self._types = {connection.topic: connection.msgtype for connection in connections if connection.msgcount}
        self._counts = {connection.topic: connection.msgcount for connection in connections}
        self._peek = peek
        self.warnings: list[str] = []

    def choose(self, **overrides: str | None) -> BagTopics:
        """The topics to read; `overrides` by field of BagTopics. An override of "" leaves the topic out."""
        for role, topic in overrides.items():
            if topic and topic not in self._types:
                raise SequenceError("missing_topic", f"{role} topic {topic!r} has no messages here; {self.listing()}")
        image = overrides.get("image") or self._image()
        automatic = {
            "image": lambda: image,
            "camera_info": lambda: self._camera_info(image),
            "depth": lambda: self._depth(image),
            "masks": lambda: self._first("/masks/compressed", "/masks"),
            "instances": lambda: self._first("/truth/instances/compressed", "/truth/instances"),
            "labels": lambda: self._first("/truth/labels"),
            "object_points": lambda: self._first("/truth/object_points"),
            "pose": lambda: None,
        }
        chosen: dict[str, Any] = {}  # what must be there is checked below
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
        """What was recorded, for an error."""
        return "topics: " + (", ".join(f"{topic} ({kind})" for topic, kind in sorted(self._types.items())) or "none")

    def _image(self) -> str:
        candidates = [topic for topic in self.of_type(IMAGE) if self._is_camera(topic)]
        if not candidates:
            raise SequenceError("missing_topic", f"no camera image was found: say image_topic=; {self.listing()}")

        def rank(topic: str) -> tuple:
            named_color = any(name in topic.lower() for name in _COLOR_NAMES)
            return (
                self._camera_info(topic) is None,
                not named_color,
                -self._counts[topic],
                topic != _base(topic),
                topic,
            )

        best = min(candidates, key=rank)
        others = sorted({_base(topic) for topic in candidates if self._camera_info(topic)} - {_base(best)})
        if others:
            self.warnings.append(
                f"several cameras were recorded; {best} is read, not {', '.join(others)} (image_topic= chooses)"
            )
        return best

    def _is_camera(self, topic: str) -> bool:
        if any(word in topic.lower() for word in _NOT_A_CAMERA):
            return False
        message = self._peek(topic)
        return message is not None and (
            hasattr(message, "format") or message.encoding.startswith(_COLOR_ENCODINGS) and message.encoding != "mono16"
        )

    def _camera_info(self, image: str) -> str | None:
        """The camera_info beside the image (image_transport's convention), or the recording's only one."""
        sibling = _base(image).rpartition("/")[0] + "/camera_info"
        infos = self.of_type(CAMERA_INFO)
        return sibling if sibling in infos else infos[0] if len(infos) == 1 else None

    def _depth(self, image: str) -> str | None:
        """A depth image in the colour camera's own frame: depth in another frame is not registered to the picture."""
        frame_id = self._peek(image).header.frame_id
        candidates = [
            topic for topic in self.of_type(IMAGE) if "depth" in topic.lower() and not topic.startswith("/truth/")
        ]
        elsewhere = []
        for topic in sorted(
            candidates, key=lambda name: ("aligned" not in name and "registered" not in name, name != _base(name), name)
        ):
            message = self._peek(topic)
            if message is None or not _holds_depth(message):
                continue
            if message.header.frame_id in ("", frame_id):
                return topic
            elsewhere.append(f"{topic} in {message.header.frame_id!r}")
        if elsewhere:
            self.warnings.append(
                f"depth is left out: {', '.join(elsewhere)} is not registered to the colour camera "
                f"{frame_id!r}; record registered (aligned) depth"
            )
        return None

    def _first(self, *names: str) -> str | None:
        return next((name for name in names if name in self._types), None)


def _base(topic: str) -> str:
    """A topic without image_transport's suffix."""
    return next((topic.removesuffix(suffix) for suffix in _TRANSPORTS if topic.endswith(suffix)), topic)


def is_rectified(topic: str) -> bool:
    """image_proc's naming: image_rect, image_rect_color, ..."""
    return _base(topic).rpartition("/")[2].startswith("image_rect")


def _holds_depth(message) -> bool:
    if hasattr(message, "format"):
        return (
            "16UC1" in message.format
            or "32FC1" in message.format
            or "png" in message.format
            or "compressedDepth" in message.format
        )
    return message.encoding in ("16UC1", "mono16", "32FC1")
