"""The page: what is shown of a map, and what its users choose. Used by the viewer's thread only."""

from __future__ import annotations

import concurrent.futures
import functools
from collections.abc import Callable
from concurrent.futures import Future
from typing import Literal

import numpy as np
import viser

from cgc_ros.mapping import MapObject, MapSnapshot, SessionStatus
from cgc_ros.mapping.object_crops import object_crops
from cgc_ros.mapping.object_editing import EditOutcome, EditRequest
from cgc_ros.segmentation.object_names import clean_name
from cgc_ros.viewer.history import History
from cgc_ros.viewer.object_details import contact_sheet, object_file, outlined, parts_of
from cgc_ros.viewer.object_panel import ObjectActions, ObjectPanel
from cgc_ros.viewer.picking import pick_object
from cgc_ros.viewer.scene import SceneView
from cgc_ros.viewer.splats import SplatSet
from cgc_ros.viewer.text import status_html, title_of
from cgc_ros.viewer.view_panel import PICTURE_WIDTH, ViewActions, ViewPanel
from cgc_ros.viewer.views import CameraView, CameraViews, MapSource, view_pictures


class Page:
    """One page that everybody who opens it shares: the same selection, the same switches, each with a camera of his
    own.
    """

    def __init__(
        self,
        server: viser.ViserServer,
        source: MapSource,
        edit: Callable[[EditRequest], EditOutcome],
        post: Callable[[Callable[[], None]], None],
        ask: Callable[[Callable[[], object], Callable[[Future], None]], None],
    ):
        """`post` runs an action in the viewer's thread; the web server's threads only ever post. `ask` has a question
        answered in yet another thread, which may wait for the mapper, and hands the answer to the viewer's thread.
        """
        self.server, self._source, self._edit, self._post, self._ask = server, source, edit, post, ask
        self.objects: dict[int, MapObject] = {}
        self.views = CameraViews()
        self.splats: SplatSet | None = None
        self.selected: int | None = None
        self._merging = False  # the next object that is clicked is to be merged with the selected one
        self._hidden: set[int] = set()
        self._keyframe: int | None = None  # chosen by a click; None follows the newest view
        self.drawn: dict[str, object] = {}  # by part: what it shows now
        self._frustum_click: tuple[int, tuple[float, float]] | None = None
        self.reported: dict[str, str] = {}

        self._scene = SceneView(server, self._on_keyframe)
        self._view_panel = ViewPanel(server, ViewActions(
            display_changed=self._posted(self._redraw),
            follow=self._posted(self._follow),
            look_from_here=self._posted(self._look_from_here),
        ))  # fmt: skip
        self._object_panel = ObjectPanel(server, ObjectActions(
            select=self._posted(self._select_row),
            rename=self._posted(self.rename_selected),
            merge=self._posted(self._toggle_merging),
            split=self._posted(self._split),
            pin=self._posted(self._pin),
            delete=self._posted(self._delete),
            undo=self._posted(self._undo),
            toggle_hidden=self._posted(self._toggle_hidden),
            export=self._posted(self._export),
            center=self._posted(self._center),
            list_changed=self._posted(self._list_objects),
        ))  # fmt: skip

        @server.scene.on_click()  # type: ignore[arg-type]  # a coroutine function is fine: viser says so
        async def _(event: viser.SceneClickEvent) -> None:
            self._post(functools.partial(self._click, event))

    def show_status(self, status: SessionStatus | None, history: History) -> None:
        """State, faults and curves; a status of None is that of a map at rest."""
        keyframes = len(self.views.keyframes)
        self._view_panel.show_status(status_html(status, self._source.snapshot, keyframes, self.reported))
        self._view_panel.show_curves(history)

    def report(self, part: str, fault: str | None) -> None:
        """What is wrong with a part of the viewer, shown below the state; None: nothing any more."""
        if fault is None:
            self.reported.pop(f"viewer: {part}", None)
        else:
            self.reported[f"viewer: {part}"] = fault

    def show_views(self, views: CameraViews) -> None:
        """Path and keyframes, where they were taken."""
        self.views = views
        if self._keyframe is not None and self._chosen_view() is None:
            self._keyframe = None
        if self._source.snapshot is not None:
            self._scene.place(self._source.snapshot, views)
        self._draw_cameras()

    def show_pictures(self) -> None:
        """Image, render and segmentation of the view that is followed, where it or the map has changed."""
        view, snapshot = self._view(), self._source.snapshot
        if view is None or snapshot is None:
            return
        if not self._changed("pictures", (view.id, view.stamp_ns, _version(snapshot), frozenset(self._hidden))):
            return
        pictures = view_pictures(view, snapshot, PICTURE_WIDTH, self._hidden)
        self._view_panel.show_pictures(self._caption(view), pictures, self._keyframe is not None)
        self._scene.draw_current(view, self._view_panel.options)

    def show_splats(self) -> None:
        """The Gaussians, where the map or what is chosen has changed; nothing is computed while clouds are shown."""
        snapshot, options = self._source.snapshot, self._view_panel.options
        wanted = snapshot if options.style.startswith("splats") else None
        background = frozenset(item.id for item in self.objects.values() if item.background)
        hidden = frozenset(self._hidden)
        state = None if wanted is None else (_version(wanted), options, self._lit, hidden, background)
        if not self._changed("splats", state):
            return
        if wanted is not None and self._changed("splat set", _version(wanted)):
            self.splats = SplatSet.of(wanted)
        splats = None if wanted is None else self.splats
        self._scene.draw_splats(splats, options, self._lit, self._hidden, background)

    def show_objects(self) -> None:
        """List, clouds, boxes and names, where the map has changed."""
        snapshot = self._source.snapshot
        if snapshot is None or not self._changed("objects", _version(snapshot)):
            return
        self.objects = {item.id: item for item in snapshot.objects}
        if self.selected not in self.objects:
            self.selected, self._merging = None, False
        self._draw_objects()

    def _draw_objects(self) -> None:
        parts = self._parts()
        self._scene.draw_objects(self.visible(), self._view_panel.options, self._lit, parts)
        self._list_objects()
        hidden = self.selected in self._hidden
        self._object_panel.show_selected(self._selected_object(), parts, hidden, self._merging)

    def _draw_cameras(self) -> None:
        options = self._view_panel.options
        self._scene.draw_cameras(self.views, options, self._keyframe)
        self._scene.draw_current(self._view(), options)

    def _list_objects(self) -> None:
        self._object_panel.show_list(tuple(self.objects.values()), self._hidden, self.selected)

    def _redraw(self) -> None:
        """After a choice: everything from what is known already."""
        self._draw_objects()
        self._draw_cameras()
        self.show_splats()
        self.show_pictures()

    def _changed(self, part: str, state: object) -> bool:
        """Note what a part of the page shows from now on; False where it shows that already."""
        if part in self.drawn and self.drawn[part] == state:
            return False
        self.drawn[part] = state
        return True

    def visible(self) -> list[MapObject]:
        """Objects that the list and the 3D view show."""
        background = self._view_panel.options.background
        return [
            item for item in self.objects.values()
            if item.id not in self._hidden and (background or not item.background)
        ]  # fmt: skip

    @property
    def _lit(self) -> int | None:
        """The object that stands out in the 3D view, while all others fade: the selected one, unless it is hidden."""
        return None if self.selected in self._hidden else self.selected

    def _selected_object(self) -> MapObject | None:
        return None if self.selected is None else self.objects.get(self.selected)

    def _parts(self) -> tuple[MapObject, ...]:
        """The selected object's."""
        return parts_of(self.selected, self._source.snapshot)

    def _chosen_view(self) -> CameraView | None:
        return next((view for view in self.views.keyframes if view.id == self._keyframe), None)

    def _view(self) -> CameraView | None:
        """The view whose pictures are shown."""
        return self._chosen_view() or self.views.current

    def _caption(self, view: CameraView) -> str:
        what = f"keyframe {view.id}" if view.id >= 0 else "frame"
        name = f", image {view.name}" if view.name else ""
        return (f"Newest {what}" if self._keyframe is None else what.capitalize()) + name

    # What users do. Each of these runs in the viewer's thread.

    def _posted(self, action: Callable[..., None]) -> Callable[..., None]:
        return lambda *arguments: self._post(functools.partial(action, *arguments))

    def _on_keyframe(self, keyframe_id: int, event: viser.SceneNodePointerEvent) -> None:
        """Called from the web server's thread, just before the same click reaches `_click`."""
        self._post(functools.partial(self._choose_keyframe, keyframe_id, (event.client_id, event.screen_pos)))

    def _choose_keyframe(self, keyframe_id: int, click: tuple[int, tuple[float, float]]) -> None:
        self._keyframe, self._frustum_click = keyframe_id, click
        self._draw_cameras()
        self.show_pictures()

    def _follow(self) -> None:
        self._keyframe = None
        self._draw_cameras()
        self.show_pictures()

    def _click(self, event: viser.SceneClickEvent) -> None:
        """A click into the 3D view: on an object, beside all, or on a keyframe, which has had it already."""
        if (event.client_id, event.screen_pos) == self._frustum_click:
            self._frustum_click = None
            return
        found = pick_object(np.array(event.ray_origin), np.array(event.ray_direction), self.visible())
        self._choose(found, event.client)

    def _select_row(self, object_id: int, client: viser.ClientHandle | None) -> None:
        self._choose(None if object_id == self.selected else object_id, client)

    def _choose(self, object_id: int | None, client: viser.ClientHandle | None) -> None:
        """Somebody clicked an object, or none: it is selected, or merged with the one that is."""
        if self._merging and object_id is not None and self.selected not in (None, object_id):
            self._do("merge", (int(self.selected), object_id), client)
            self._merging = False
        else:
            self.select(object_id)

    def select(self, object_id: int | None) -> None:
        """Make an object the selected one; None: none."""
        if object_id == self.selected:
            return
        self.selected, self._merging = object_id, False
        item = self._selected_object()
        self._object_panel.set_name("" if item is None else item.label)
        self._draw_objects()
        self.show_splats()
        self._show_crops(item)

    def _show_crops(self, item: MapObject | None) -> None:
        snapshot: MapSnapshot | None = self._source.snapshot
        sheet = None
        if item is not None and snapshot is not None:
            crops = object_crops(item, self.views.keyframes, snapshot)
            sheet = contact_sheet([outlined(each, item.id) for each in crops]) if crops else None
        self._object_panel.show_crops(sheet)

    def rename_selected(self, text: str, client: viser.ClientHandle | None) -> None:
        """Give the selected object a name; the answer is shown to `client`."""
        item, name = self._selected_object(), clean_name(text)
        if item is None or (name == item.label and not 0 < item.label_confidence < 1):  # votes may be confirmed
            return
        self._do("rename", (item.id,), client, name)

    def _toggle_merging(self, client: viser.ClientHandle | None) -> None:
        self._merging = self.selected is not None and not self._merging
        if self._merging:
            _notify(client, "Merge", f"click the object that is the same thing as {self._title()}", "blue")
        self._draw_objects()

    def _split(self, client: viser.ClientHandle | None) -> None:
        self._do_to_selected("split", client)

    def _pin(self, client: viser.ClientHandle | None) -> None:
        item = self._selected_object()
        self._do_to_selected("unpin" if item is not None and item.pinned else "pin", client)

    def _delete(self, client: viser.ClientHandle | None) -> None:
        self._do_to_selected("delete", client)

    def _undo(self, client: viser.ClientHandle | None) -> None:
        self._do("undo", (), client)

    def _title(self) -> str:
        item = self._selected_object()
        return "" if item is None else title_of(item)

    def _do_to_selected(self, kind: str, client: viser.ClientHandle | None) -> None:
        if self.selected is not None:
            self._do(kind, (self.selected,), client)

    def _do(self, kind: str, ids: tuple[int, ...], client: viser.ClientHandle | None, label: str = "") -> None:
        """Have an edit made; the answer is shown to `client`."""
        request = EditRequest(kind, ids, label)
        self._ask(functools.partial(self._edit, request), functools.partial(self._done, kind, client))

    def _done(self, kind: str, client: viser.ClientHandle | None, answer: Future) -> None:
        error = answer.exception()
        if isinstance(error, (concurrent.futures.TimeoutError, OSError, ValueError)):  # as EditError, MapFileError
            _notify(client, f"No {kind}", str(error) or "the mapper did not answer: try again", "red")
            return
        outcome = answer.result()  # any other failure is the viewer's own
        _notify(client, kind.capitalize(), outcome.message, "green")
        self.show_objects()
        item = self._selected_object()
        self._object_panel.set_name("" if item is None else item.label)

    def _toggle_hidden(self) -> None:
        if self.selected is not None:
            self._hidden ^= {self.selected}
            self._redraw()

    def _export(self, client: viser.ClientHandle | None) -> None:
        item = self._selected_object()
        if item is not None and client is not None:
            client.send_file_download(*object_file(item, self._parts()), save_immediately=True)

    def _center(self, client: viser.ClientHandle | None) -> None:
        """Turn the user's camera to the selected object and come near, from the side he looks from."""
        item = self._selected_object()
        if item is None or client is None:
            return
        offset = client.camera.position - item.box.center
        distance = 2.5 * float(np.linalg.norm(item.box.size))
        with client.atomic():
            client.camera.position = item.box.center + offset / max(float(np.linalg.norm(offset)), 1e-9) * distance
            client.camera.look_at = item.box.center

    def _look_from_here(self, client: viser.ClientHandle | None) -> None:
        """Put the user's camera where the shown picture was taken."""
        view, snapshot = self._view(), self._source.snapshot
        if view is None or client is None or snapshot is None:
            return
        pose = view.world_from_camera
        with client.atomic():
            client.camera.position = pose[:3, 3]
            client.camera.look_at = pose[:3, 3] + pose[:3, 2] * (snapshot.scene_depth or 1.0)
            client.camera.fov = view.vertical_fov


def _version(snapshot: MapSnapshot) -> tuple[int, int]:
    """Versions start anew when a map is reset; the stamp tells the two maps apart."""
    return snapshot.version, snapshot.stamp_ns


def _notify(client: viser.ClientHandle | None, title: str, body: str, color: Literal["red", "green", "blue"]) -> None:
    if client is not None:
        client.add_notification(title, body, color=color, auto_close_seconds=6.0)
