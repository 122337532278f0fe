"""URDFs, joint states and meshes: what is read, what is missing and how that is told."""

import numpy as np
import pytest
from robot_scenes import LINKS, URDF, trimesh, write_hand

from cgc_ros.robot.description import read_urdf
from cgc_ros.robot.errors import RobotError
from cgc_ros.robot.joints import joint_table, read_joints
from cgc_ros.robot.kinematics import joints_without_position, link_poses, rigid_bodies
from cgc_ros.robot.meshes import MAX_TRIANGLES, find_mesh, load_shapes
from cgc_ros.robot.poses import TransformTree
from cgc_ros.transform_buffer import TransformBuffer

yourdfpy = pytest.importorskip("yourdfpy")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (URDF[:300], "no XML: .*line"),
        ("<launch/>", "begins with <launch>"),
        (URDF.replace('parent link="hand"', 'parent link="hnad"'), "'follow' .* names a link 'hnad'"),
        (URDF.replace('<parent link="base"/>', ""), "cannot be read"),
        (URDF.replace('size="0.2 0.2 0.1"', 'size="0.2 big 0.1"'), "cannot be read .*big"),
        (
            URDF.replace('<link name="plate"/>', '<link name="plate"/><link name="loose"/>'),
            "2 root links .*base, loose",
        ),
        (URDF.replace('axis xyz="0 1 0"', 'axis xyz="0 0 0"'), "'turn' .* axis 0 0 0"),
    ],
)
def test_a_urdf_that_cannot_be_used_is_one_clear_line(text, told):
    with pytest.raises(RobotError, match=told) as caught:
        read_urdf(text)
    assert caught.value.reason == "bad_urdf" and "\n" not in str(caught.value)


@pytest.mark.parametrize("turn", [-1.3, 0.0, 0.7])
def test_links_are_where_yourdfpy_puts_them(tmp_path, turn):
    model = read_urdf(URDF)
    assert model.root == "base" and tuple(model.links) == LINKS
    (tmp_path / "small.urdf").write_text(URDF)
    reference = yourdfpy.URDF.load(str(tmp_path / "small.urdf"), load_meshes=False)
    reference.update_cfg({"turn": turn, "slide": 0.2})
    poses = link_poses(model, {"turn": turn, "slide": 0.2})
    slides = np.eye(4)
    slides[2, 3] = -0.2  # an axis of length 2 counts once for us, as for the C++ parser, and twice for yourdfpy
    for link in LINKS[:2]:
        np.testing.assert_allclose(poses[link], reference.get_transform(link, "base"), atol=1e-9)
    np.testing.assert_allclose(poses["hand"], reference.get_transform("hand", "base") @ slides, atol=1e-9)
    for link in LINKS[3:]:
        np.testing.assert_allclose(
            np.linalg.inv(poses["hand"]) @ poses[link], reference.get_transform(link, "hand"), atol=1e-9
        )


def test_links_beyond_a_joint_without_position_are_left_out():
    model = read_urdf(URDF)
    assert set(link_poses(model, {"turn": 0.1})) == {"base", "arm"}
    assert joints_without_position(model, {"turn"}) == ["slide"]
    assert joints_without_position(model, {"slide"}) == ["turn", "follow"]
    bodies = rigid_bodies(model)
    assert bodies["plate"][0] == "tip" and bodies["plate"][1][2, 3] == pytest.approx(0.08)


def test_links_by_transforms_are_those_by_joints():
    model = read_urdf(URDF)
    poses = link_poses(model, {"turn": 0.4, "slide": 0.1})
    buffer = TransformBuffer()
    for joint in model.joints:
        if joint.name != "screw":  # fixed: needs no transform
            parent_from_child = np.linalg.inv(poses[joint.parent]) @ poses[joint.child]
            buffer.set_transform(joint.parent, joint.child, 1000, parent_from_child)
    shift = np.eye(4)
    shift[0, 3] = 3.0
    buffer.set_transform("map", "base", 0, shift, static=True)
    found = TransformTree(model, buffer.lookup).at("map", 1000)
    assert not found.lost
    for link in LINKS:
        np.testing.assert_allclose(found.poses[link], shift @ poses[link], atol=1e-9)
    body = TransformTree(read_urdf(URDF.replace('"base"', '"foot"')), buffer.lookup).at("map", 1000)
    assert body.lost["foot"].reason == "unknown_frame" and "arm" in body.poses
    late = TransformTree(model, buffer.lookup).at("map", 2000)
    assert set(late.poses) == {"base"} and late.lost["arm"].reason == "extrapolation_future"
    assert "base -> arm" in str(late.lost["arm"])


def test_joints_are_interpolated_by_stamp_and_hold_at_the_ends(tmp_path):
    path = tmp_path / "joints.csv"
    path.write_text("stamp, turn, slide\n1700000000.000000001,0.0,0.5\n\n1700000001.000000001,2.0,\n1700000002,4,0.7\n")
    table = read_joints(path)
    start = 1_700_000_000_000_000_001
    assert table.stamps_ns[0] == start
    assert table.at(start + 250_000_000) == pytest.approx({"turn": 0.5, "slide": 0.525})
    assert table.at(start + 1_000_000_000)["slide"] == pytest.approx(0.6)  # between the rows that tell it
    assert table.at(start - 5) == {"turn": 0.0, "slide": 0.5} and table.at(start + 10**10) == {
        "turn": 4.0,
        "slide": 0.7,
    }
    assert table.gap_s(start + 5) == 0.0 and table.gap_s(start - 2_000_000_000) == pytest.approx(2.0)
    assert joint_table(("a", "b"), {5: [1.0, np.nan], 3: [0.0, np.nan]}).at(4) == {"a": 0.5}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1: expected stamp,JOINT"),
        ("time,turn\n1,2\n", "line 1: expected stamp,JOINT"),
        ("stamp,turn,turn\n1,2,3\n", "line 1: expected stamp,JOINT"),
        ("stamp,turn\n", "no rows"),
        ("stamp,turn\n1,2\n3\n", "line 3: 1 values"),
        ("stamp,turn\n1,2\nsoon,2\n", "line 3: .*soon"),
        ("stamp,turn\n1,left\n", "line 2: .*left"),
    ],
)
def test_joint_states_that_cannot_be_read_are_named_by_file_and_line(tmp_path, text, told):
    path = tmp_path / "joints.csv"
    path.write_text(text)
    with pytest.raises(RobotError, match=f"joints.csv.*{told}"):
        read_joints(path)


def test_meshes_are_found_by_their_uri(tmp_path, monkeypatch):
    hand = write_hand(tmp_path / "robot")
    folders = [tmp_path / "robot"]
    uri = "package://small_description/hand.stl"
    assert find_mesh(uri, folders) == hand
    for other in ("small_description/hand.stl", "file:///opt/ws/small_description/hand.stl", hand.as_uri(), str(hand)):
        assert find_mesh(other, folders) == hand, other
    assert find_mesh("package://small_description/foot.stl", folders) is None
    share = tmp_path / "ws" / "share"
    installed = write_hand(share)
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"/nowhere:{tmp_path / 'ws'}")
    assert find_mesh(uri, []) == installed


def test_shapes_are_drawn_at_their_size_and_place(tmp_path):
    write_hand(tmp_path)
    shapes = load_shapes(read_urdf(URDF), [tmp_path])
    assert shapes.links == ("base", "arm", "hand", "tip") and shapes.problems == ()
    extents = dict(zip(shapes.links, np.ptp(shapes.corners, axis=1), strict=True))
    np.testing.assert_allclose(extents["base"], (0.2, 0.2, 0.1))
    np.testing.assert_allclose(extents["arm"], (0.1, 0.1, 0.3), atol=1e-6)
    np.testing.assert_allclose(extents["hand"], (0.12, 0.06, 0.08), atol=1e-6)  # millimetres by its scale
    np.testing.assert_allclose(extents["tip"], (0.08, 0.08, 0.08), atol=1e-3)
    np.testing.assert_allclose(shapes.corners[1].mean(axis=0), (0, 0, 0.15), atol=1e-9)
    assert shapes.meshes.ranges[:, 4].all()  # closed


def test_a_missing_mesh_is_named_and_the_rest_is_drawn(tmp_path):
    shapes = load_shapes(read_urdf(URDF), [tmp_path])
    assert shapes.links == ("base", "arm", "tip")
    (problem,) = shapes.problems
    assert "'hand'" in problem and "package://small_description/hand.stl was not found" in problem
    hand = write_hand(tmp_path)
    hand.write_bytes(b"solid nothing")
    (problem,) = load_shapes(read_urdf(URDF), [tmp_path]).problems
    assert "hand.stl" in problem and "\n" not in problem


def test_a_collision_shape_stands_in_for_a_missing_mesh(tmp_path):
    instead = URDF.replace('<joint name="follow"', '<joint name="follow"').replace(
        '</geometry></visual></link>\n  <joint name="follow"',
        "</geometry></visual>"
        '<collision><geometry><box size="0.13 0.07 0.09"/></geometry></collision></link>\n  <joint name="follow"',
    )
    assert instead != URDF
    shapes = load_shapes(read_urdf(instead), [tmp_path])
    assert "its collision shape is drawn instead" in shapes.problems[0]
    np.testing.assert_allclose(np.ptp(shapes.corners[shapes.links.index("hand")], axis=0), (0.13, 0.07, 0.09))


def test_nothing_to_draw_is_refused():
    bare = '<robot name="bare"><link name="base"/></robot>'
    with pytest.raises(RobotError, match="'bare' has no shape that can be drawn") as caught:
        load_shapes(read_urdf(bare), [])
    assert caught.value.reason == "no_shapes"


def test_dense_meshes_are_thinned_and_keep_their_outline(tmp_path):
    dense = trimesh.creation.icosphere(subdivisions=5, radius=60.0)
    assert len(dense.faces) > 6 * MAX_TRIANGLES
    path = write_hand(tmp_path)
    dense.invert()  # as a mirrored export: its faces turn inwards
    dense.export(path)
    shapes = load_shapes(read_urdf(URDF), [tmp_path])
    part = shapes.links.index("hand")
    first, count, first_face, faces, closed = shapes.meshes.ranges[part]
    assert faces <= MAX_TRIANGLES and closed
    vertices = shapes.meshes.vertices[first : first + count]
    np.testing.assert_allclose(np.linalg.norm(vertices, axis=1), 0.06, rtol=0.01)
    thin = trimesh.Trimesh(vertices, shapes.meshes.faces[first_face : first_face + faces] - first, process=False)
    assert thin.volume == pytest.approx(4 / 3 * np.pi * 0.06**3, rel=0.01)  # positive: faces turn outwards


def test_colladas_unit_counts(tmp_path):
    path = tmp_path / "small_description" / "hand.dae"
    path.parent.mkdir()
    trimesh.creation.box((12, 6, 8)).export(path)
    text = path.read_text()
    assert "<asset>" in text
    head, _, tail = text.partition("<asset>")
    body = tail.partition("</asset>")[2]
    path.write_text(f'{head}<asset><unit name="centimetre" meter="0.01"/><up_axis>Z_UP</up_axis></asset>{body}')
    urdf = URDF.replace("hand.stl", "hand.dae").replace('scale="0.001 0.001 0.001"', "")
    shapes = load_shapes(read_urdf(urdf), [tmp_path])
    np.testing.assert_allclose(
        np.ptp(shapes.corners[shapes.links.index("hand")], axis=0), (0.12, 0.06, 0.08), rtol=1e-5
    )
