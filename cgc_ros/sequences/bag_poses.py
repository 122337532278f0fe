"""The camera's pose at an image's stamp, from a recording's tf or from a pose or odometry topic."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cgc_ros.frame import FrameError
from cgc_ros.messages.frame_names import frame_name
from cgc_ros.messages.geometry import matrix_from_pose, matrix_from_transform, pose_of
from cgc_ros.messages.stamps import stamp_of
from cgc_ros.sequences.bag_topics import POSES, TRANSFORMS, TopicChooser
from cgc_ros.sequences.base import SequenceError
from cgc_ros.transform_buffer import TransformBuffer, TransformError

_WHOLE_RECORDING_S = 1e9
_TRANSFORM_ENDS = ("/tf", "/tf_static")


class Link(NamedTuple):
    """One transform."""

    parent: str
    child: str
    stamp_ns: int
    matrix: np.ndarray  # parent_from_child, [4, 4]
    static: bool = False


@dataclass(frozen=True)
class PoseOptions:
    """What a user may say about poses; None: found by itself."""

    camera_frame: str | None = None
    map_frame: str | None = None
    pose_frame: str | None = None
    tf_topic: str | None = None


class PoseSource:
    """Collects transforms while a recording is read (`add`), settles on a tree and a map frame, then answers.

    Poses come from tf where tf moves the camera, else from a pose topic that does; a topic that was asked for wins.
    Transforms of different namespaces (/robot1/tf, /robot2/tf) are trees of their own: the camera's is the one of its
    topic's namespace, else one that moves it.
    """

    def __init__(
        self, image_topic: str, camera_frame: str, chooser: TopicChooser, pose_topic: str | None, said: PoseOptions
    ):
        self.camera_frame = frame_name(said.camera_frame or camera_frame)
        self.warnings: list[str] = []
        self._image_topic, self._chooser, self._said, self._asked_for = image_topic, chooser, said, pose_topic
        self._links: dict[str, list[Link]] = {topic: [] for topic in self._transform_topics()}
        self._poses: dict[str, list[Link]] = {
            topic: [] for topic in ([pose_topic] if pose_topic else self._nearest_first(chooser.of_type(POSES)))
        }
        self._unreadable = 0
        self._refused: Counter[str] = Counter()
        self._buffer = TransformBuffer(_WHOLE_RECORDING_S)
        self._map_frame = ""
        if not self.camera_frame and not self._poses:
            raise SequenceError("no_frame", "the images have no frame_id to look up in tf: say camera_frame=")

    @property
    def topics(self) -> list[str]:
        return [*self._links, *self._poses]

    def add(self, topic: str, message) -> None:
        try:
            if topic in self._poses:
                child = self._said.pose_frame or getattr(message, "child_frame_id", "") or self.camera_frame or "camera"
                stamp = stamp_of(message.header.stamp)
                parent = message.header.frame_id or "map"
                self._poses[topic].append(Link(parent, child, stamp, matrix_from_pose(pose_of(message))))
                return
            for each in message.transforms:
                matrix = matrix_from_transform(each.transform)
                stamp, static = stamp_of(each.header.stamp), topic.endswith("tf_static")
                self._links[topic].append(Link(each.header.frame_id, each.child_frame_id, stamp, matrix, static))
        except FrameError:
            self._unreadable += 1

    def settle(self) -> None:
        """Choose between trees of tf and pose topics, and the map frame. SequenceError where nothing has a pose."""
        links = self._links_of_camera()
        if self._asked_for or not self._fill(links):
            self._settle_on_poses(links)
        self._poses, self._links = {}, {}
        self._refused["bad_transform"] += self._unreadable
        if refused := +self._refused:
            self.warnings.append(
                "transforms refused: " + ", ".join(f"{count} {reason}" for reason, count in refused.most_common())
            )
        self.camera_frame = self.camera_frame or (self._buffer.frames() or ("",))[-1]
        if self.camera_frame not in self._buffer.frames():
            known = ", ".join(self._buffer.frames()) or "none"
            raise SequenceError(
                "no_poses",
                f"no transform or pose leads to the camera frame {self.camera_frame!r} "
                f"(frames known: {known}): record /tf and /tf_static or a pose topic, or say camera_frame=, tf_topic= "
                f"or pose_topic=; {self._chooser.listing()}",
            )
        self._map_frame = self._said.map_frame or self._buffer.root(self.camera_frame)

    @property
    def map_frame(self) -> str:
        """The frame that poses are in, once settled."""
        return self._map_frame

    def world_from_camera(self, stamp_ns: int) -> np.ndarray:
        """[4, 4], map frame from optical frame. Raises TransformError."""
        return self.lookup(self._map_frame, self.camera_frame, stamp_ns)

    def lookup(self, target: str, source: str, stamp_ns: int) -> np.ndarray:
        """target_from_source [4, 4] of any two frames of the camera's tree, once settled. Raises TransformError."""
        return self._buffer.lookup(target, source, stamp_ns)

    def _transform_topics(self) -> list[str]:
        topics = self._chooser.of_type(TRANSFORMS)
        if not (said := self._said.tf_topic):
            return topics
        if said not in topics:
            raise SequenceError("missing_topic", f"tf_topic {said!r} has no transforms here; {self._chooser.listing()}")
        static = f"{said}_static"
        return [said, *(topic for topic in (static if static in topics else "/tf_static",) if topic in topics)]

    def _nearest_first(self, topics: list[str]) -> list[str]:
        """Sorted by how much of the image's topic they share, slash by slash; of equals in the order given."""

        def shared(topic: str) -> int:
            pairs = zip(topic.split("/")[:-1], self._image_topic.split("/")[:-1], strict=False)
            return next((place for place, (one, other) in enumerate(pairs) if one != other), 99)

        return sorted(topics, key=lambda topic: (-min(shared(topic), topic.count("/")), _namespace(topic) != ""))

    def _links_of_camera(self) -> list[Link]:
        """The transforms of the camera's own tree; all where no namespace by itself moves it."""
        namespaces: dict[str, list[Link]] = {}
        for topic in self._nearest_first(list(self._links)):
            namespaces.setdefault(_namespace(topic), []).extend(self._links[topic])
        if len(namespaces) > 1:
            moving = {}
            for namespace, own in namespaces.items():
                with_root = own + namespaces.get("", [])  # static links are often sent to /tf_static all the same
                if links := next((each for each in (own, with_root) if self._fill(each)), None):
                    moving[namespace] = links
            if moving:
                chosen, *others = moving
                if others:
                    named = ", ".join(f"{namespace}/tf" for namespace in others)
                    self.warnings.append(f"poses are read from {chosen}/tf, not {named} (tf_topic= chooses)")
                return moving[chosen]
        return [link for links in namespaces.values() for link in links]

    def _settle_on_poses(self, links: list[Link]) -> None:
        """The first pose topic that moves the camera, with the other transforms of its tree."""
        topics = [topic for topic, poses in self._poses.items() if poses]
        if not topics:
            return
        chosen = next((topic for topic in topics if self._fill(self._with_poses(links, topic))), topics[0])
        others = [topic for topic in topics if topic != chosen]
        if others:
            self.warnings.append(f"poses are read from {chosen}, not {', '.join(others)} (pose_topic= chooses)")
        self._fill(self._with_poses(links, chosen))

    def _with_poses(self, links: list[Link], topic: str) -> list[Link]:
        """A frame has one parent: transforms of the frame that the topic moves are left out."""
        moved = {frame_name(link.child) for link in self._poses[topic]}
        return [link for link in links if frame_name(link.child) not in moved] + self._poses[topic]

    def _fill(self, links: list[Link]) -> bool:
        """Into a new buffer; True where the camera then moves in its tree."""
        self._refused.clear()
        self._buffer = TransformBuffer(_WHOLE_RECORDING_S)
        for link in links:
            try:
                self._buffer.set_transform(*link)
            except TransformError as error:
                self._refused[error.reason] += 1
        try:
            return self._buffer.latest_stamp_ns(self._buffer.root(self.camera_frame), self.camera_frame) is not None
        except TransformError:
            return False


def _namespace(topic: str) -> str:
    return next((topic.removesuffix(end) for end in _TRANSFORM_ENDS if topic.endswith(end)), topic)
