"""Names by a 2D detector over real DDS: from Detection2DArray to every place where an object's name shows."""

import numpy as np
import pytest
from cgc_ros.msg import ObjectArray
from cgc_ros.srv import QueryObjects
from ros_fakes import FakeMapper, FakeSession, FakeSnapshot
from ros_rig import CAMERA, LATCHED, Rig
from vision_msgs.msg import (
    Detection2D,
    Detection2DArray,
    Detection3DArray,
    LabelInfo,
    ObjectHypothesisWithPose,
    VisionClass,
)
from visualization_msgs.msg import MarkerArray

from cgc_ros.frame import UNLABELLED
from cgc_ros.rendering import Camera
from cgc_ros.segmentation.object_names import ObjectNames


class NamedSnapshot(FakeSnapshot):
    scene_depth = 1.5
    names = {}

    @classmethod
    def of(cls, snapshot, names):
        made = cls(snapshot.version, snapshot.stamp_ns, tuple(_renamed(each, names) for each in snapshot.objects))
        object.__setattr__(made, "names", names)
        return made


def _renamed(item, names):
    from dataclasses import replace

    name, confidence = names.get(item.id, ("", 0.0))
    return replace(item, label=name, label_confidence=confidence)


class NamedSession(FakeSession):
    """Publishes a snapshot with its mapper's names with every frame and every change, as the real one does."""

    def __post_init__(self):
        super().__post_init__()
        self.mapper = FakeMapper()
        self.mapper.names = ObjectNames()

    def submit(self, frame):
        super().submit(frame)
        self._publish()

    def change(self, function, timeout=30.0):
        result = super().change(function, timeout)
        if self.snapshot is not None:
            self._publish()
        return result

    def _publish(self):
        self.snapshot = NamedSnapshot.of(self.snapshot, self.mapper.names.resolved())


def box_of(session, x, object_id):
    """Where the map shows an object from `x` metres along the camera's path: centre and size in pixels."""
    pose = np.eye(4)
    pose[0, 3] = x
    labels = session.snapshot.segment(Camera.from_intrinsics(CAMERA, pose, "cpu"))
    rows, columns = np.nonzero(labels == object_id)
    assert len(rows) and labels.min() < UNLABELLED
    left, right, top, bottom = columns.min(), columns.max() + 1, rows.min(), rows.max() + 1
    return (left + right) / 2, (top + bottom) / 2, float(right - left), float(bottom - top)


def detection(box, class_id, score):
    message = Detection2D()
    message.bbox.center.position.x, message.bbox.center.position.y = float(box[0]), float(box[1])
    message.bbox.size_x, message.bbox.size_y = box[2], box[3]
    hypothesis = ObjectHypothesisWithPose()
    hypothesis.hypothesis.class_id, hypothesis.hypothesis.score = class_id, score
    message.results.append(hypothesis)
    return message


@pytest.fixture
def rig():
    with Rig(NamedSession(), use_detections=True, objects_rate=20.0) as rig:
        rig.connect()
        rig.detections = rig.publisher(Detection2DArray, "detections_2d")
        rig.wait(lambda: rig.detections.get_subscription_count() > 0)
        rig.wait(lambda: rig.session.snapshot, do=rig.send)
        yield rig


def detect(rig, class_id="mug", score=0.9, object_id=3):
    """One image, and the detector's answer for it."""
    header = rig.send(move=0.05)
    message = Detection2DArray(header=header)
    message.detections.append(detection(box_of(rig.session, rig.x, object_id), class_id, score))
    rig.detections.publish(message)


def test_detections_name_an_object_in_every_place_where_names_show(rig):
    kinds = ((ObjectArray, "objects"), (Detection3DArray, "detections"), (MarkerArray, "markers"),
             (LabelInfo, "segmentation/label_info"))  # fmt: skip
    heard = {name: rig.listen(kind, f"cgc/{name}", LATCHED) for kind, name in kinds}

    def named():
        newest = heard["objects"][-1].objects if heard["objects"] else []
        return next((each for each in newest if each.id == 3 and each.label == "mug"), None)

    found = rig.wait(named, 10.0, every=0.1, do=lambda: detect(rig))
    assert 0.2 < found.label_confidence < 1.0
    assert [each.label for each in heard["objects"][-1].objects].count("mug") == 1
    rig.wait(lambda: heard["segmentation/label_info"] and (3, "mug") in [
        (each.class_id, each.class_name) for each in heard["segmentation/label_info"][-1].class_map
    ])  # fmt: skip
    rig.wait(lambda: any(
        each.id == "3" and each.results[0].hypothesis.class_id == "mug" and 0.2 < each.results[0].hypothesis.score < 1
        for each in heard["detections"][-1].detections
    ))  # fmt: skip
    rig.wait(lambda: any(each.text.startswith("mug ") and each.text.endswith("%")
                         for each in heard["markers"][-1].markers))  # fmt: skip
    response = rig.call(QueryObjects, "cgc/query_objects", label="Mug")
    assert [each.id for each in response.objects] == [3]


def test_class_numbers_are_told_by_a_label_info(rig):
    info = LabelInfo(class_map=[VisionClass(class_id=41, class_name="cup")])
    rig.publisher(LabelInfo, "label_info", LATCHED).publish(info)
    names = rig.session.mapper.names
    rig.wait(lambda: names.resolved().get(2, ("",))[0] == "cup", 10.0, every=0.1, do=lambda: detect(rig, "41", 0.8, 2))


def test_weak_and_late_detections_name_nothing_and_unmatched_ones_are_reported(rig):
    for _ in range(3):
        detect(rig, score=0.2)
    message = Detection2DArray()
    message.header.stamp.sec = 12345
    message.detections.append(detection((30.0, 20.0, 20.0, 20.0), "ghost", 0.9))
    rig.detections.publish(message)
    rig.wait(lambda: "detections_unmatched" in rig.faults(), 6.0)
    assert rig.session.mapper.names.resolved() == {}


def test_nothing_listens_for_detections_unless_asked_to():
    with Rig(NamedSession()) as rig:
        assert rig.user.count_subscribers("detections_2d") == 0
