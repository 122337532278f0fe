"""The page in a real browser: it opens, shows objects, a click selects, and what users do arrives."""

import json
import time

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from viewer_browser import Browser, find_chromium
from viewer_maps import mapper

from cgc_ros.rendering import Camera
from cgc_ros.viewer import MapViewer, SavedMap

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="needs Chromium: apt-get install chromium")

WAIT = 60.0  # seconds: WebGL is computed by the CPU here
CLICK_THROUGH_NOTICES = (  # WebGL without a GPU is announced across the 3D view
    "document.head.insertAdjacentHTML('beforeend', "
    "'<style>[class*=Notification] {pointer-events: none !important}</style>')"
)


class World:
    """A saved map, its viewer, and a browser that looks at it."""

    def __init__(self):
        self.source = SavedMap(mapper())
        self.things = [item for item in self.source.snapshot.objects if not item.background]
        self.viewer = MapViewer(self.source, port=0)
        self.viewer.start()
        self.browser = Browser(1000, 640)
        self.browser.open(self.viewer.url)
        self.says(f"object {self.things[0].id}")
        self.browser.evaluate(CLICK_THROUGH_NOTICES)

    def close(self):
        self.browser.__exit__()
        self.viewer.stop()

    def says(self, text: str) -> None:
        """Wait until the page says so."""
        self.browser.wait_for(f"document.body.innerText.includes({json.dumps(text)})", WAIT)

    def selected(self, object_id: int) -> None:
        """Wait until an object is the selected one."""
        number = f"/^number\\s+{object_id}\\b/"
        self.browser.wait_for(
            f"[...document.querySelectorAll('tr')].some(row => row.innerText.trim().match({number}))", WAIT
        )

    def press(self, label: str) -> None:
        """Click the button that starts with a label."""
        self.browser.click_on(
            f"[...document.querySelectorAll('button')].find(b => b.innerText.trim().startsWith({json.dumps(label)}))"
        )

    def camera(self) -> Camera:
        """The camera of the 3D view, as the page reported it."""
        state = next(iter(self.viewer.page.server.get_clients().values())).camera
        camera_from_world = np.eye(4)
        camera_from_world[:3, :3] = Rotation.from_quat(state.wxyz, scalar_first=True).as_matrix().T
        camera_from_world[:3, 3] = -camera_from_world[:3, :3] @ state.position
        width, height = state.image_width, state.image_height
        focal = height / 2 / np.tan(state.fov / 2)
        return Camera(width, height, focal, focal, width / 2, height / 2, torch.tensor(camera_from_world).float())

    def click_view(self, u: float, v: float) -> None:
        """Click a pixel of the 3D view, which is the largest canvas of the page."""
        left, top = self.browser.evaluate(
            "(c => [c.x, c.y])([...document.querySelectorAll('canvas')].map(c => c.getBoundingClientRect())"
            ".sort((a, b) => b.width * b.height - a.width * a.height)[0])"
        )
        self.browser.click(left + u, top + v)


@pytest.fixture(scope="module")
def world():
    world = World()
    yield world
    world.close()


@pytest.fixture
def page(world):
    """The page with nothing selected."""
    world.viewer.post(lambda: world.viewer.page.select(None))
    world.says("Click an object, in the list or in the 3D view")
    return world


def test_the_page_lists_every_object_with_size_and_views(page):
    for item in page.things:
        page.says(f"object {item.id}\n")
    text = page.browser.text()
    assert f"{len(page.things)} object" in text and "saved map" in text
    assert text.count(" views") >= len(page.things)
    assert f"{page.source.snapshot.num_gaussians:,} Gaussians, 8 keyframes" in text
    assert page.browser.evaluate("document.querySelectorAll('img').length") >= 3  # camera, render, segmentation


def test_a_click_in_the_list_selects_and_a_second_one_lets_go(page):
    item = page.things[0]
    page.press(f"object {item.id}")
    page.selected(item.id)
    page.says(f"{len(item.points):,} points")
    assert page.viewer.page.selected == item.id
    page.press(f"object {item.id}")
    page.says("Click an object, in the list or in the 3D view")


def test_a_click_in_the_3d_view_selects_what_is_seen_there(page):
    labels = page.source.snapshot.segment(page.camera())
    for item in page.things[:2]:
        depth_inside = cv2.distanceTransform((labels == item.id).astype(np.uint8), cv2.DIST_L2, 5)
        v, u = np.unravel_index(depth_inside.argmax(), depth_inside.shape)
        assert depth_inside[v, u] > 3, "the object is not in view"
        page.click_view(u + 0.5, v + 0.5)
        page.selected(item.id)


def test_a_name_typed_in_the_page_reaches_the_map(page):
    item = page.things[0]
    page.press(f"object {item.id}")
    page.selected(item.id)
    page.browser.click_on("[...document.querySelectorAll('form input[type=text], form input:not([type])')][0]")
    page.browser.type("red box")
    time.sleep(0.3)  # the field reports what is typed
    page.press("Rename")
    page.says("red box\n")
    assert page.source.mapper.names.resolved()[item.id] == ("red box", 1.0)
    page.says("is now red box")


def test_objects_are_edited_and_each_edit_is_undone(page):
    ids = {item.id for item in page.source.snapshot.objects}
    one, other = (item.id for item in page.things[-2:])

    def has(changed: set[int], message: str) -> None:
        page.says(message)
        assert {item.id for item in page.source.snapshot.objects} == changed

    page.press(f"object {one}")
    page.selected(one)
    page.press("Pin")
    page.says("· pinned")
    page.press("Delete")
    page.says(f"object {one} is pinned: unpin it to delete it")
    page.press("Unpin")
    page.says(f"unpinned object {one}")
    page.press("Merge with")
    page.says("Do not merge")
    page.press(f"object {other}")
    has(ids - {other}, f"objects {one} and {other} are object {one} now")
    page.press("Undo the last edit")
    has(ids, "took back: merge")
    page.press("Split")
    page.says(f"object {one} has no parts to be split into")
    page.press("Delete")
    has(ids - {one}, f"deleted object {one}")
    page.says("Click an object, in the list or in the 3D view")
    page.press("Undo the last edit")
    has(ids, "took back: delete")


def test_a_hidden_object_is_listed_as_such_and_comes_back(page):
    item = page.things[-1]
    page.press(f"object {item.id}")
    page.selected(item.id)
    page.press("Hide")
    page.says("· hidden")
    assert item.id not in [each.id for each in page.viewer.page.visible()]
    page.press("Show")
    page.browser.wait_for("!document.body.innerText.includes('· hidden')", WAIT)
    assert item.id in [each.id for each in page.viewer.page.visible()]


def test_export_downloads_the_cloud(page, tmp_path):
    import open3d

    item = page.things[-1]
    page.browser.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    page.press(f"object {item.id}")
    page.selected(item.id)
    page.press("Export")
    deadline = time.monotonic() + WAIT
    while not (files := list(tmp_path.glob("*.ply"))):
        assert time.monotonic() < deadline, "no file came"
        time.sleep(0.1)
    points = np.asarray(open3d.io.read_point_cloud(str(files[0])).points)
    np.testing.assert_allclose(points, item.points, atol=1e-6)


def test_a_click_on_a_camera_shows_what_it_saw_and_selects_no_object(page):
    page.says("Newest keyframe 7")
    camera, pose = page.camera(), page.viewer.page.views.keyframes[0].world_from_camera
    x, y, z = (camera.camera_from_world.numpy() @ pose @ [0.0, 0.0, 0.05, 1.0])[:3]  # inside the frustum
    page.click_view(camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy)
    page.says("Keyframe 0, image 0000")
    assert page.viewer.page.selected is None
    page.press("Follow the newest view")
    page.says("Newest keyframe 7")


def test_a_narrow_window_keeps_room_for_the_3d_view(world):
    with Browser(760, 800) as browser:
        browser.open(world.viewer.url)
        width = "Math.max(...[...document.querySelectorAll('canvas')].map(c => c.getBoundingClientRect().width))"
        browser.wait_for("document.body.innerText.includes('Filter')", WAIT)
        browser.wait_for(f"((w) => w > 380 && w < 500)({width})", WAIT)  # one column beside it; with both it has 190
        assert "saved map" not in browser.text()
    assert "saved map" in world.browser.text()  # a visitor with a wide window keeps both


def test_no_part_of_the_page_failed_or_reached_out_to_the_network(page):
    assert page.viewer.faults == {}
    assert page.browser.errors == []
    assert page.browser.requested and page.browser.foreign_requests() == []
