"""The managed node over real DDS, its map faked: topics, services, parameters, lifecycle."""

import time
import urllib.request

import numpy as np
import pytest
from cgc_ros.msg import ObjectArray
from cgc_ros.srv import LoadMap, QueryObjects, RenderView, SaveMap
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterType, ParameterValue
from rcl_interfaces.srv import DescribeParameters, SetParameters
from ros_fakes import FakeSession
from ros_rig import LATCHED, Rig
from sensor_msgs.msg import Image, PointCloud2
from std_srvs.srv import SetBool, Trigger
from vision_msgs.msg import Detection3DArray, LabelInfo
from visualization_msgs.msg import MarkerArray

from cgc_ros.ros.conversions.clouds import points_from_message


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    with Rig(
        map_directory=str(tmp_path_factory.mktemp("maps")), objects_rate=20.0, overlay_rate=20.0, render_rate=20.0
    ) as rig:
        rig.connect()
        yield rig


def newest(rig, kind, topic, qos=10, timeout=5.0):
    """The next message of a topic while images come."""
    messages = rig.listen(kind, topic, qos)
    count = len(messages)
    return rig.wait(lambda: len(messages) > count and messages[-1], timeout, every=0.05, do=rig.send)


def test_the_label_image_has_its_input_images_header_and_size(rig):
    labels = rig.listen(Image, "cgc/segmentation/image")
    sent = {}

    def send():
        header = rig.send()
        sent[(header.stamp.sec, header.stamp.nanosec)] = header

    message = rig.wait(
        lambda: labels and np.frombuffer(labels[-1].data, np.uint16).min() < 65535 and labels[-1], every=0.05, do=send
    )
    assert message.header == sent[(message.header.stamp.sec, message.header.stamp.nanosec)]
    assert (message.encoding, message.width, message.height, message.step) == ("mono16", 64, 48, 128)
    assert set(np.unique(np.frombuffer(message.data, np.uint16))) <= {1, 2, 3, 4, 5, 65535}


def test_objects_in_every_form(rig):
    objects = newest(rig, ObjectArray, "cgc/objects")
    assert [each.id for each in objects.objects] == [1, 2, 3, 4, 5] and objects.header.frame_id == "map"
    assert objects.objects[0].cloud.width == 50 and objects.objects[0].first_seen.nanosec == 1_000
    cloud = newest(rig, PointCloud2, "cgc/objects/cloud")
    assert sorted(set(points_from_message(cloud)["label"])) == [1, 2, 3, 4, 5] and cloud.header.frame_id == "map"
    assert [each.id for each in newest(rig, Detection3DArray, "cgc/detections").detections] == ["1", "2", "3", "4", "5"]
    assert len(newest(rig, MarkerArray, "cgc/markers").markers) == 11


def test_a_late_joiner_gets_the_names_at_once(rig):
    newest(rig, LabelInfo, "cgc/segmentation/label_info", LATCHED)
    late = rig.user.create_subscription(LabelInfo, "cgc/segmentation/label_info", (found := []).append, LATCHED)
    rig.wait(lambda: found)
    rig.user.destroy_subscription(late)
    assert [(each.class_id, each.class_name) for each in found[0].class_map][:2] == [(1, "object 1"), (2, "object 2")]


def test_pictures(rig):
    overlay = newest(rig, Image, "cgc/segmentation/overlay")
    assert overlay.encoding == "rgb8" and overlay.header.frame_id == "camera"
    assert newest(rig, Image, "cgc/render/image").encoding == "rgb8"
    depth = newest(rig, Image, "cgc/render/depth")
    assert depth.encoding == "32FC1" and np.frombuffer(depth.data, np.float32)[0] == 1.5


def test_status_counts_and_names(rig):
    rig.send()
    statuses = rig.received["cgc/status"]
    status = rig.wait(lambda: statuses and statuses[-1].frames_used > 0 and statuses[-1])
    assert status.state == "mapping" and status.frames_received >= status.frames_used and status.backend == "cpu"
    assert status.resident_memory_mb > 50 and 0 < status.label_latency_ms_p50 < 2000


def test_query_in_another_frame_and_by_pixel(rig):
    rig.wait(lambda: rig.session.snapshot, do=rig.send)
    response = rig.call(QueryObjects, "cgc/query_objects", frame_id="camera", ids=[4], include_clouds=True)
    assert response.success and response.header.frame_id == "camera" and response.objects[0].cloud.width == 50
    header = rig.send()
    labels = rig.received.get("cgc/segmentation/image") or rig.listen(Image, "cgc/segmentation/image")
    rig.wait(lambda: labels and labels[-1].header == header)
    pixels = np.frombuffer(labels[-1].data, np.uint16).reshape(48, 64)
    row, column = np.argwhere(pixels < 65535)[0].tolist()
    response = rig.call(QueryObjects, "cgc/query_objects", use_pixel=True, pixel_u=column, pixel_v=row)
    assert [each.id for each in response.objects] == [pixels[row, column]]


def test_refused_queries_say_why_and_are_named(rig):
    response = rig.call(QueryObjects, "cgc/query_objects", frame_id="nowhere")
    assert not response.success and "nowhere" in response.message
    rig.wait(lambda: "bad_request" in rig.faults(), 2.0)


def test_render_view(rig):
    rig.wait(lambda: rig.session.snapshot, do=rig.send)
    response = rig.call(RenderView, "cgc/render_view")
    assert response.success and (response.labels.width, response.labels.height) == (64, 48)


def test_save_and_load(rig, tmp_path):
    saved = rig.call(SaveMap, "cgc/save_map", name="kitchen")
    assert saved.success and saved.path.endswith("kitchen.cgc")
    assert rig.call(LoadMap, "cgc/load_map", name="kitchen").success
    assert not rig.call(LoadMap, "cgc/load_map", name="bathroom").success
    assert not rig.call(SaveMap, "cgc/save_map", name="../kitchen").success
    with open(saved.path, "w") as stream:
        stream.write("damaged")
    refused = rig.call(LoadMap, "cgc/load_map", name="kitchen")
    assert not refused.success and "damaged" in refused.message
    rig.wait(lambda: "load_failed" in rig.faults(), 2.0)


def test_pause_and_reset(rig):
    assert rig.call(SetBool, "cgc/pause", data=True).success and rig.session.paused
    assert rig.call(SetBool, "cgc/pause", data=False).success and not rig.session.paused
    rig.wait(lambda: rig.session.frames, do=rig.send)
    assert rig.call(Trigger, "cgc/reset").success
    assert not rig.session.frames


def set_parameter(rig, name, **value):
    kinds = {
        "double_value": ParameterType.PARAMETER_DOUBLE,
        "string_value": ParameterType.PARAMETER_STRING,
        "bool_value": ParameterType.PARAMETER_BOOL,
    }
    kind = kinds[next(iter(value))]
    message = ParameterMessage(name=name, value=ParameterValue(type=kind, **value))
    return rig.call(SetParameters, "cgc/set_parameters", parameters=[message]).results[0]


def test_parameters_are_described_changed_and_refused_with_the_reason(rig):
    descriptor = rig.call(DescribeParameters, "cgc/describe_parameters", names=["overlay_rate"]).descriptors[0]
    assert "overlays per second" in descriptor.description and descriptor.floating_point_range[0].to_value == 1000.0
    assert set_parameter(rig, "overlay_rate", double_value=3.0).successful and rig.node.parameters.overlay_rate == 3.0
    assert not set_parameter(rig, "overlay_rate", double_value=-1.0).successful
    assert not set_parameter(rig, "overlay_rate", string_value="fast").successful
    refused = set_parameter(rig, "map_frame", string_value="odom")
    assert not refused.successful and "clean up the node first" in refused.reason
    assert not set_parameter(rig, "autostart", bool_value=False).successful


def test_a_long_training_step_or_save_delays_no_label_image(rig):
    """While ~/save_map waits for the mapper, images go in and label images come out."""
    rig.session.step_s = 1.5
    labels = rig.received.get("cgc/segmentation/image") or rig.listen(Image, "cgc/segmentation/image")
    client = rig.user.create_client(SaveMap, "cgc/save_map")
    assert client.wait_for_service(5.0)
    future = client.call_async(SaveMap.Request(name="slow"))
    time.sleep(0.1)
    before = len(labels)
    for _ in range(8):
        rig.send()
        time.sleep(0.05)
    rig.wait(lambda: len(labels) >= before + 6, 1.0)
    assert not future.done()
    assert rig.call(QueryObjects, "cgc/query_objects", timeout=0.5).success
    rig.wait(future.done)
    rig.session.step_s = 0.0


def test_nothing_is_rendered_for_nobody():
    session = FakeSession()
    with Rig(session) as rig:
        rig.connect()
        rig.wait(lambda: len(session.frames) > 3, do=rig.send, every=0.05)
        assert rig.node._labels.newest is None and rig.node._labels.newest_view is not None


def change(rig, transition):
    return rig.call(ChangeState, "cgc/change_state", transition=Transition(id=transition)).success


def state(rig):
    return rig.call(GetState, "cgc/get_state").current_state.label


@pytest.fixture
def idle():
    """A node that waits for transitions."""
    with Rig(autostart=False) as rig:
        yield rig


def test_lifecycle(idle):
    rig, idle.map_frame = idle, "odom"
    assert state(rig) == "unconfigured"
    assert set_parameter(rig, "map_frame", string_value="odom").successful  # changed now, applied on configure
    assert change(rig, Transition.TRANSITION_CONFIGURE) and state(rig) == "inactive"
    assert rig.session.running and rig.session.paused
    assert rig.call(SetBool, "cgc/pause", data=True).success  # services answer
    assert change(rig, Transition.TRANSITION_ACTIVATE) and state(rig) == "active"
    rig.connect()
    labels = rig.listen(Image, "cgc/segmentation/image")
    rig.wait(lambda: labels, do=rig.send, every=0.05)
    assert change(rig, Transition.TRANSITION_DEACTIVATE) and rig.session.paused
    frames = len(rig.session.frames)
    rig.send()
    time.sleep(0.2)
    assert len(rig.session.frames) == frames
    assert change(rig, Transition.TRANSITION_ACTIVATE)
    rig.connect()
    rig.wait(lambda: len(rig.session.frames) > frames, do=rig.send, every=0.05)
    assert change(rig, Transition.TRANSITION_DEACTIVATE) and change(rig, Transition.TRANSITION_CLEANUP)
    assert state(rig) == "unconfigured" and not rig.session.running
    assert change(rig, Transition.TRANSITION_CONFIGURE)
    assert change(rig, Transition.TRANSITION_INACTIVE_SHUTDOWN) and state(rig) == "finalized"


def test_a_node_that_cannot_be_configured_says_why_and_stays():
    with Rig(autostart=False, load_on_start="missing") as rig:
        assert not change(rig, Transition.TRANSITION_CONFIGURE) and state(rig) == "unconfigured"
        diagnostics = rig.received["/diagnostics"]
        named = rig.wait(
            lambda: [
                each for message in diagnostics for each in message.status if each.name.endswith("configure_failed")
            ]
        )
        assert "there is no map 'missing'" in named[0].message


def test_the_map_is_saved_on_shutdown(tmp_path):
    with Rig(map_directory=str(tmp_path), save_on_shutdown="last"):
        pass
    assert (tmp_path / "last.cgc").read_text() == "fake map"


def test_the_viewer_is_served_while_the_node_is_configured():
    with Rig(viewer=True, viewer_port=0) as rig:
        assert urllib.request.urlopen(rig.node._viewer.url, timeout=5.0).status == 200


def test_two_nodes_side_by_side_in_namespaces():
    with Rig(namespace="left") as left, Rig(namespace="right", domain=left.domain) as right:
        left.connect()
        right.connect()
        labels = left.listen(Image, "cgc/segmentation/image"), right.listen(Image, "cgc/segmentation/image")
        left.wait(lambda: labels[0], do=lambda: left.send(frame_id="left_camera"), every=0.05)
        assert labels[0][-1].header.frame_id == "left_camera" and not labels[1]
