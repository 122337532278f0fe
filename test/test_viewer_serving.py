"""The viewer without a browser: addresses, idleness, faults, saved maps."""

import shutil
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from viewer_maps import map_file, mapper
from waiting import wait_until

from cgc_ros.gaussians.storage import read_map
from cgc_ros.mapping.object_editing import EditRequest
from cgc_ros.mapping.saved_map import open_map
from cgc_ros.run_files import RunError
from cgc_ros.viewer import MapViewer, SavedMap, ViewerError, run_viewer
from cgc_ros.viewer.saved import save_edits
from cgc_ros.viewer.views import edit_in_session


class Watched:
    """A source that notes who reads the map."""

    def __init__(self):
        self.reads = 0

    @property
    def snapshot(self):
        self.reads += 1

    def call(self, function, timeout=0.0):
        self.reads += 1


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_nothing_is_read_drawn_or_sent_while_nobody_looks():
    source = Watched()
    with MapViewer(source, port=0) as viewer:
        sent = len(viewer.page.server._websock_server._broadcast_buffer.message_from_id)
        time.sleep(0.5)
        viewer.post(lambda: None)  # wakes it
        time.sleep(0.5)
        assert source.reads == 0
        assert len(viewer.page.server._websock_server._broadcast_buffer.message_from_id) == sent


def test_the_page_is_served_on_the_given_address_only():
    with MapViewer(Watched(), port=0) as viewer:
        port = int(viewer.url.rsplit(":", 1)[1])
        assert viewer.url == f"http://127.0.0.1:{port}" and port > 0
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.2", port), timeout=5).close()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()


def test_a_viewer_starts_again_after_a_stop():
    viewer = MapViewer(Watched(), port=0)
    for _ in range(2):
        viewer.start()
        viewer.start()  # a second start changes nothing
        assert viewer.url
        viewer.stop()
    with pytest.raises(RuntimeError, match="start"):
        _ = viewer.url


def test_a_busy_port_gives_way_to_the_next():
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        taken = busy.getsockname()[1]
        with MapViewer(Watched(), port=taken) as viewer:
            assert taken < int(viewer.url.rsplit(":", 1)[1]) <= taken + 20


@pytest.mark.parametrize(
    ("host", "port", "said"),
    [
        ("192.0.2.1", 8080, "192.0.2.1.*address of this machine"),  # TEST-NET-1: never this machine's
        ("no such host", 8080, "no such host"),
        ("127.0.0.1", 70_000, "0..65535"),
        ("127.0.0.1", -1, "0..65535"),
    ],
)
def test_an_address_that_cannot_be_served_is_refused_with_a_remedy(host, port, said):
    with pytest.raises(ViewerError, match=said):
        MapViewer(Watched(), host=host, port=port).start()


def test_no_page_can_ask_for_a_tunnel_out_of_this_machine():
    with MapViewer(Watched(), port=0) as viewer:
        assert viewer.page.server.request_share_url() is None


def test_standard_output_stays_clean(capfd):
    with MapViewer(Watched(), port=0):
        pass
    assert capfd.readouterr().out == ""


def test_a_fault_is_counted_and_the_viewer_goes_on(caplog):
    done = threading.Event()
    with MapViewer(Watched(), port=0) as viewer:
        viewer.post(lambda: 1 / 0)
        viewer.post(done.set)
        assert done.wait(10)
        assert viewer.faults == {"action": 1}
    assert "ZeroDivisionError" in caplog.text


def test_a_rename_reaches_the_map_and_its_snapshot():
    source = SavedMap(mapper())
    viewer = MapViewer(source)
    item = source.snapshot.objects[0]
    viewer.edit(EditRequest("rename", (item.id,), "red mug"))
    renamed = source.snapshot.objects[0]
    assert (renamed.id, renamed.label, renamed.label_confidence) == (item.id, "red mug", 1.0)
    viewer.edit(EditRequest("rename", (item.id,)))
    assert source.snapshot.objects[0].label == ""


def test_saved_edits_change_nothing_else_in_the_file(tmp_path):
    path = Path(shutil.copy(map_file(), tmp_path / "map.cgc"))
    arrays, info = read_map(path)
    source = SavedMap(mapper())
    named, deleted = [item.id for item in source.snapshot.objects][:2]
    for request in (EditRequest("rename", (named,), "mug"), EditRequest("delete", (deleted,))):
        edit_in_session(source, request)
        save_edits(path, source.mapper)
    new_arrays, new_info = read_map(path)
    edits = new_info.pop("edits"), new_info.pop("edited")
    assert [edit["kind"] for edit in edits[0]] == ["rename", "delete"]
    assert new_info == {key: value for key, value in info.items() if key not in ("edits", "edited")} | {
        "names": {str(named): ["mug", 1.0]}
    }
    assert arrays.keys() == new_arrays.keys()
    for name, values in arrays.items():
        if not name.startswith("edits/"):
            np.testing.assert_array_equal(values, new_arrays[name])
    opened = SavedMap(open_map(path))
    assert deleted not in {item.id for item in opened.snapshot.objects}
    edit_in_session(opened, EditRequest("undo"))
    assert deleted in {item.id for item in opened.snapshot.objects}


def test_cgc_view_serves_a_run_until_it_is_told_to_end(capsys):
    ended, port = threading.Event(), free_port()
    result = []
    thread = threading.Thread(target=lambda: result.append(run_viewer(map_file().parent, port=port, until=ended)))
    thread.start()

    def answers():
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_until(answers)
    ended.set()
    thread.join(20)
    assert result == [0] and not answers()
    assert f"http://127.0.0.1:{port}" in capsys.readouterr().out


def test_cgc_view_names_a_folder_without_a_map(tmp_path):
    with pytest.raises(RunError, match="does not exist"):
        run_viewer(tmp_path)
