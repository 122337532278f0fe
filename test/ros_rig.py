"""The managed node with a fake session, and a user's node beside it, over real DDS in one process."""

import itertools
import os
import threading
import time

import numpy as np
import rclpy
from cgc_ros.msg import MapStatus
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TransformStamped
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from ros_fakes import FakeSession
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from cgc_ros.frame import Intrinsics
from cgc_ros.ros.conversions.camera_info import camera_info_from_intrinsics
from cgc_ros.ros.conversions.geometry import pose_from_matrix
from cgc_ros.ros.conversions.images import encode_image
from cgc_ros.ros.dds import prepare_transports
from cgc_ros.ros.executor import NodeExecutor, spin
from cgc_ros.ros.managed_node import CgcNode

CAMERA = Intrinsics(64, 48, 50.0, 50.0, 31.5, 23.5)
DOMAINS = itertools.count(os.getpid())  # every rig has its own; runs side by side rarely meet
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
prepare_transports()
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def shifted_transform(stamp, x=0.0, parent="map", child="camera"):
    """The child x metres along x in the parent, not turned."""
    message = TransformStamped(header=Header(frame_id=parent, stamp=stamp), child_frame_id=child)
    message.transform.translation.x = x
    message.transform.rotation = pose_from_matrix(np.eye(4)).orientation
    return message


def slowdown(cpu_s=0.05):
    """How many times longer than alone work takes now, 1 to 4: others want this machine's cores, too."""
    start, cpu_start = time.monotonic(), time.thread_time()
    while time.thread_time() - cpu_start < cpu_s:
        pass
    return min(4.0, max(1.0, (time.monotonic() - start) / cpu_s))


class Rig:
    """Starts the node with these parameters; `session` is what its factory returns. A context manager."""

    def __init__(self, session=None, autostart=True, remaps=(), namespace="", domain=None, **parameters):
        self.session = session or FakeSession()
        self.context = Context()
        self.domain = 20 + next(DOMAINS) % 200 if domain is None else domain
        rclpy.init(context=self.context, domain_id=self.domain)
        overrides = [
            Parameter(name.replace("__", "."), value=value)
            for name, value in ({"transform_timeout": 0.2, "mapping_rate": 0.0} | parameters).items()
        ]
        arguments = [part for remap in remaps for part in ("--ros-args", "-r", remap)]
        self.node = CgcNode(
            lambda parameters: self.session,
            context=self.context,
            parameter_overrides=overrides,
            cli_args=arguments,
            namespace=namespace,
        )
        self.user = Node("user", context=self.context, namespace=namespace)
        self._stop = threading.Event()
        self._threads = []
        user_executor = SingleThreadedExecutor(context=self.context)
        user_executor.add_node(self.user)
        for executor in (NodeExecutor(self.node, self.node.own_threads, self.context), user_executor):
            self._threads.append(threading.Thread(target=spin, args=(executor, self._stop), daemon=True))
            self._threads[-1].start()
        self.received = {}
        self._publishers = {}
        self.x, self.map_frame = 0.0, "map"
        if autostart:
            assert self.node.autostart()
        self.listen(MapStatus, "cgc/status")
        self.listen(DiagnosticArray, "/diagnostics")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._stop.set()
        for thread in self._threads:
            thread.join(3.0)
        if self.node.lifecycle_state != "finalized":
            self.node.trigger_shutdown()
        self.node.destroy_node()
        self.user.destroy_node()
        rclpy.shutdown(context=self.context)

    def listen(self, kind, topic, qos=10):
        """Keep what comes on a topic in `received[topic]`."""
        messages = self.received.setdefault(topic, [])
        self.user.create_subscription(kind, topic, messages.append, qos)
        return messages

    def publisher(self, kind, topic, qos=qos_profile_sensor_data):
        if topic not in self._publishers:
            self._publishers[topic] = self.user.create_publisher(kind, topic, qos)
        return self._publishers[topic]

    def connect(self):
        """Wait until the node hears the user's images, calibrations and transforms."""
        publishers = [
            self.publisher(Image, "image"),
            self.publisher(CameraInfo, "camera_info"),
            self.publisher(TFMessage, "/tf", 100),
        ]
        self.wait(lambda: all(each.get_subscription_count() > 0 for each in publishers), 10.0)

    def transform(self, stamp, x=0.0, parent=None, child="camera"):
        message = shifted_transform(stamp, x, parent or self.map_frame, child)
        self.publisher(TFMessage, "/tf", 100).publish(TFMessage(transforms=[message]))

    def send(
        self,
        pixels=None,
        encoding="rgb8",
        frame_id="camera",
        camera=CAMERA,
        stamp=None,
        transform=True,
        info=True,
        move=0.01,
    ):
        """One posed image as a driver sends it; its header."""
        stamp = stamp or self.now()
        header = Header(stamp=stamp, frame_id=frame_id)
        self.x += move
        if transform:
            self.transform(stamp, self.x, child=frame_id)
        if info:
            self.publisher(CameraInfo, "camera_info").publish(camera_info_from_intrinsics(camera, header))
        if pixels is None:
            pixels = (
                np.random.default_rng(stamp.nanosec).integers(0, 255, (camera.height, camera.width, 3)).astype(np.uint8)
            )
        self.publisher(Image, "image").publish(encode_image(pixels, encoding, header))
        return header

    def send_depth(self, depth, encoding="32FC1", **how):
        """One posed image with a depth image of the same stamp; `how` as in `send`."""
        header = self.send(**how)
        self.publisher(Image, "depth").publish(encode_image(depth, encoding, header))

    def now(self):
        """The time as a message."""
        return self.user.get_clock().now().to_msg()

    def wait(self, condition, timeout=5.0, every=0.02, do=lambda: None):
        """Until `condition()` is true (its value); `do` is called meanwhile. On a busy machine, as much longer as work
        takes there.
        """
        start = time.monotonic()
        while not (value := condition()):
            waited = time.monotonic() - start
            if waited > timeout and waited > timeout * slowdown():
                raise AssertionError(f"nothing within {waited:.1f} s; faults: {self.faults()}")
            do()
            time.sleep(every)
        return value

    def faults(self):
        """Names of the faults in the newest status."""
        statuses = self.received["cgc/status"]
        return list(statuses[-1].faults) if statuses else []

    def diagnosis(self, fault):
        """What the newest /diagnostics says about a fault that the newest status names; None unless both do."""
        reports = self.received["/diagnostics"] if fault in self.faults() else []
        entries = reports[-1].status if reports else []  # the two are messages of their own: one comes first
        return next((each.message for each in entries if each.name == f"/cgc: {fault}"), None)

    def call(self, kind, name, /, timeout=10.0, **fields):
        """Call a service; its response."""
        client = self.user.create_client(kind, name)
        assert client.wait_for_service(timeout), f"no service {name}"
        done = threading.Event()
        future = client.call_async(kind.Request(**fields))
        future.add_done_callback(lambda _: done.set())
        assert done.wait(timeout), f"{name} did not answer within {timeout} s"
        response = future.result()
        self.user.destroy_client(client)
        return response
