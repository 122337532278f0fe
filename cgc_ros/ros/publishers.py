"""The node's topics: what is published, with which QoS, and only where somebody listens."""

from __future__ import annotations

from dataclasses import dataclass

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, PointCloud2
from vision_msgs.msg import Detection3DArray, LabelInfo
from visualization_msgs.msg import MarkerArray

from cgc_ros.msg import ObjectArray
from cgc_ros.ros.distribution import PublisherEventCallbacks

#: Publisher events would be waited for, one by one, at every message that comes in; nobody here asks for them.
NO_EVENTS = PublisherEventCallbacks(use_default_callbacks=False)
#: Streams: reliable, a shallow history; a subscriber that is too slow misses messages and delays nobody.
STREAM = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=2, reliability=ReliabilityPolicy.RELIABLE)
#: State: whoever joins late gets the last message.
STATE = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)


@dataclass(frozen=True)
class Topic:
    """One published topic."""

    name: str
    type: type
    qos: QoSProfile


TOPICS = {
    "labels": Topic("~/segmentation/image", Image, STREAM),
    "label_info": Topic("~/segmentation/label_info", LabelInfo, STATE),
    "overlay": Topic("~/segmentation/overlay", Image, STREAM),
    "objects": Topic("~/objects", ObjectArray, STATE),
    "detections": Topic("~/detections", Detection3DArray, STATE),
    "cloud": Topic("~/objects/cloud", PointCloud2, STATE),
    "splats": Topic("~/splats", PointCloud2, STATE),
    "markers": Topic("~/markers", MarkerArray, STATE),
    "render": Topic("~/render/image", Image, STREAM),
    "render_depth": Topic("~/render/depth", Image, STREAM),
}


class Publishers:
    """One lifecycle publisher per topic of TOPICS."""

    def __init__(self, node: LifecycleNode):
        self._node = node
        self._publishers = {
            key: node.create_lifecycle_publisher(topic.type, topic.name, topic.qos, event_callbacks=NO_EVENTS)
            for key, topic in TOPICS.items()
        }

    def listeners(self, *keys: str) -> int:
        """How many subscriptions these topics have together."""
        return sum(self._publishers[key].get_subscription_count() for key in keys)

    def publish(self, key: str, message) -> None:
        """Publish on one topic."""
        self._publishers[key].publish(message)

    def destroy(self) -> None:
        """Take the topics down."""
        for publisher in self._publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)
        self._publishers = {}
