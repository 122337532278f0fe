"""The camera's pose at an image's stamp, from a recording's tf or from a pose or odometry topic."""

from __future__ import annotations

from collections import Counter

import numpy as np

from cgc_ros.sequences import bag_messages
from cgc_ros.sequences.bag_topics import POSES, TRANSFORMS, TopicChooser
from cgc_ros.sequences.base import SequenceError
from cgc_ros.transform_buffer import TransformBuffer, TransformError

_WHOLE_RECORDING_S = 1e9


class PoseSource:
    """Collects transforms while a recording is read (`add`), settles on a map frame, then answers.

    Poses come from tf where tf moves the camera, else from the pose topic with most messages; a topic that was asked
    for wins.
    """

    def __init__(self, camera_frame: str, chooser: TopicChooser, pose_topic: str | None, pose_frame: str | None):
        self.camera_frame = camera_frame
        self.warnings: list[str] = []
        self._chooser = chooser
        self._asked_for = pose_topic
        self._pose_frame = pose_frame
        self._transform_topics = chooser.of_type(TRANSFORMS)
        self._poses: dict[str, list[tuple[str, str, int, np.ndarray]]] = {
            topic: [] for topic in ([pose_topic] if pose_topic else chooser.of_type(POSES))
        }
        self._transforms: list[tuple[str, str, int, np.ndarray, bool]] = []
        self._refused: Counter[str] = Counter()
        self._buffer = TransformBuffer(_WHOLE_RECORDING_S)
        self._map_frame = ""
        if not camera_frame and not (pose_topic or self._poses):
            raise SequenceError("no_frame", "the images have no frame_id to look up in tf: say camera_frame=")

    @property
    def topics(self) -> list[str]:
        return [*self._transform_topics, *self._poses]

    def add(self, topic: str, message) -> None:
        if topic in self._poses:
            self._add_pose(topic, message)
            return
        for transform in message.transforms:
            matrix = bag_messages.rigid_matrix(transform.transform.translation, transform.transform.rotation)
            stamp = bag_messages.stamp_ns(transform.header.stamp)
            self._transforms.append(
                (transform.header.frame_id, transform.child_frame_id, stamp, matrix, topic.endswith("tf_static"))
            )

    def settle(self, map_frame: str | None) -> None:
        """Choose between tf and pose topics, and the map frame. Raises SequenceError where there is no pose at all."""
        moved_by_tf = False if self._asked_for else self._fill(self._transforms)
        if not moved_by_tf and (topic := self._chosen_pose_topic()):
            poses = self._poses[topic]
            children = {child for _, child, *_ in poses}
            self._buffer = TransformBuffer(_WHOLE_RECORDING_S)
            self._fill([entry for entry in self._transforms if entry[1] not in children])
            self._fill([(*pose, False) for pose in poses])
        self._poses, self._transforms = {}, []
        if self._refused:
            self.warnings.append(
                "transforms refused: " + ", ".join(f"{count} {reason}" for reason, count in self._refused.most_common())
            )
        self.camera_frame = self.camera_frame or (self._buffer.frames() or ("",))[-1]
        if self.camera_frame not in self._buffer.frames():
            known = ", ".join(self._buffer.frames()) or "none"
            raise SequenceError(
                "no_poses",
                f"no transform or pose leads to the camera frame {self.camera_frame!r} "
                f"(frames known: {known}): record /tf and "
                f"/tf_static or a pose topic, or say camera_frame= or pose_topic=; {self._chooser.listing()}",
            )
        self._map_frame = map_frame or self._buffer.root(self.camera_frame)

    def world_from_camera(self, stamp_ns: int) -> np.ndarray:
        """[4, 4], map frame from optical frame. Raises TransformError."""
        return self._buffer.lookup(self._map_frame, self.camera_frame, stamp_ns)

    def _add_pose(self, topic: str, message) -> None:
        pose = message.pose if hasattr(message.pose, "position") else message.pose.pose  # with covariance, or Odometry
        child = self._pose_frame or getattr(message, "child_frame_id", "") or self.camera_frame or "camera"
        matrix = bag_messages.rigid_matrix(pose.position, pose.orientation)
        self._poses[topic].append(
            (message.header.frame_id or "map", child, bag_messages.stamp_ns(message.header.stamp), matrix)
        )

    def _fill(self, transforms) -> bool:
        """Into the buffer; True where the camera then moves in its tree."""
        self._refused.clear()
        for parent, child, stamp, matrix, static in transforms:
            try:
                self._buffer.set_transform(parent, child, stamp, matrix, static)
            except TransformError as error:
                self._refused[error.reason] += 1
        try:
            return self._buffer.latest_stamp_ns(self._buffer.root(self.camera_frame), self.camera_frame) is not None
        except TransformError:
            return False

    def _chosen_pose_topic(self) -> str | None:
        if self._asked_for:
            return self._asked_for
        topics = [topic for topic, poses in self._poses.items() if poses]
        if len(topics) > 1:
            self.warnings.append(f"poses are read from {topics[0]}, not {', '.join(topics[1:])} (pose_topic= chooses)")
        return topics[0] if topics else None
