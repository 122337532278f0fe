"""The robot in the node's images: by its description and its links' transforms; faults name what is missing."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
from intake_rig import CAMERA, SECOND, T0, Rig
from robot_scenes import URDF, write_hand
from ros_rig import LATCHED
from ros_rig import Rig as NodeRig
from sensor_msgs.msg import Image
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from cgc_ros.frame import IGNORED
from cgc_ros.robot.description import read_urdf
from cgc_ros.robot.kinematics import link_poses
from cgc_ros.ros.conversions.geometry import transform_from_matrix
from cgc_ros.ros.conversions.stamps import time_message
from cgc_ros.ros.robot_masking import GIVEN_UP_NS, RobotMasking
from cgc_ros.ros.transform_source import TransformSource
from cgc_ros.transform_buffer import TransformBuffer

from geometry_msgs.msg import TransformStamped  # isort: skip

#: The robot stands upright 0.9 m before the camera, which is at the map's origin and looks along its z.
MAP_FROM_BASE = np.array([[1, 0, 0, 0], [0, 0, -1, 0.25], [0, 1, 0, 0.9], [0, 0, 0, 1.0]])
MODEL = read_urdf(URDF)


def link_transforms(stamp_ns, turn=0.0, only=None, prefix=""):
    """What robot_state_publisher sends; `only`: of these children."""
    poses = link_poses(MODEL, {"turn": turn, "slide": 0.05})
    edges = [("map", "base", MAP_FROM_BASE)]
    edges += [(each.parent, each.child, np.linalg.inv(poses[each.parent]) @ poses[each.child]) for each in MODEL.joints]
    message = TFMessage()
    for parent, child, matrix in edges:
        if only is None or child in only:
            stamped = TransformStamped(child_frame_id=prefix + child, transform=transform_from_matrix(matrix))
            stamped.header.frame_id = parent if parent == "map" else prefix + parent
            stamped.header.stamp = time_message(stamp_ns)
            message.transforms.append(stamped)
    return message


class RobotRig(Rig):
    """An intake that masks the robot; transforms of its links are what the test sends."""

    def __init__(self, description=URDF, prefix="", **settings):
        self.transforms = TransformSource(TransformBuffer())
        self.parameters = SimpleNamespace(
            current=SimpleNamespace(map_frame="map", robot_padding=0.0, robot_frame_prefix=prefix)
        )
        self.masking = None
        super().__init__(self._make, **settings)
        if description:
            self.describe(description)

    def _make(self, faults):
        self.masking = RobotMasking(self.transforms, self.parameters, faults)
        return self.masking

    def describe(self, text):
        self.masking.on_description(String(data=text))
        while self.masking.is_reading:
            time.sleep(0.01)

    def links(self, stamp_ns, **how):
        self.transforms.on_tf(link_transforms(stamp_ns, **how))
        self.intake.poll()

    def told(self, name):
        return next(fault.message for fault in self.faults.active() if fault.name == name)


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    write_hand(tmp_path / "share")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))


def test_the_robots_pixels_are_ignored_in_views_and_frames():
    rig = RobotRig()
    rig.links(T0 - 50_000_000)
    rig.links(T0)
    rig.image()
    (view,), (frame,) = rig.views, rig.frames
    assert 100 < view.ignore.sum() < 0.5 * view.ignore.size
    np.testing.assert_array_equal(frame.ignore, view.ignore)
    assert rig.names() == []
    rig.parameters.current.robot_padding = 0.03
    rig.links(T0 + 1)
    rig.image(T0 + 1)
    assert view.ignore[rig.views[1].ignore == 0].sum() == 0 and rig.views[1].ignore.sum() > view.ignore.sum()
    np.testing.assert_allclose(rig.masking.world_from_link("base", T0), MAP_FROM_BASE)
    assert rig.masking.world_from_link("wheel", T0) is None


def test_depth_of_the_same_stamp_keeps_what_stands_before_the_robot():
    rig = RobotRig(sync_wait=10.0)
    rig.links(T0)
    rig.depth(np.full((48, 64), 2.0), T0 - SECOND)
    rig.image()
    assert not rig.views and rig.intake.is_waiting  # for its depth, which comes
    near = np.full((48, 64), 2.0)
    near[24:] = 0.4
    rig.depth(near)
    assert rig.views[0].ignore[:20].any() and not rig.views[0].ignore[28:].any()
    np.testing.assert_array_equal(rig.frames[0].ignore, rig.views[0].ignore)
    assert rig.frames[0].depth[40, 30] == pytest.approx(0.4)


def test_an_image_waits_for_the_robots_transforms():
    rig = RobotRig(transform_timeout=10.0)
    rig.links(T0 - 10_000_000)
    rig.image()
    assert not rig.views and rig.intake.is_waiting
    rig.links(T0 + 10_000_000)
    assert len(rig.frames) == 1 and rig.frames[0].ignore.any() and not rig.intake.is_waiting


def test_without_the_robots_place_an_image_is_labelled_and_not_mapped():
    rig = RobotRig(description="", transform_timeout=0.0)
    rig.image()
    assert len(rig.views) == 1 and not rig.frames and "no_robot_description" in rig.names()
    rig.describe(URDF[:300])
    rig.image(T0 + 1)
    assert not rig.frames and "no XML" in rig.told("bad_robot_description")
    rig.describe(URDF)
    rig.image(T0 + 2)
    assert not rig.frames and "robot_late" in rig.names() and "bad_robot_description" not in rig.names()
    rig.image(T0 + 3 + GIVEN_UP_NS)
    assert not rig.frames and "robot_unposed" in rig.names()
    rig.links(T0 + 4 + GIVEN_UP_NS)
    rig.image(T0 + 4 + GIVEN_UP_NS)
    assert len(rig.frames) == 1 and len(rig.views) == 5
    assert rig.intake.counts().dropped == {
        "no_robot_description": 1,
        "bad_robot_description": 1,
        "robot_late": 1,
        "robot_unposed": 1,
    }


def test_a_missing_mesh_is_named_and_the_rest_is_masked(monkeypatch):
    monkeypatch.setenv("AMENT_PREFIX_PATH", "")
    rig = RobotRig()
    rig.links(T0)
    rig.image()
    assert rig.frames[0].ignore.any()
    assert "package://small_description/hand.stl was not found" in rig.told("robot_mesh_missing")


def test_a_link_that_never_comes_is_named_and_the_rest_is_masked():
    rig = RobotRig(transform_timeout=0.0)
    known = {"base", "arm"}
    rig.links(T0, only=known)
    rig.image()
    assert not rig.frames and "robot_late" in rig.names()  # it may have started a moment later
    later = T0 + GIVEN_UP_NS + 1
    rig.links(later, only=known)
    rig.image(later)
    assert rig.frames[0].ignore.any() and "'hand'" in rig.told("robot_link_lost")
    rig.links(later + 1)
    rig.image(later + 1)
    assert rig.frames[1].ignore.sum() > rig.frames[0].ignore.sum() and "robot_link_lost" not in rig.names()


def test_a_link_whose_transforms_end_stays_where_it_was():
    rig = RobotRig(transform_timeout=0.0)
    rig.links(T0)
    rig.image()
    known = {"base", "arm"}
    rig.links(T0 + SECOND, only=known)
    rig.image(T0 + SECOND)
    assert len(rig.frames) == 1  # waited for and lost
    later = T0 + GIVEN_UP_NS + SECOND
    rig.links(later, only=known)
    rig.image(later)
    assert len(rig.frames) == 2 and "arm -> hand" in rig.told("robot_link_lost")
    np.testing.assert_array_equal(rig.frames[1].ignore, rig.frames[0].ignore)


def test_links_may_have_a_prefix_in_the_tree_of_transforms():
    rig, plain = RobotRig(prefix="left/"), RobotRig()
    rig.links(T0, prefix="left/")
    plain.links(T0)
    for each in (rig, plain):
        each.image()
    np.testing.assert_array_equal(rig.views[0].ignore, plain.views[0].ignore)
    np.testing.assert_allclose(rig.masking.world_from_link("base", T0), MAP_FROM_BASE)


def test_a_recording_that_starts_again_finds_the_robot_again():
    rig = RobotRig(transform_timeout=0.0)
    for start in (T0 + 100 * SECOND, T0):
        rig.links(start)
        rig.image(start)
    assert len(rig.frames) == 2


def test_the_robot_is_marked_in_label_images_over_dds():
    with NodeRig(robot_mask=True) as rig:
        labels = rig.listen(Image, "cgc/segmentation/image")
        rig.publisher(String, "robot_description", LATCHED).publish(String(data=URDF))

        def send():
            stamp = rig.now()
            rig.publisher(TFMessage, "/tf", 100).publish(link_transforms(stamp.sec * SECOND + stamp.nanosec))
            rig.send(stamp=stamp, move=0.0)

        def marked():
            images = [np.frombuffer(each.data, np.uint16).reshape(48, 64) for each in labels]
            return [each for each in images if (each == IGNORED).any()]

        shown = rig.wait(marked, 20.0, every=0.05, do=send)[-1]
        frames = rig.wait(lambda: [each for each in rig.session.frames if each.ignore is not None], every=0.05, do=send)
        differs = (shown == IGNORED) ^ frames[-1].ignore
        assert differs.mean() < 0.01 and CAMERA.width == shown.shape[1]
        assert "robot_mesh_missing" not in rig.faults()
