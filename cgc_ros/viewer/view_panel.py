"""The right column: state of the map, what the camera sees beside the map's own view of it, curves, and switches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import viser
from viser import uplot

from cgc_ros.viewer.history import History
from cgc_ros.viewer.scene import STYLES, DisplayOptions
from cgc_ros.viewer.text import STYLE, note_html

WIDTH = 305  # pixels
PICTURE_WIDTH = 320  # pixels, of each of the three pictures
CURVE_HEIGHT = 190  # pixels
AXIS_FONT = "12px sans-serif"
NO_TICKS = uplot.Axis_Ticks(show=False)
MIN_ASPECT = 0.5  # width over height that the columns must leave to the 3D view


@dataclass(frozen=True)
class ViewActions:
    """What a user may do here; each is called from the web server's thread and must return at once."""

    display_changed: Callable[[], None]
    follow: Callable[[], None]  # back from a chosen keyframe to the newest view
    look_from_here: Callable[[viser.ClientHandle | None], None]


class ViewPanel:
    """Owns the widgets; the viewer's thread calls the `show` methods."""

    def __init__(self, server: viser.ViserServer, actions: ViewActions):
        self._gui = gui = server.gui
        gui.add_html(STYLE)
        self._status = gui.add_html(note_html("Waiting for the map."))
        tabs = gui.add_tab_group()
        with tabs.add_tab("Camera", viser.Icon.CAMERA):
            self._build_pictures(actions)
        with tabs.add_tab("Curves", viser.Icon.CHART_LINE):
            self._no_curves = gui.add_html(note_html("No training has been recorded for this map."))
            self._speed = self._add_curve("Training steps a second", "#1c7ed6")
            self._quality = self._add_curve("Training PSNR (dB)", "#2b8a3e")
        with tabs.add_tab("Display", viser.Icon.ADJUSTMENTS):
            self._build_display(actions)
        gui.main_panel.dock_right()
        gui.main_panel.set_width(WIDTH)
        server.on_client_connect(_fold_where_narrow)

    def _build_pictures(self, actions: ViewActions) -> None:
        gui = self._gui
        blank = np.full((int(0.75 * PICTURE_WIDTH), PICTURE_WIDTH, 3), 241, np.uint8)
        self._caption = gui.add_html(note_html("No image yet."))
        look = gui.add_button("Look from here", icon=viser.Icon.VIDEO)
        self._follow = gui.add_button("Follow the newest view", icon=viser.Icon.PLAYER_TRACK_NEXT, visible=False)
        self._pictures = [
            gui.add_image(blank, label=label, format="jpeg", jpeg_quality=85)
            for label in ("Camera", "Map, rendered", "Map, segmented")
        ]

        @look.on_click
        async def _(event) -> None:
            actions.look_from_here(event.client)

        @self._follow.on_click
        async def _(_event) -> None:
            actions.follow()

    def _build_display(self, actions: ViewActions) -> None:
        gui, default = self._gui, DisplayOptions()
        self._style = gui.add_dropdown(
            "Map", STYLES, initial_value=default.style, hint="clouds are lighter where the browser has no GPU"
        )
        self._switches = {
            "background": gui.add_checkbox("Background", default.background, hint="floor, walls, table tops"),
            "names": gui.add_checkbox("Names", default.names),
            "boxes": gui.add_checkbox("Boxes", default.boxes),
            "cameras": gui.add_checkbox("Cameras", default.cameras, hint="path and keyframes"),
        }

        async def changed(_event) -> None:
            actions.display_changed()

        self._style.on_update(changed)
        for switch in self._switches.values():
            switch.on_update(changed)

    @property
    def options(self) -> DisplayOptions:
        """What the switches say now."""
        return DisplayOptions(self._style.value, **{name: each.value for name, each in self._switches.items()})

    def show_status(self, html: str) -> None:
        """Put in the text of the state."""
        self._status.content = html

    def show_pictures(self, caption: str, pictures: list[np.ndarray], pinned: bool) -> None:
        """Camera image, render and segmentation, [h, w, 3] uint8 RGB each."""
        self._caption.content = note_html(caption)
        self._follow.visible = pinned
        for widget, picture in zip(self._pictures, pictures, strict=True):
            widget.image = picture

    def show_curves(self, history: History) -> None:
        """Speed and quality over time; nothing before two samples."""
        seconds, rates, psnrs = history.arrays()
        known = len(history.samples) > 1
        self._no_curves.visible = not known
        for curve, values in ((self._speed, rates), (self._quality, psnrs)):
            curve.visible = known
            curve.data = (seconds, values)

    def _add_curve(self, title: str, color: str) -> viser.GuiUplotHandle:
        empty = np.array([0.0, 1.0])
        return self._gui.add_uplot(
            (empty, empty),
            (uplot.Series(label="s"), uplot.Series(label=title, stroke=color, width=1.5)),
            title=title,
            scales={"x": uplot.Scale(time=False)},
            axes=(
                uplot.Axis(label="seconds of mapping", labelFont=AXIS_FONT, labelSize=20, size=34, ticks=NO_TICKS),
                uplot.Axis(size=40, ticks=NO_TICKS),
            ),
            padding=(12, 24, 0, 0),  # above, for the topmost number
            legend=uplot.Legend(show=False),
            height=CURVE_HEIGHT,
            visible=False,
        )


def _fold_where_narrow(client: viser.ClientHandle) -> None:
    """Fold the right column away, once and for this visitor alone, where his window leaves the 3D view little room."""
    whole, folded = client.camera.image_width, False  # the page arrives before its columns do

    @client.camera.on_update
    def _(camera: viser.CameraHandle) -> None:
        nonlocal folded
        if not folded and camera.image_width < whole and camera.aspect < MIN_ASPECT:
            folded = True
            client.gui.main_panel.minimize()
