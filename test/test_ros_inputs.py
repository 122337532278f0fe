"""The subscriptions of an active node: a message may come before the last of them is made."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
from std_msgs.msg import Header

from cgc_ros.ros.conversions.images import encode_image
from cgc_ros.ros.faults import FaultBoard
from cgc_ros.ros.inputs import COMPRESSED_DEPTH_SUFFIXES, ImageInput, Inputs, sensor_qos
from cgc_ros.ros.intake import Intake
from cgc_ros.ros.intake_settings import IntakeSettings
from cgc_ros.ros.parameters import NodeParameters


class FakeTimer:
    canceled = False

    def cancel(self):
        self.canceled = True

    def reset(self):
        self.canceled = False

    def is_canceled(self):
        return self.canceled


class BusyNode:
    """Each subscription to an image gets a message before it is handed out; `missing` names one that cannot be made."""

    def __init__(self, missing=""):
        self.missing, self.alive = missing, []

    def create_timer(self, *_):
        self.alive.append(FakeTimer())
        return self.alive[-1]

    def create_subscription(self, kind, topic, callback, *_, **__):
        if topic == self.missing:
            raise RuntimeError(f"no memory for {topic}")
        if topic == "/image":
            callback(encode_image(np.full((4, 4, 3), 9, np.uint8), "rgb8", Header(frame_id="camera")))
        self.alive.append(topic)
        return topic

    def resolve_topic_name(self, name):
        return f"/{name}"

    def get_publishers_info_by_topic(self, topic):
        return []

    def get_logger(self):
        return SimpleNamespace(info=lambda text: None)

    def destroy_timer(self, timer):
        self.alive.remove(timer)

    destroy_subscription = destroy_timer


def made(node):
    faults = FaultBoard(time.monotonic_ns)
    intake = Intake(IntakeSettings(), SimpleNamespace(map_from=None), faults, [], None, lambda: 0)
    parameters = NodeParameters(image_transport="raw", depth_transport="raw")
    transforms = SimpleNamespace(on_tf=None, on_tf_static=None)
    return lambda: Inputs(node, parameters, intake, transforms, faults, group=None), intake, faults


def test_an_image_that_comes_before_the_last_subscription_is_made_is_taken_like_any_other():
    make, intake, faults = made(BusyNode())
    make()
    assert intake.counts().received == 1 and [each.name for each in faults.active()] == ["zero_stamp"]


def test_where_one_subscription_cannot_be_made_none_stays():
    node = BusyNode(missing="/tf_static")
    with pytest.raises(RuntimeError, match="no memory"):
        made(node)[0]()
    assert node.alive == []


@pytest.mark.parametrize(
    ("published", "transport", "taken"),
    [
        (["/depth/compressed", "/depth/compressedDepth"], "auto", "/depth/compressedDepth"),
        (["/depth/compressed", "/depth/compressedDepth"], "compressed", "/depth/compressedDepth"),
        (["/depth/compressed"], "compressed", "/depth/compressed"),
        (["/depth/compressed", "/depth"], "auto", "/depth"),
    ],
)
def test_of_several_depth_topics_the_one_made_for_depth_is_taken(published, transport, taken):
    def publishers(topic):
        kind = "Image" if topic == "/depth" else "CompressedImage"
        return [SimpleNamespace(topic_type=f"sensor_msgs/msg/{kind}")] if topic in published else []

    node = SimpleNamespace(
        resolve_topic_name=lambda name: f"/{name}",
        get_publishers_info_by_topic=publishers,
        create_subscription=lambda kind, topic, *_, **__: topic,
        get_logger=lambda: SimpleNamespace(info=lambda text: None),
    )
    depth = ImageInput(node, "depth", transport, sensor_qos(), None, None, COMPRESSED_DEPTH_SUFFIXES)
    assert depth.topic == taken
