"""Listens to a running robot as the node would, for a few seconds, and keeps what `live_check.judge` wants to know."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import cast

import numpy as np
import psutil
import rclpy
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import ROSClock
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible
from sensor_msgs.msg import CameraInfo
from tf2_msgs.msg import TFMessage

from cgc_ros.frame import FrameError
from cgc_ros.messages.camera_info import calibration_of
from cgc_ros.messages.depth import decode_depth
from cgc_ros.messages.images import decode_image
from cgc_ros.messages.stamps import stamp_of
from cgc_ros.ros.dds import has_large_buffers, prepare_transports, profile_path
from cgc_ros.ros.frame_guard import FrameGuard
from cgc_ros.ros.inputs import COMPRESSED_DEPTH_SUFFIXES, KEPT_INFO_QOS, STATIC_TF_QOS, TF_QOS, ImageInput, sensor_qos
from cgc_ros.ros.intake import TRANSFORM_FAULTS
from cgc_ros.ros.intake_settings import IntakeSettings
from cgc_ros.ros.live_check import Observations, Stream
from cgc_ros.ros.parameters import NodeParameters, declarations, parameters_from
from cgc_ros.ros.pose_queue import PoseQueue
from cgc_ros.ros.transform_source import POSE_TYPES, TransformSource, camera_pose
from cgc_ros.ros.wait_clock import WaitClock
from cgc_ros.transform_buffer import TransformBuffer, TransformError

_NODE_NAME = "cgc_check"  # not the node's own, which may run beside it
_SETTLE_SHARE = 0.2  # of the time, in which the other publishers are found: poses are asked for afterwards
_EXTRA_WAIT_S = 2.0  # beyond transform_timeout, to tell how late a transform is


def listen(seconds: float, ros_arguments: Sequence[str] = ()) -> Observations:
    """Hear a robot for `seconds` from its first image on, or as long without any.

    `ros_arguments`: remappings and parameters as the node takes them, `-r`, `-p`, ...
    """
    dds = prepare_transports()
    context = rclpy.Context()
    rclpy.init(args=["--ros-args", *ros_arguments], context=context)
    try:
        node = Node(
            _NODE_NAME,
            context=context,
            allow_undeclared_parameters=True,
            automatically_declare_parameters_from_overrides=True,
        )
        return _Observer(node, context, dds).observe(seconds)
    finally:
        rclpy.shutdown(context=context)


class _Observer:
    def __init__(self, node: Node, context: rclpy.Context, dds: str):
        self._node, self._dds = node, dds
        self._parameters = p = _parameters_of(node)
        clock = cast(ROSClock, node.get_clock())
        self._wait_clock_ns = WaitClock(lambda: clock.now().nanoseconds, lambda: clock.ros_time_is_active)
        self._settings = IntakeSettings.from_parameters(p, node.resolve_topic_name("image"))
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(node)
        group = MutuallyExclusiveCallbackGroup()
        qos = sensor_qos(p.image_reliability)
        self._image_input = ImageInput(node, "image", p.image_transport, qos, self._on_image, group)
        self._depth_input = (
            ImageInput(node, "depth", p.depth_transport, qos, self._on_depth, group, COMPRESSED_DEPTH_SUFFIXES)
            if p.use_depth
            else None
        )
        info_topic = self._subscribe(CameraInfo, "camera_info", self._on_info, qos)
        self._subscribe(CameraInfo, "camera_info", self._on_kept_info, KEPT_INFO_QOS)
        self._qos = {"image": qos, "camera_info": qos, "depth": qos}
        self._transforms = TransformSource(TransformBuffer(p.transform_history))
        poses = {}
        for name, callback, topic_qos in (
            ("/tf", self._transforms.on_tf, TF_QOS),
            ("/tf_static", self._transforms.on_tf_static, STATIC_TF_QOS),
        ):
            poses[name] = Stream(self._subscribe(TFMessage, name, self._counted(name, callback), topic_qos))
            self._qos[name] = topic_qos
        self._subscribe(TFMessage, "/tf_static", self._transforms.on_tf_static, TF_QOS)
        if p.pose_source != "tf":
            self._qos["pose"] = sensor_qos(depth=50)
            kind = POSE_TYPES[p.pose_source]
            topic = self._subscribe(kind, "pose", self._counted("pose", self._on_pose), self._qos["pose"])
            poses["pose"] = Stream(topic)
        self._depth = Stream(self._depth_input.topic if self._depth_input else "")
        self._seen = Observations(
            0.0,
            Stream(self._image_input.topic),
            Stream(info_topic),
            self._depth if self._depth_input else None,
            poses,
            p.map_frame,
            p.camera_frame,
            pose_timeout_s=p.transform_timeout,
        )
        wait_ns = round((p.transform_timeout + _EXTRA_WAIT_S) * 1e9)
        self._queue = PoseQueue(self._lookup, self._on_posed, self._on_lost, wait_ns, size=1000)
        self._asked_from_s = np.inf

    def observe(self, seconds: float) -> Observations:
        psutil.cpu_percent(None)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            was_silent = not self._seen.image.stamps_ns
            self._executor.spin_once(timeout_sec=0.005)
            self._queue.poll(self._wait_clock_ns())
            if was_silent and self._seen.image.stamps_ns:
                self._asked_from_s = time.monotonic() + _SETTLE_SHARE * seconds
                end = time.monotonic() + seconds
        self._seen.seconds = seconds
        self._seen.cores = psutil.cpu_count() or 1
        self._seen.load = psutil.cpu_percent(None) / 100
        self._look_around()
        return self._seen

    def _subscribe(self, kind: type, name: str, callback, qos: QoSProfile) -> str:
        return self._node.create_subscription(kind, name, callback, qos).topic_name

    def _hear(self, stream: Stream, stamp_ns: int) -> None:
        stream.stamps_ns.append(stamp_ns)
        stream.ages_s.append((self._node.get_clock().now().nanoseconds - stamp_ns) * 1e-9)

    def _counted(self, name: str, callback):
        def receive(message) -> None:
            self._hear(self._seen.poses[name], stamp_of(_header(message).stamp))
            callback(message)

        return receive

    def _on_image(self, message) -> None:
        stream = self._seen.image
        stamp_ns, now = stamp_of(message.header.stamp), self._wait_clock_ns()
        self._hear(stream, stamp_ns)
        self._read(stream, message, decode_image)
        self._seen.camera_frame = self._parameters.camera_frame or stream.frame_id
        if time.monotonic() > self._asked_from_s:
            self._queue.add(now, self._seen.camera_frame, stamp_ns, now)

    def _on_depth(self, message) -> None:
        stream = self._depth
        self._hear(stream, stamp_of(message.header.stamp))
        self._read(stream, message, self._decode_depth)

    def _on_info(self, message) -> None:
        self._hear(self._seen.camera_info, stamp_of(message.header.stamp))
        self._on_kept_info(message)

    def _on_kept_info(self, message) -> None:
        stream = self._seen.camera_info
        try:
            self._seen.calibration = calibration_of(message, self._settings.rectified)
            stream.error = None
        except FrameError as error:
            stream.error = error

    def _on_pose(self, message) -> None:
        if self._seen.camera_frame:
            self._transforms.on_pose(message, self._seen.camera_frame, self._parameters.map_frame)

    def _read(self, stream: Stream, message, decode) -> None:
        """Decode the first message, and each that is of another format: the others say nothing new and cost time."""
        kind = getattr(message, "encoding", None) or message.format
        size = (getattr(message, "width", stream.width), getattr(message, "height", stream.height))
        if (kind, *size) == (stream.kind, stream.width, stream.height) and stream.error is None:
            return
        stream.kind, stream.frame_id = kind, message.header.frame_id
        try:
            stream.height, stream.width = decode(message).shape[:2]
            stream.error = None
        except FrameError as error:
            stream.error = error

    def _decode_depth(self, message) -> np.ndarray:
        depth = decode_depth(message, self._settings.depth_unit)
        FrameGuard().check_depth(depth, depth.shape)
        self._seen.depth_median_m = float(np.median(depth[depth > 0]))
        return depth

    def _lookup(self, frame_id: str, stamp_ns: int) -> np.ndarray:
        return camera_pose(self._transforms, self._parameters.map_frame, frame_id, stamp_ns)

    def _on_posed(self, arrived_ns: int, _matrix: np.ndarray) -> None:
        self._seen.pose_delays_s.append((self._wait_clock_ns() - arrived_ns) * 1e-9)

    def _on_lost(self, _arrived_ns: int, error: TransformError) -> None:
        self._seen.pose_errors[TRANSFORM_FAULTS.get(error.reason, "no_transform")] += 1
        self._seen.pose_error_text = str(error)

    def _look_around(self) -> None:
        """What the graph says at the end: who publishes what, with which QoS, in what kind of process."""
        node, seen = self._node, self._seen
        seen.image.topic = self._image_input.topic
        streams = {"image": seen.image, "camera_info": seen.camera_info, **seen.poses}
        if self._depth_input is not None:
            self._depth.topic = self._depth_input.topic
            streams["depth"] = self._depth
        for name, stream in streams.items():
            publishers = node.get_publishers_info_by_topic(stream.topic)
            stream.publishers = len(publishers)
            stream.mismatches = tuple(filter(None, (_mismatch(each, self._qos[name]) for each in publishers)))
        topics = dict(node.get_topic_names_and_types())
        own = {stream.topic for stream in seen.poses.values()}
        seen.other_tf_topics = tuple(
            sorted(name for name, kinds in topics.items() if "tf2_msgs/msg/TFMessage" in kinds and name not in own)
        )
        seen.use_sim_time = bool(node.get_parameter_or("use_sim_time").value)
        seen.clock_publishers = node.count_publishers("/clock")
        seen.dds, seen.profile = self._dds, str(profile_path() or "config/fastdds.xml")
        own_endpoints = node.get_publishers_info_by_topic("/parameter_events")
        mine = next((each.endpoint_gid for each in own_endpoints if each.node_name == _NODE_NAME), None)
        cameras = node.get_publishers_info_by_topic(seen.image.topic)
        if mine is not None and cameras:
            seen.large_buffers = has_large_buffers(cameras[0].endpoint_gid, mine)
        # Images whose wait is not over yet: what they would have been told now.
        self._queue.max_wait_ns = round(self._parameters.transform_timeout * 1e9)
        self._queue.poll(self._wait_clock_ns())


def _parameters_of(node: Node) -> NodeParameters:
    """The node's parameters as the overrides set them; those of the mapper do not matter here."""
    names = [each.name for each in declarations() if not each.name.startswith("mapper.")]
    return parameters_from({name: node.get_parameter(name).value for name in names if node.has_parameter(name)})


def _header(message):
    return message.transforms[0].header if isinstance(message, TFMessage) else message.header


def _mismatch(publisher, wanted: QoSProfile) -> str:
    """Why a publisher's messages do not reach a subscription; empty where they do. Either durability is heard."""
    offered = publisher.qos_profile
    asked = QoSProfile(depth=wanted.depth, reliability=wanted.reliability, durability=offered.durability)
    compatibility, _ = qos_check_compatible(offered, asked)
    if compatibility != QoSCompatibility.ERROR:
        return ""
    offer, ask = (each.reliability.name.lower() for each in (offered, asked))
    return f"{publisher.node_name} offers {offer}, the node asks for {ask}"
