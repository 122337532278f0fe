"""The node as a user starts it: its own process, the real mapper, real DDS, SIGINT."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import rclpy
from cgc_ros.msg import MapStatus, ObjectArray
from cgc_ros.srv import LoadMap, QueryObjects, RenderView, SaveMap
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from ros_rig import LATCHED, shifted_transform, slowdown
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from std_srvs.srv import SetBool, Trigger
from tf2_msgs.msg import TFMessage

from cgc_ros.frame import Intrinsics
from cgc_ros.mapping import Mapper, MapperConfig
from cgc_ros.ros.conversions.camera_info import camera_info_from_intrinsics
from cgc_ros.ros.conversions.images import encode_image
from cgc_ros.ros.publishers import STATE, TOPICS

ROOT = Path(__file__).parents[1]
CAMERA = Intrinsics(160, 120, 120.0, 120.0, 79.5, 59.5)
DISTANCE = 1.5  # metres to a textured wall that faces the camera
WALL = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 255, (120, 400, 3)).astype(np.uint8), (0, 0), 1.5)
BOX = (slice(30, 90), slice(160, 230))  # on the wall: the one thing there is
WALL[BOX] = WALL[BOX] // 3 + np.array([150, 20, 20], np.uint8)


def frame(shift):
    """Image, depth, masks and x of a camera that moved by `shift` whole pixels along the wall."""
    ids = np.ones(WALL.shape[:2], np.uint16)
    ids[BOX] = 2
    columns = slice(100 + shift, 100 + shift + CAMERA.width)
    return WALL[:, columns], np.full((120, 160), DISTANCE, np.float32), ids[:, columns], shift * DISTANCE / CAMERA.fx


class Camera(Node):
    """Plays the wall and keeps what the node answers."""

    def __init__(self):
        super().__init__("camera")
        kinds = (("image", Image), ("depth", Image), ("masks", Image), ("camera_info", CameraInfo), ("/tf", TFMessage))
        self.outputs = {
            name: self.create_publisher(kind, name, qos_profile_sensor_data if name != "/tf" else 100)
            for name, kind in kinds
        }
        self.labels, self.objects, self.statuses, self.sent = [], [], [], {}
        self.create_subscription(Image, "cgc/segmentation/image", self.labels.append, 5)
        self.create_subscription(ObjectArray, "cgc/objects", self.objects.append, LATCHED)
        self.create_subscription(MapStatus, "cgc/status", self.statuses.append, 5)

    def send(self, shift):
        image, depth, masks, x = frame(shift)
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id="camera")
        self.outputs["/tf"].publish(TFMessage(transforms=[shifted_transform(header.stamp, x)]))
        self.outputs["camera_info"].publish(camera_info_from_intrinsics(CAMERA, header))
        self.outputs["depth"].publish(encode_image(depth, "32FC1", header))
        self.outputs["masks"].publish(encode_image(masks, "16UC1", header))
        self.outputs["image"].publish(encode_image(np.ascontiguousarray(image), "rgb8", header))
        self.sent[(header.stamp.sec, header.stamp.nanosec)] = (header, shift)


@pytest.fixture
def camera():
    os.environ["ROS_DOMAIN_ID"] = str(20 + os.getpid() % 200)
    rclpy.init()
    camera = Camera()
    yield camera
    camera.destroy_node()
    rclpy.shutdown()


@pytest.fixture
def process(tmp_path, camera):
    parameters = {
        "mask_source": "topic",
        "map_directory": str(tmp_path),
        "save_on_shutdown": "last",
        "objects_rate": 5.0,
        "splats_rate": 5.0,
        "mapping_rate": 0.0,
        "mapper.segmentation.cluster_every": 5,
        "mapper.segmentation.min_views": 2,
        "mapper.density.max_gaussians": 3000,
        "mapper.keyframes.min_translation": 0.01,
    }
    arguments = [part for name, value in parameters.items() for part in ("-p", f"{name}:={value}")]
    log = (tmp_path / "node.log").open("w")
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "cgc_ros.ros.node",
            "--ros-args",
            "--params-file",
            str(ROOT / "config" / "cgc.yaml"),
            *arguments,
        ],
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    yield process
    process.kill()
    process.wait()
    log.close()


def run(camera, condition, timeout, send=True):
    """Play back and forth along the wall until the condition holds."""
    end, step = time.monotonic() + timeout, 0
    while not condition():
        assert time.monotonic() < end, f"nothing within {timeout} s; {camera.statuses[-1:]}"
        if send:
            camera.send(4 * abs(step % 20 - 10))
            step += 1
        until = time.monotonic() + 0.1
        while time.monotonic() < until:
            rclpy.spin_once(camera, timeout_sec=0.02)
    return condition()


def call(camera, kind, name, /, **fields):
    """A service's response, while images go on coming."""
    client = camera.create_client(kind, f"cgc/{name}")
    assert client.wait_for_service(10.0)
    future = client.call_async(kind.Request(**fields))
    run(camera, future.done, 20.0)
    return future.result()


def every_topic_comes(camera):
    received = {}

    def listen(key, kind, name, qos):
        camera.create_subscription(kind, name, lambda message: received.update({key: message}), qos)

    for key, topic in TOPICS.items():
        listen(key, topic.type, topic.name.replace("~", "cgc"), LATCHED if topic.qos is STATE else 5)
    listen("diagnostics", DiagnosticArray, "/diagnostics", 5)
    run(camera, lambda: len(received) == len(TOPICS) + 1, 20.0)
    for key in ("labels", "overlay", "render", "render_depth"):
        header = received[key].header
        assert (header.stamp.sec, header.stamp.nanosec) in camera.sent and header.frame_id == "camera", key
    for key in ("objects", "detections", "cloud", "label_info"):
        header = received[key].header
        assert (header.stamp.sec, header.stamp.nanosec) in camera.sent and header.frame_id == "map", key
    assert {marker.header.frame_id for marker in received["markers"].markers} == {"map"}
    assert any(each.name == "/cgc: node" for each in received["diagnostics"].status)


def services_answer(camera, box_id):
    view = call(camera, RenderView, "render_view")
    assert view.success and (view.labels.width, view.labels.height) == (160, 120)
    assert call(camera, SaveMap, "save_map", name="wall").success
    assert call(camera, SetBool, "pause", data=True).success
    assert call(camera, Trigger, "reset").success
    assert call(camera, QueryObjects, "query_objects", include_background=True).objects == []
    loaded = call(camera, LoadMap, "load_map", name="wall")
    assert loaded.success and loaded.gaussians > 100
    assert call(camera, QueryObjects, "query_objects", ids=[box_id], include_background=True).objects
    assert call(camera, SetBool, "pause", data=False).success


def lifecycle_and_parameters_work(camera):
    for transition, state in (
        (Transition.TRANSITION_DEACTIVATE, "inactive"),
        (Transition.TRANSITION_ACTIVATE, "active"),
    ):
        assert call(camera, ChangeState, "change_state", transition=Transition(id=transition)).success
        assert call(camera, GetState, "get_state").current_state.label == state
    value = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=7.0)
    change = [Parameter(name="overlay_rate", value=value), Parameter(name="transform_history", value=value)]
    accepted, refused = call(camera, SetParameters, "set_parameters", parameters=change).results
    assert accepted.successful and not refused.successful and "on configure" in refused.reason
    assert call(camera, GetParameters, "get_parameters", names=["overlay_rate"]).values[0].double_value == 7.0


def test_from_images_to_objects_to_a_saved_map(camera, process, tmp_path):
    def found():
        return [
            each
            for message in camera.objects[-1:]
            for each in message.objects
            if 0.5 < each.box.center.position.z < 2.5
        ]

    run(camera, found, 90.0)

    def labelled():
        """A label image with the box in it, and how it was seen."""
        for message in camera.labels[-3:]:
            header, shift = camera.sent[(message.header.stamp.sec, message.header.stamp.nanosec)]
            assert message.header == header
            pixels = np.frombuffer(message.data, np.uint16).reshape(120, 160)
            inside = pixels[40:80, 160 - 100 - shift + 10 : 230 - 100 - shift - 10]
            outside = pixels[:20]
            ids, counts = np.unique(inside, return_counts=True)
            winner = ids[counts.argmax()]
            if winner != 65535 and (inside == winner).mean() > 0.8 and (outside == winner).mean() < 0.2:
                return int(winner)
        return None

    box_id = run(camera, labelled, 60.0)
    (thing,) = call(
        camera, QueryObjects, "query_objects", ids=[box_id], include_clouds=True, include_background=True
    ).objects
    assert thing.cloud.width > 10 and thing.num_views >= 2
    assert thing.box.center.position.x == pytest.approx((195 - 100 - 79.5) * DISTANCE / CAMERA.fx, abs=0.15)
    assert not [
        fault for fault in camera.statuses[-1].faults if fault in ("mapping_failed", "input_failed", "label_failed")
    ]

    assert "active: waiting for images on /" in (tmp_path / "node.log").read_text()  # recording.launch.py waits for it
    every_topic_comes(camera)
    services_answer(camera, box_id)
    lifecycle_and_parameters_work(camera)

    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    assert process.wait(20.0) == 0, (tmp_path / "node.log").read_text()
    assert time.monotonic() - started < 5.0 * slowdown()
    restored = Mapper.load(tmp_path / "last.cgc", MapperConfig())
    assert len(restored.model) > 100 and box_id in restored.segmenter.layer.state.records


def test_a_parameter_file_that_cannot_be_taken_ends_the_process_with_the_reason(tmp_path):
    (tmp_path / "bad.yaml").write_text("/**:\n  ros__parameters:\n    image_transport: telepathy\n")
    run = subprocess.run(
        [sys.executable, "-m", "cgc_ros.ros.node", "--ros-args", "--params-file", str(tmp_path / "bad.yaml")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 2 and "image_transport must be one of auto, raw, compressed" in run.stdout + run.stderr


def started(log, *parameters):
    """The node's process, as in a terminal (also under nohup); what it says goes into the file `log`."""
    command = [sys.executable, "-m", "cgc_ros.ros.node", "--ros-args", "--params-file", str(ROOT / "config/cgc.yaml")]
    arguments = [part for each in parameters for part in ("-p", each)]
    with log.open("w") as stream:
        return subprocess.Popen(
            [*command, *arguments],
            stdout=stream,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
        )


def wait_for(condition, seconds=90.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def is_active(log):
    return "active: waiting for images" in log.read_text()


def test_a_terminal_that_closes_saves_the_map(tmp_path):
    log = tmp_path / "node.log"
    process = started(log, "mask_source:=topic", f"map_directory:={tmp_path}", "save_on_shutdown:=last")
    wait_for(lambda: is_active(log))
    process.send_signal(signal.SIGHUP)
    assert process.wait(60.0) == 0 and (tmp_path / "last.cgc").is_file(), log.read_text()
    assert f"map saved to {tmp_path / 'last.cgc'}" in log.read_text()


def test_a_map_that_could_not_be_saved_at_shutdown_is_told_by_the_exit_code_and_the_log(tmp_path):
    log, folder = tmp_path / "node.log", tmp_path / "no_folder"
    folder.write_text("in the way")
    process = started(log, "mask_source:=topic", f"map_directory:={folder}", "save_on_shutdown:=last")
    wait_for(lambda: is_active(log))
    process.send_signal(signal.SIGTERM)
    assert process.wait(60.0) == 1, log.read_text()
    assert "save_failed: the map was not saved at shutdown" in log.read_text()


@pytest.mark.parametrize("when", ["imports", "configures"])
def test_ctrl_c_in_the_first_seconds_is_a_clean_end(tmp_path, when):
    log = tmp_path / "node.log"
    process = started(log, f"map_directory:={tmp_path}")
    if when == "imports":
        # Python itself has started once the process handles SIGINT as the node does.
        wait_for(lambda: signal.SIGHUP in caught(process.pid))
    else:
        wait_for(lambda: log.read_text())
    process.send_signal(signal.SIGINT)
    assert process.wait(90.0) == 0, log.read_text()
    assert "Traceback" not in log.read_text() and "Error" not in log.read_text()


def caught(pid):
    """The signals that a process has handlers for."""
    (line,) = (each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("SigCgt"))
    mask = int(line.split()[1], 16)
    return {number for number in signal.Signals if mask >> (number - 1) & 1}
