"""A saved map as the viewer's source, and `cgc view`."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from pathlib import Path

from cgc_ros.gaussians.storage import read_map, write_map
from cgc_ros.mapping import Mapper, MapSnapshot
from cgc_ros.mapping.object_editing import EditOutcome, EditRequest, edited_state
from cgc_ros.mapping.saved_map import open_map
from cgc_ros.run_files import HISTORY_FILE, map_path
from cgc_ros.viewer.history import read_history
from cgc_ros.viewer.viewer import MapViewer
from cgc_ros.viewer.views import Result, edit_in_session

log = logging.getLogger(__name__)


class SavedMap:
    """A map at rest: what the viewer needs of a MappingSession."""

    def __init__(self, mapper: Mapper):
        self.mapper = mapper
        self.snapshot: MapSnapshot | None = mapper.snapshot()

    def ask(self, function: Callable[[Mapper], Result], timeout: float = 0.0) -> Result:
        return function(self.mapper)

    def change(self, function: Callable[[Mapper], Result], timeout: float = 0.0) -> Result:
        result = function(self.mapper)
        self.snapshot = self.mapper.snapshot()
        return result


def run_viewer(
    directory: str | Path,
    host: str = "127.0.0.1",
    port: int = 8080,
    *,
    until: threading.Event | None = None,
) -> int:
    """Serve the map of a run's folder (or a map file) as a web page until Ctrl-C or SIGTERM; the exit status.

    Edits made in the page are written into the map file at once. `until` ends it as well.
    Raises RunError and MapFileError where there is no map, ViewerError where the page cannot be served.
    """
    path = map_path(directory)
    source = SavedMap(open_map(path))

    def edit(request: EditRequest) -> EditOutcome:
        outcome = edit_in_session(source, request)
        save_edits(path, source.mapper)
        return outcome

    viewer = MapViewer(source, host=host, port=port, edit=edit, history=read_history(path.parent / HISTORY_FILE))
    ended = until or threading.Event()
    previous = {}
    if threading.current_thread() is threading.main_thread():
        previous = {number: signal.signal(number, lambda *_: ended.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    viewer.start()
    try:
        print(f"{path}: open {viewer.url} in a browser; Ctrl-C ends it", flush=True)
        ended.wait()
    finally:
        viewer.stop()
        for number, handler in previous.items():
            signal.signal(number, handler)
    return 0


def save_edits(path: Path, mapper: Mapper) -> None:
    """Replace what edits of the objects change in a map file, and leave everything else as it is; raises
    MapFileError.
    """
    arrays, info = read_map(path)
    edited = edited_state(mapper)
    if "parts" in edited.info:  # those that were there before are not all there any more
        arrays = {name: values for name, values in arrays.items() if not name.startswith("parts/")}
    write_map(path, arrays | edited.arrays, info | edited.info)
