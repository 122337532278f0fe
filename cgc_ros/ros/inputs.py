"""The node's subscriptions: images raw or compressed, whichever there is; camera_info, depth, masks, ignored pixels,
poses, tf, the robot's description.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from rclpy.callback_groups import CallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection2DArray, LabelInfo

from cgc_ros.messages.frame_names import without_transport
from cgc_ros.ros.detection_naming import NamingWorker
from cgc_ros.ros.distribution import SubscriptionEventCallbacks
from cgc_ros.ros.faults import FaultBoard
from cgc_ros.ros.intake import Intake
from cgc_ros.ros.parameters import NodeParameters
from cgc_ros.ros.robot_masking import RobotMasking
from cgc_ros.ros.transform_source import POSE_TYPES, TransformSource

TF_QOS = QoSProfile(depth=100)
# What is sent once is heard late only if it is kept, and what is not kept only by who does not ask for that: two
# subscriptions each, of both durabilities. What comes twice changes nothing.
KEPT_INFO_QOS = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
STATIC_TF_QOS = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)

_FIND_PERIOD_S = 0.25  # how often an `auto` transport looks for publishers
_POLL_PERIOD_S = 0.01  # how often images that wait are looked at again
_COMPRESSED_SUFFIXES = ("/compressed",)
#: What is not made for depth (a JPEG, where a driver compresses everything) comes last.
COMPRESSED_DEPTH_SUFFIXES = ("/compressedDepth", "/compressed")


def _stream_events(qos: QoSProfile) -> SubscriptionEventCallbacks:
    """Events of a subscription are waited for, one by one, at every message that comes in; a best-effort one matches
    every publisher and has none that matter, nor has one for what is kept, beside its twin.
    """
    matches_all = qos.reliability == ReliabilityPolicy.BEST_EFFORT or qos is KEPT_INFO_QOS
    return SubscriptionEventCallbacks(use_default_callbacks=not matches_all)


def sensor_qos(reliability: str = "best_effort", depth: int = 5) -> QoSProfile:
    """For streams: the newest few, best effort matches every publisher."""
    policy = ReliabilityPolicy.RELIABLE if reliability == "reliable" else ReliabilityPolicy.BEST_EFFORT
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=policy)


class ImageInput:
    """One image topic. `auto` finds what is published: raw or compressed, or image_transport's sibling of the name,
    with one of `suffixes` behind it; of several the first.
    """

    def __init__(
        self,
        node: Node,
        name: str,
        transport: str,
        qos: QoSProfile,
        callback: Callable,
        group: CallbackGroup,
        suffixes: tuple[str, ...] = _COMPRESSED_SUFFIXES,
    ):
        self._node, self._qos, self._callback, self._group = node, qos, callback, group
        self.topic = node.resolve_topic_name(name)
        self._subscription: Subscription | None = None
        self._timer = None
        self._candidates = _candidates(self.topic, transport, suffixes)
        if len(self._candidates) == 1:
            self._subscribe(*self._candidates[0])
        elif not self._find():
            self._timer = node.create_timer(_FIND_PERIOD_S, self._find, group, Clock(clock_type=ClockType.STEADY_TIME))

    def count_publishers(self) -> int:
        """Publishers of the topic subscribed to, or that would be."""
        return self._node.count_publishers(self.topic)

    def destroy(self) -> None:
        """End the subscription."""
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
        self._timer = self._subscription = None

    def _find(self) -> bool:
        if self._subscription is not None:
            return True
        for topic, message_type in self._candidates:
            wanted = f"sensor_msgs/msg/{message_type.__name__}"
            if any(publisher.topic_type == wanted for publisher in self._node.get_publishers_info_by_topic(topic)):
                self._subscribe(topic, message_type)
                if self._timer is not None:
                    self._timer.cancel()
                return True
        return False

    def _subscribe(self, topic: str, message_type: type) -> None:
        self.topic = topic
        self._subscription = self._node.create_subscription(
            message_type,
            topic,
            self._callback,
            self._qos,
            callback_group=self._group,
            event_callbacks=_stream_events(self._qos),
        )
        self._node.get_logger().info(f"subscribed to {topic} ({message_type.__name__})")


def _candidates(topic: str, transport: str, suffixes: tuple[str, ...]) -> list[tuple[str, type]]:
    """What an image may come as, the best first."""
    compressed = [(topic + suffix, CompressedImage) for suffix in suffixes]
    if transport == "raw":
        return [(topic, Image)]
    if transport == "compressed":
        return [(topic, CompressedImage)] if without_transport(topic) != topic else compressed
    return [(topic, Image), (topic, CompressedImage), *compressed]


class Inputs:
    """All subscriptions of an active node, in one mutually exclusive group: one caller for intake and transforms."""

    def __init__(
        self,
        node: Node,
        parameters: NodeParameters,
        intake: Intake,
        transforms: TransformSource,
        faults: FaultBoard,
        group: CallbackGroup,
        naming: NamingWorker | None = None,
        robot: RobotMasking | None = None,
    ):
        self._node, self._intake, self._faults = node, intake, faults
        self.lock = threading.Lock()  # inputs end in another thread than messages arrive in
        self._is_open = True
        # Messages come from the first subscription on: what their callbacks use is made before.
        self._timer = node.create_timer(_POLL_PERIOD_S, self._poll, group, Clock(clock_type=ClockType.STEADY_TIME))
        self._timer.cancel()
        self._images: list[ImageInput] = []
        self._subscriptions: list[Subscription] = []
        try:
            self._subscribe_all(parameters, transforms, naming, robot, group)
        except BaseException:
            self.destroy()
            raise

    def _subscribe_all(
        self,
        parameters: NodeParameters,
        transforms: TransformSource,
        naming: NamingWorker | None,
        robot: RobotMasking | None,
        group: CallbackGroup,
    ) -> None:
        node, intake = self._node, self._intake
        qos = sensor_qos(parameters.image_reliability)
        self.image = ImageInput(node, "image", parameters.image_transport, qos, self._then_poll(intake.on_image), group)
        self._images.append(self.image)
        if parameters.use_depth:
            self._images.append(
                ImageInput(
                    node,
                    "depth",
                    parameters.depth_transport,
                    qos,
                    self._then_poll(intake.on_depth),
                    group,
                    COMPRESSED_DEPTH_SUFFIXES,
                )
            )
        self._images.append(ImageInput(node, "ignore", "auto", qos, self._then_poll(intake.on_ignore), group))
        if parameters.mask_source == "topic":
            self._images.append(ImageInput(node, "masks", "auto", qos, self._then_poll(intake.on_masks), group))
        self._subscribe(
            CameraInfo, "camera_info", intake.on_camera_info, sensor_qos(parameters.image_reliability, 10), group
        )
        self._subscribe(CameraInfo, "camera_info", intake.on_kept_camera_info, KEPT_INFO_QOS, group)
        self._subscribe(TFMessage, "/tf", transforms.on_tf, TF_QOS, group)
        self._subscribe(TFMessage, "/tf_static", transforms.on_tf_static, STATIC_TF_QOS, group)
        self._subscribe(TFMessage, "/tf_static", transforms.on_tf_static, TF_QOS, group)
        if robot is not None:
            self._subscribe(String, "robot_description", robot.on_description, KEPT_INFO_QOS, group)
            self._subscribe(String, "robot_description", robot.on_description, sensor_qos("reliable", 1), group)
        if naming is not None:
            self._subscribe(Detection2DArray, "detections_2d", naming.on_detections, sensor_qos(depth=10), group)
            self._subscribe(LabelInfo, "label_info", naming.on_classes, KEPT_INFO_QOS, group)
        if parameters.pose_source != "tf":

            def on_pose(message) -> None:
                camera_frame = parameters.camera_frame or intake.image_frame
                if camera_frame:  # known from the first image on
                    transforms.on_pose(message, camera_frame, parameters.map_frame)

            self._subscribe(POSE_TYPES[parameters.pose_source], "pose", on_pose, sensor_qos(depth=50), group)

    def destroy(self) -> None:
        """End all subscriptions; a callback that runs is waited for, and none runs afterwards."""
        with self.lock:
            self._is_open = False
        self._node.destroy_timer(self._timer)
        for image in self._images:
            image.destroy()
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._images, self._subscriptions = [], []

    def _subscribe(
        self, message_type: type, name: str, callback: Callable, qos: QoSProfile, group: CallbackGroup
    ) -> None:
        self._subscriptions.append(
            self._node.create_subscription(
                message_type,
                name,
                self._then_poll(callback),
                qos,
                callback_group=group,
                event_callbacks=_stream_events(qos),
            )
        )

    def _then_poll(self, callback: Callable) -> Callable:
        """After each message, look whether an image that waits is complete now; the timer runs only while one waits."""

        def receive(message) -> None:
            with self.lock:
                if not self._is_open:
                    return
                try:
                    callback(message)
                    self._intake.poll()
                except Exception as error:  # one message must not end the stream; reported by name
                    self._faults.report("input_failed", f"{type(message).__name__}: {type(error).__name__}: {error}")
                if self._intake.is_waiting and self._timer.is_canceled():
                    self._timer.reset()

        return receive

    def _poll(self) -> None:
        with self.lock:
            if not self._is_open:
                return
            self._intake.poll()
            if not self._intake.is_waiting:
                self._timer.cancel()
