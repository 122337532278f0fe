"""The threads that callbacks run in: images and queries wait for nobody."""

import threading

from cgc_ros.srv import QueryObjects, RenderView
from ros_rig import Rig

from cgc_ros.ros import queries


def test_images_and_queries_have_a_thread_each_and_a_long_render_holds_up_neither(monkeypatch):
    threads, rendering, released = {}, threading.Event(), threading.Event()
    render, answer = queries.render_appearance, queries.Answerer.query_objects

    def long_render(*arguments):
        threads["view"] = threading.current_thread().name
        rendering.set()
        assert released.wait(20.0)
        return render(*arguments)

    def named_answer(*arguments):
        threads["query"] = threading.current_thread().name
        return answer(*arguments)

    monkeypatch.setattr(queries, "render_appearance", long_render)
    monkeypatch.setattr(queries.Answerer, "query_objects", named_answer)
    with Rig() as rig:
        submit = rig.session.submit
        monkeypatch.setattr(
            rig.session,
            "submit",
            lambda frame: (threads.update(image=threading.current_thread().name), submit(frame)),
        )
        rig.connect()
        rig.wait(lambda: rig.session.snapshot, do=rig.send, every=0.05)
        client = rig.user.create_client(RenderView, "cgc/render_view")
        assert client.wait_for_service(5.0)
        view = client.call_async(RenderView.Request())
        assert rendering.wait(10.0)
        try:
            assert rig.call(QueryObjects, "cgc/query_objects").success
            frames = len(rig.session.frames)
            rig.wait(lambda: len(rig.session.frames) > frames, do=rig.send, every=0.05)
            assert not view.done()
        finally:
            released.set()
        rig.wait(view.done)
    assert (threads["image"], threads["query"]) == ("inputs", "queries")
    assert threads["view"] not in ("inputs", "queries")


def test_a_callback_that_fails_ends_no_thread(monkeypatch):
    with Rig() as rig:
        monkeypatch.setattr(queries.Answerer, "query_objects", lambda *_: 1 / 0)
        assert "ZeroDivisionError" in rig.call(QueryObjects, "cgc/query_objects").message
        reached = threading.Event()
        monkeypatch.setattr(rig.node.service_set, "_answer", lambda *_: reached.set() or 1 / 0)
        client = rig.user.create_client(QueryObjects, "cgc/query_objects")
        assert client.wait_for_service(5.0)
        lost = client.call_async(QueryObjects.Request())
        assert reached.wait(10.0)
        monkeypatch.undo()
        rig.connect()
        rig.wait(lambda: rig.session.snapshot, do=rig.send, every=0.05)
        assert rig.call(QueryObjects, "cgc/query_objects").success and not lost.done()
