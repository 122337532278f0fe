"""The viewer over a mapping session: it follows the map while somebody looks, and rests when nobody does."""

import time

import pytest
from viewer_maps import CONFIG, SEQUENCE
from viewer_visitor import Visitor
from waiting import wait_until

from cgc_ros.mapping import Mapper, MappingSession
from cgc_ros.mapping.object_editing import EditOutcome, EditRequest
from cgc_ros.viewer import CameraView, CameraViews, MapViewer


@pytest.fixture
def session():
    session = MappingSession(Mapper(CONFIG), snapshot_period=0.05)
    session.start()
    yield session
    session.stop()


def submit(session, frames):
    for index in frames:
        session.submit(SEQUENCE[index])
        wait_until(lambda: session.waiting_frames == 0)


def test_the_page_follows_the_map_from_nothing_to_objects_and_back_to_nothing(session):
    with MapViewer(session, port=0) as viewer, Visitor(viewer.url):
        page = viewer.page
        submit(session, range(len(SEQUENCE)))
        wait_until(lambda: len(page.views.keyframes) == session.status().keyframes > 0)
        wait_until(lambda: page.splats is not None and len(page.splats.ids) > 0)
        wait_until(lambda: any(not item.background for item in page.objects.values()))
        wait_until(lambda: len(viewer.history.samples) > 0)
        viewer.post(lambda: page.select(max(page.objects)))
        wait_until(lambda: page.selected is not None)
        session.reset()
        wait_until(lambda: not page.objects and not page.views.keyframes and page.selected is None)
        wait_until(lambda: len(page.splats.ids) == 0)
        assert viewer.faults == {}


def test_work_begins_with_the_first_visitor_and_ends_with_the_last(session):
    submit(session, range(3))
    wait_until(lambda: session.snapshot is not None and session.snapshot.num_gaussians > 0)
    with MapViewer(session, port=0) as viewer:
        time.sleep(0.3)
        assert viewer.page.drawn == {}
        with Visitor(viewer.url) as visitor:
            wait_until(lambda: {"splats", "objects", "pictures"} <= viewer.page.drawn.keys())
            wait_until(lambda: visitor.received > 32 * session.snapshot.num_gaussians)
        wait_until(lambda: not viewer.page.server.get_clients())
        time.sleep(0.3)  # a round that had begun
        drawn = dict(viewer.page.drawn)
        version = session.snapshot.version
        wait_until(lambda: session.snapshot.version > version + 3)
        assert viewer.page.drawn == drawn


def test_the_owner_may_give_frames_and_make_edits(session):
    frame, given = SEQUENCE[0], []
    newest = CameraView(-1, frame.name, frame.stamp_ns, frame.intrinsics, frame.world_from_camera, frame.image)
    submit(session, range(len(SEQUENCE)))
    viewer = MapViewer(
        session,
        port=0,
        frames=lambda: CameraViews((), newest),
        edit=lambda request: given.append(request) or EditOutcome("done", request.ids),
    )
    with viewer, Visitor(viewer.url):
        page = viewer.page
        wait_until(lambda: page.views.current is newest and len(page.objects) > 0)
        chosen = min(page.objects)
        viewer.post(lambda: page.select(chosen))
        viewer.post(lambda: page.rename_selected("  red \n mug ", None))
        wait_until(lambda: given == [EditRequest("rename", (chosen,), "red mug")])
        assert viewer.faults == {}


def test_a_part_that_fails_is_named_on_the_page_and_the_others_go_on(session):
    failing = [True]

    def frames():
        if failing[0]:
            raise TimeoutError("the mapper did not answer")
        return CameraViews()

    submit(session, range(3))
    with MapViewer(session, port=0, frames=frames) as viewer, Visitor(viewer.url):
        wait_until(lambda: "did not answer" in viewer.page.reported.get("viewer: keyframes", ""))
        assert viewer.faults["keyframes"] > 0
        wait_until(lambda: viewer.page.splats is not None)
        failing[0] = False
        wait_until(lambda: viewer.page.reported == {})
