"""The left column: the list of objects, and all about the selected one."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass

import numpy as np
import viser

from cgc_ros.mapping import MapObject
from cgc_ros.palette import id_color
from cgc_ros.viewer.text import STYLE, counted, note_html, object_html, row_text

WIDTH = 290  # pixels
MAX_ROWS = 100  # buttons in the list; a filter finds the others
NOTHING_SELECTED = "Click an object, in the list or in the 3D view. Click a camera to see what it saw."


@dataclass(frozen=True)
class ObjectActions:
    """What a user may do with an object; each is called from the web server's thread and must return at once."""

    select: Callable[[int, viser.ClientHandle | None], None]
    rename: Callable[[str, viser.ClientHandle | None], None]
    merge: Callable[[viser.ClientHandle | None], None]
    split: Callable[[viser.ClientHandle | None], None]
    pin: Callable[[viser.ClientHandle | None], None]
    delete: Callable[[viser.ClientHandle | None], None]
    undo: Callable[[viser.ClientHandle | None], None]
    toggle_hidden: Callable[[], None]
    export: Callable[[viser.ClientHandle | None], None]
    center: Callable[[viser.ClientHandle | None], None]
    list_changed: Callable[[], None]  # the filter or the choice of what is listed


class ObjectPanel:
    """Owns the widgets; the viewer's thread calls the `show` methods."""

    def __init__(self, server: viser.ViserServer, actions: ObjectActions):
        self._gui, self._actions = server.gui, actions
        self._rows: dict[int, viser.GuiButtonHandle] = {}
        self._row_state: dict[int, tuple[str, bool]] = {}
        listing = self._gui.add_panel()
        with listing.add_tab("Objects", viser.Icon.LIST):
            self._filter = self._gui.add_text("Filter", "", hint="part of a name, or a number")
            self._with_background = self._gui.add_checkbox("List background", False, hint="floor, walls, table tops")
            undo = self._gui.add_button("Undo the last edit", icon=viser.Icon.ARROW_BACK_UP, color="gray")
            self._summary = self._gui.add_html(note_html("No objects yet."))
            self._list = self._gui.add_folder(None)
            with self._list:
                self._gui.add_html(f'<div class="cgc-rows">{STYLE}</div>', order=-1.0)
        listing.dock_left()
        listing.set_width(WIDTH)
        selection = self._gui.add_panel()
        with selection.add_tab("Selected", viser.Icon.FOCUS_2):
            self._build_selection()
        selection.dock_below(listing)

        async def list_changed(_event) -> None:
            actions.list_changed()

        @undo.on_click
        async def _(event) -> None:
            actions.undo(event.client)

        self._filter.on_update(list_changed)
        self._with_background.on_update(list_changed)

    def _build_selection(self) -> None:
        gui, actions = self._gui, self._actions
        self._facts = gui.add_html(note_html(NOTHING_SELECTED))
        self._tools = gui.add_folder(None, visible=False)
        with self._tools:
            with gui.add_form(None) as form:
                self._name = gui.add_text("Name", "", hint="Enter, or the button, gives the object this name")
            gui.add_html('<div class="cgc-tools"></div>')
            rename = gui.add_button("Rename", icon=viser.Icon.PENCIL)
            self._hide = gui.add_button("Hide", icon=viser.Icon.EYE_OFF)
            center = gui.add_button("Centre", icon=viser.Icon.FOCUS, hint="turn the view to it")
            export = gui.add_button(
                "Export", icon=viser.Icon.DOWNLOAD, hint="its cloud as .ply; with its parts, a .zip of clouds"
            )
            self._merge = gui.add_button(
                "Merge with", icon=viser.Icon.ARROWS_JOIN, hint="the object that is clicked next"
            )
            split = gui.add_button("Split", icon=viser.Icon.ARROWS_SPLIT, hint="into its parts")
            self._pin = gui.add_button("Pin", icon=viser.Icon.PIN, hint="mapping leaves it as it is")
            delete = gui.add_button(
                "Delete", icon=viser.Icon.TRASH, hint="it is no object; its matter stays in the map"
            )
            self._crops = gui.add_image(np.full((8, 8, 3), 255, np.uint8), visible=False, format="jpeg")

        async def renamed(event) -> None:
            actions.rename(self._name.value, event.client)

        rename.on_click(renamed)
        form.on_submit(renamed)

        @self._hide.on_click
        async def _(_event) -> None:
            actions.toggle_hidden()

        for button, action in (
            (center, actions.center),
            (export, actions.export),
            (self._merge, actions.merge),
            (split, actions.split),
            (self._pin, actions.pin),
            (delete, actions.delete),
        ):

            @button.on_click
            async def _(event, action: Callable[[viser.ClientHandle | None], None] = action) -> None:
                action(event.client)

    def show_list(self, objects: tuple[MapObject, ...], hidden: Set[int], selected: int | None) -> None:
        """Things first, then background where it is asked for, each by number."""
        listed = sorted(filter(self._is_listed, objects), key=lambda item: (item.background, item.id))
        shown = {item.id: item for item in listed[:MAX_ROWS]}
        for object_id in self._rows.keys() - shown.keys():
            self._rows.pop(object_id).remove()
            del self._row_state[object_id]
        for place, item in enumerate(shown.values()):
            self._show_row(item, float(place), item.id in hidden, item.id == selected)
        self._summary.content = note_html(_summary(objects, len(listed), len(shown)))

    def show_selected(self, item: MapObject | None, parts: Sequence[MapObject], hidden: bool, merging: bool) -> None:
        """The facts, and what may be done: while `merging`, another object is to be clicked. The name field is left
        alone, somebody may be typing.
        """
        self._facts.content = note_html(NOTHING_SELECTED) if item is None else object_html(item, parts)
        self._tools.visible = item is not None
        self._hide.label, self._hide.icon = ("Show", viser.Icon.EYE) if hidden else ("Hide", viser.Icon.EYE_OFF)
        self._merge.label = "Do not merge" if merging else "Merge with"
        pinned = item is not None and item.pinned
        self._pin.label, self._pin.icon = ("Unpin", viser.Icon.PINNED_OFF) if pinned else ("Pin", viser.Icon.PIN)

    def set_name(self, name: str) -> None:
        """Put a name into the field."""
        self._name.value = name  # type: ignore[misc]  # has a setter, which a Protocol of viser hides

    def show_crops(self, picture: np.ndarray | None) -> None:
        """One picture [h, w, 3] uint8 RGB of crops, or none."""
        self._crops.visible = picture is not None
        if picture is not None:
            self._crops.image = picture

    def _is_listed(self, item: MapObject) -> bool:
        wanted = self._filter.value.strip().lower()
        if wanted:
            return wanted in item.label.lower() or wanted == str(item.id)
        return self._with_background.value or not item.background

    def _show_row(self, item: MapObject, place: float, hidden: bool, selected: bool) -> None:
        state = (row_text(item, hidden), selected)
        if item.id not in self._rows:
            self._rows[item.id] = self._add_row(item, place, state)
        elif self._row_state[item.id] != state:
            self._rows[item.id].label = state[0]
            self._rows[item.id].icon = _row_icon(selected)
        if self._rows[item.id].order != place:
            self._rows[item.id].order = place
        self._row_state[item.id] = state

    def _add_row(self, item: MapObject, place: float, state: tuple[str, bool]) -> viser.GuiButtonHandle:
        with self._list:
            row = self._gui.add_button(state[0], color=id_color(item.id), icon=_row_icon(state[1]), order=place)

        @row.on_click
        async def _(event, object_id: int = item.id) -> None:
            self._actions.select(object_id, event.client)

        return row


def _row_icon(selected: bool) -> viser.IconName | None:
    return viser.Icon.CHECK if selected else None


def _summary(objects: tuple[MapObject, ...], listed: int, shown: int) -> str:
    things = sum(not item.background for item in objects)
    text = f"{counted(things, 'object')}, {len(objects) - things} of background"
    return text if shown == listed else f"{text}; the first {shown} of {listed}: filter to find the others"
