"""Queries, map names, and their answers to nonsense; no node, no DDS."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from cgc_ros.srv import QueryObjects, RenderView
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from hypothesis import given
from hypothesis import strategies as st
from ros_fakes import FakeSnapshot, make_object
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from cgc_ros.frame import Intrinsics
from cgc_ros.ros.conversions.clouds import points_from_message
from cgc_ros.ros.map_storage import MapDirectory, MapNameError
from cgc_ros.ros.object_cache import ObjectCache
from cgc_ros.ros.parameters import NodeParameters
from cgc_ros.ros.queries import Answerer, RequestError
from cgc_ros.ros.view import LabelledView, View
from cgc_ros.transform_buffer import TransformError

CAMERA = Intrinsics(64, 48, 50.0, 50.0, 31.5, 23.5)
THINGS = (
    make_object(1, (0.0, 0.0, 1.0), label="Mug"),
    make_object(2, (1.0, 0.0, 1.0)),
    make_object(3, (0.0, 2.0, 1.0), background=True),
    make_object(9, (0.0, 0.0, 3.0), num_points=500),
)


class Transforms:
    """base stands one metre along x in the map."""

    def lookup(self, target, source):
        if source != "base":
            raise TransformError("unknown_frame", f"frame {source!r} was never published")
        matrix = np.eye(4)
        matrix[0, 3] = 1.0
        return matrix


class Labels:
    """Object 2, and in one corner the background, object 3."""

    def current(self):
        labels = np.full((48, 64), 65535, np.uint16)
        labels[10:20, 30:40] = 2
        labels[40:, :] = 3
        view = View(Header(), 5, np.zeros((48, 64, 3), np.uint8), CAMERA, np.eye(4), 0)
        return LabelledView(view, labels)


LID_AND_BODY = (
    replace(make_object(5, (0.0, 0.0, 1.1)), parent_id=1),
    replace(make_object(6, (0.0, 0.0, 0.9)), parent_id=1),
)


def answerer(**parameters):
    return answerer_of(FakeSnapshot(1, 77, THINGS, parts=LID_AND_BODY), **parameters)


def answerer_of(snapshot, now_ns=10**9, **parameters):
    maps, current = SimpleNamespace(snapshot=snapshot), SimpleNamespace(current=NodeParameters(**parameters))
    cache = ObjectCache(maps, lambda: now_ns)
    return Answerer(maps, cache, current, Transforms(), Labels(), lambda: now_ns)


def query(**fields):
    return answerer().query_objects(QueryObjects.Request(**fields), QueryObjects.Response())


def ids(response):
    return [each.id for each in response.objects]


def test_the_finer_level_gives_the_parts_of_what_the_filters_find_and_uncut_objects_whole():
    response = query(level=QueryObjects.Request.LEVEL_PARTS, ids=[1, 2], include_clouds=True)
    assert [(each.id, each.parent_id) for each in response.objects] == [(5, 1), (6, 1), (2, 0)]
    assert all(each.cloud.width > 0 for each in response.objects)
    assert ids(query(level=QueryObjects.Request.LEVEL_PARTS, label="mug")) == [5, 6]
    assert {each.parent_id for each in query(include_background=True).objects} == {0}
    with pytest.raises(RequestError, match="level 2"):
        query(level=2)


def at(x=0.0, y=0.0, z=0.0):
    return Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(w=0.0))


def test_no_filter_returns_every_thing_and_background_on_request():
    response = query()
    assert (
        ids(response) == [1, 2, 9]
        and response.success
        and response.header.frame_id == "map"
        and response.header.stamp.nanosec == 77
    )
    assert ids(query(include_background=True)) == [1, 2, 3, 9]
    assert all(each.cloud.width == 0 for each in response.objects)


def test_every_filter_must_hold():
    assert ids(query(ids=[2, 9, 4000])) == [2, 9]
    assert ids(query(label="mug")) == [1]
    assert ids(query(label="mug", ids=[2])) == []
    assert ids(query(use_pixel=True, pixel_u=35, pixel_v=15)) == [2]
    assert ids(query(use_pixel=True, pixel_u=0, pixel_v=0)) == []


def test_regions_are_in_the_frame_that_is_named():
    sphere = {"region_type": 2, "region_size": Vector3(x=0.5)}
    assert ids(query(region_pose=at(1.0, 0.0, 1.0), **sphere)) == [2]
    assert ids(query(region_pose=at(0.0, 0.0, 1.0), frame_id="base", **sphere)) == [2]
    box = {"region_type": 1, "region_size": Vector3(x=0.2, y=0.2, z=5.0)}
    assert ids(query(region_pose=at(0.0, 0.0, 2.0), **box)) == [1, 9]
    turned = Pose(
        position=Point(z=2.0), orientation=Quaternion(y=math.sqrt(0.5), w=math.sqrt(0.5))
    )  # the long side lies along x now
    assert ids(query(region_pose=turned, **box)) == []


def test_replies_are_in_the_frame_that_is_named():
    response = query(ids=[2], frame_id="base", include_clouds=True)
    assert response.header.frame_id == "base" and response.objects[0].box.center.position.x == pytest.approx(0.0)
    np.testing.assert_allclose(
        points_from_message(response.objects[0].cloud)["x"], THINGS[1].points[:, 0] - 1.0, atol=1e-6
    )


def test_clouds_are_capped_per_object_and_per_reply():
    request = QueryObjects.Request(include_clouds=True, max_points=10**9)
    sizes = [
        each.cloud.width for each in answerer(cloud_points=100).query_objects(request, QueryObjects.Response()).objects
    ]
    assert sizes == [50, 50, 100]
    sizes = [
        each.cloud.width
        for each in answerer(max_query_points=60).query_objects(request, QueryObjects.Response()).objects
    ]
    assert sizes == [20, 20, 20]
    assert [each.cloud.width for each in query(include_clouds=True, max_points=7).objects] == [7, 7, 7]


def test_objects_are_made_once_for_queries_that_follow_each_other():
    maps, now_ns = SimpleNamespace(snapshot=FakeSnapshot(1, 1, THINGS[:1])), [10]
    cache = ObjectCache(maps, lambda: now_ns[0])
    assert cache.get(10.0).objects == THINGS[:1]
    maps.snapshot = FakeSnapshot(2, 2, THINGS[:2])
    assert cache.get(10.0).objects == THINGS[:1]  # young enough
    assert cache.get(0.0).objects == THINGS[:2] and cache.get(10.0).snapshot.version == 2
    maps.snapshot = FakeSnapshot(3, 3, ())
    cache.clear()
    assert cache.get(10.0).objects == ()
    maps.snapshot = None
    assert cache.get(10.0) is None


def test_the_message_of_an_object_that_has_not_changed_serves_again_under_a_new_stamp():
    maps = SimpleNamespace(snapshot=FakeSnapshot(1, 1, THINGS[:2]))
    cache = ObjectCache(maps, lambda: 10)
    before = cache.get(0.0).plain_messages("map")
    renamed = replace(THINGS[1], label="jug")
    maps.snapshot = FakeSnapshot(2, 7, (THINGS[0], renamed))
    after = cache.get(0.0).plain_messages("map")
    same, changed = THINGS[0].id, THINGS[1].id
    assert after[same] is before[same] and after[same].cloud.header.stamp.nanosec == 7
    assert after[changed] is not before[changed] and after[changed].label == "jug"


@pytest.mark.parametrize(
    "fields",
    [
        {"frame_id": "nowhere"},
        {"use_pixel": True, "pixel_u": 64},
        {"use_pixel": True, "pixel_v": 2**32 - 1},
        {"region_type": 9},
        {"region_type": 1, "region_size": Vector3(x=1.0)},
        {"region_type": 1, "region_size": Vector3(x=math.nan, y=1.0, z=1.0)},
        {"region_type": 2, "region_size": Vector3(x=-1.0)},
        {"region_type": 2, "region_size": Vector3(x=1.0), "region_pose": at(math.inf)},
        {"region_type": 2, "region_size": Vector3(x=1.0), "region_pose": Pose(orientation=Quaternion(w=3.0))},
    ],
)
def test_nonsense_is_refused_with_a_reason(fields):
    with pytest.raises(RequestError) as caught:
        query(**fields)
    assert len(str(caught.value)) > 20


def test_without_a_map_the_reply_says_so():
    with pytest.raises(RequestError, match="no map yet"):
        answerer_of(None).query_objects(QueryObjects.Request(), QueryObjects.Response())


def test_nothing_is_stamped_ahead_of_the_node_s_clock():
    maps, now_ns = SimpleNamespace(snapshot=FakeSnapshot(1, 5_000, THINGS)), [7_000]
    cache = ObjectCache(maps, lambda: now_ns[0])
    assert cache.get(10.0).stamp_ns == 5_000  # of the newest frame
    now_ns[0] = 3_000  # the clock went back, and no frame has come since
    assert cache.get(10.0).stamp_ns == 3_000
    old_map = answerer_of(FakeSnapshot(1, 2 * 10**18, THINGS), now_ns=40 * 10**9)  # wall time, in a simulation
    request = QueryObjects.Request(frame_id="base")
    assert old_map.query_objects(request, QueryObjects.Response()).header.stamp.sec == 40
    view = old_map.render_view(RenderView.Request(pose=at()), RenderView.Response())
    assert view.color.header.stamp.sec == 40


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pixel_v": 45}, "object 3 is there, background: set include_background"),
        ({}, "nothing is known at this pixel"),
        ({"pixel_u": 35, "pixel_v": 15, "label": "Mug"}, "object 2 is there, the query's other filters leave it out"),
        ({"pixel_u": 35, "pixel_v": 15}, "1 of 4 objects"),
    ],
)
def test_a_query_for_a_pixel_says_what_is_there(fields, message):
    assert query(use_pixel=True, **fields).message == message


def render(**fields):
    return answerer(max_render_pixels=10_000).render_view(RenderView.Request(**fields), RenderView.Response())


def test_a_view_is_rendered_from_any_pose_with_any_camera():
    response = render(pose=at())
    assert (response.color.width, response.color.height, response.color.encoding) == (64, 48, "rgb8")
    assert (
        response.depth.encoding == "32FC1"
        and response.labels.encoding == "mono16"
        and response.labels.header.frame_id == "map"
    )
    labels = np.frombuffer(response.labels.data, np.uint16).reshape(48, 64)
    assert labels[24, 32] == 9 and (labels == 2).sum() == 0
    moved = render(
        pose=at(), frame_id="base", camera_info=CameraInfo(width=32, height=24, k=[25.0, 0, 15.5, 0, 25, 11.5, 0, 0, 1])
    )
    assert np.frombuffer(moved.labels.data, np.uint16).reshape(24, 32)[12, 16] == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"frame_id": "nowhere"},
        {"pose": at(math.nan)},
        {"camera_info": CameraInfo(width=64, height=48)},
        {"camera_info": CameraInfo(width=2**31, height=2**31, k=[1e9, 0, 1, 0, 1e9, 1, 0, 0, 1])},
        {"camera_info": CameraInfo(width=64, height=48, k=[1e30, 0, 1, 0, 1e30, 1, 0, 0, 1])},
    ],
)
def test_views_that_make_no_sense_are_refused(fields):
    with pytest.raises(RequestError):
        render(**fields)


@given(
    name=st.text(max_size=12)
    | st.sampled_from(["../up", "/etc/passwd", "a/b", "..", ".", "", "a\0b", "C:\\x", "x" * 200])
)
def test_no_name_leaves_the_map_directory(name, tmp_path_factory):
    directory = MapDirectory(str(tmp_path_factory.getbasetemp() / "maps"))
    try:
        path = directory.to_save(name)
    except MapNameError as error:
        assert "refused" in str(error)
    else:
        assert path.parent == directory.path and path.suffix == ".cgc"


def test_a_link_out_of_the_directory_is_refused(tmp_path):
    outside = tmp_path / "secret.cgc"
    outside.write_text("x")
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "link.cgc").symlink_to(outside)
    with pytest.raises(MapNameError, match="symbolic link"):
        MapDirectory(str(tmp_path / "maps")).to_load("link")


def test_a_missing_map_is_named_with_those_that_are_there(tmp_path):
    (tmp_path / "kitchen.cgc").write_text("x")
    with pytest.raises(MapNameError, match="kitchen"):
        MapDirectory(str(tmp_path)).to_load("bathroom")
    assert MapDirectory(str(tmp_path)).to_load("kitchen.cgc") == (tmp_path / "kitchen.cgc").resolve()


def test_a_query_by_text_returns_the_best_fit_first():
    asked = []

    def relevance(text, objects):
        asked.append((text, [each.id for each in objects]))
        return {1: 0.3, 2: 0.9}  # no view shows object 9

    made = replace(answerer(), texts=SimpleNamespace(relevance=relevance))
    response = made.query_objects(QueryObjects.Request(text="the red mug"), QueryObjects.Response())
    assert asked == [("the red mug", [1, 2, 9])]
    assert ids(response) == [2, 1] and np.allclose(response.relevance, [0.9, 0.3])
    one = made.query_objects(QueryObjects.Request(text="the red mug", max_objects=1), QueryObjects.Response())
    assert ids(one) == [2] and len(one.relevance) == 1
    finer = QueryObjects.Request(text="the red mug", level=QueryObjects.Request.LEVEL_PARTS)
    in_parts = made.query_objects(finer, QueryObjects.Response())
    assert ids(in_parts) == [2, 5, 6] and np.allclose(in_parts.relevance, [0.9, 0.3, 0.3])


def test_without_a_text_encoder_a_query_by_text_says_what_is_missing():
    with pytest.raises(RequestError, match="pip install open_clip_torch and set text_encoder_checkpoint"):
        query(text="the red mug")
