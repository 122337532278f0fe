"""The 3D view: splats or clouds, boxes and names of objects, the camera's path and its keyframes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass

import numpy as np
import viser
from viser import transforms

from cgc_ros.mapping import MapObject, MapSnapshot, OrientedBox
from cgc_ros.palette import id_color
from cgc_ros.viewer.object_details import part_of_points
from cgc_ros.viewer.splats import SplatSet, faded, tinted
from cgc_ros.viewer.text import title_of
from cgc_ros.viewer.views import CameraView, CameraViews

STYLES = ("splats", "splats by object", "clouds", "clouds by object")
CLOUD_POINTS = 10_000  # per object; the selected one is shown whole
POINT_SIZE = 0.0035  # of the scene's typical distance
PART_REACH = 0.01  # of the scene's typical distance: a point farther from all parts of its object is in none
FRUSTUM_SIZE = 0.035  # of the scene's typical distance
PATH_COLOR, KEYFRAME_COLOR, CHOSEN_COLOR = (73, 80, 87), (134, 142, 150), (230, 119, 0)
THUMBNAIL_WIDTH = 160  # pixels of the picture in the current camera's frustum


@dataclass
class DisplayOptions:
    """What the 3D view shows."""

    style: str = STYLES[1]
    background: bool = True  # floor, walls, table tops
    names: bool = True
    boxes: bool = False  # of all objects; the selected one always has its box
    cameras: bool = True  # path and keyframes


class SceneView:
    """Owns every node of the 3D view. Used by one thread."""

    def __init__(self, server: viser.ViserServer, on_keyframe: Callable[[int, viser.SceneNodePointerEvent], None]):
        self._scene, self._server, self._on_keyframe = server.scene, server, on_keyframe
        self._splats: viser.GaussianSplatHandle | None = None
        self._splat_unit = 0.0
        self._objects: dict[str, viser.SceneNodeHandle] = {}  # clouds, boxes and names, by node name
        self._frusta: dict[int, tuple[CameraView, viser.CameraFrustumHandle]] = {}
        self._path_of: tuple[int, ...] | None = None
        self._scale = 0.0  # metres, the scene's typical distance
        self._placed = False

    def place(self, snapshot: MapSnapshot, views: CameraViews) -> None:
        """Put the page's camera above and behind the robot's; once, then it is the user's."""
        self._scale = snapshot.scene_depth or 1.0
        if self._placed or views.current is None:
            return
        self._placed = True
        self._scene.set_up_direction(tuple(snapshot.up))
        pose = views.current.world_from_camera
        target = pose[:3, 3] + self._scale * pose[:3, 2]
        position = pose[:3, 3] - 0.25 * self._scale * pose[:3, 2] + 0.4 * self._scale * snapshot.up
        start = self._server.initial_camera
        start.position, start.look_at, start.up = tuple(position), tuple(target), tuple(snapshot.up)
        for client in self._server.get_clients().values():
            client.camera.up_direction, client.camera.position, client.camera.look_at = snapshot.up, position, target

    def draw_splats(
        self,
        splats: SplatSet | None,
        options: DisplayOptions,
        selected: int | None,
        hidden: Set[int],
        background: Set[int],
    ) -> None:
        """Show Gaussians, or none where `splats` is None."""
        if splats is None or len(splats.ids) == 0:
            if self._splats is not None:
                self._splats.remove()
                self._splats = None
            return
        colors = splats.colors(options.style == "splats by object", selected, background)
        unseen = set(hidden) | (set() if options.background else set(background))
        keep = ~np.isin(splats.ids, list(unseen)) if unseen else slice(None)
        shown = splats.centers[keep], splats.covariances[keep], colors[keep], splats.opacities[keep]
        if self._splats is None or self._splat_unit != splats.unit:
            self._splats = self._scene.add_gaussian_splats("/splats", *shown, scale=splats.unit)
            self._splat_unit = splats.unit
        else:
            self._splats.set_gaussians(*shown)

    def draw_objects(
        self,
        objects: Iterable[MapObject],
        options: DisplayOptions,
        selected: int | None,
        parts: Sequence[MapObject] = (),
    ) -> None:
        """Clouds (where the style asks for them), boxes and names of the given objects; others vanish. `parts` are the
        selected object's.
        """
        wanted: dict[str, viser.SceneNodeHandle] = {}
        for item in objects:
            chosen = item.id == selected
            if options.style.startswith("clouds") or chosen:
                wanted[f"/clouds/{item.id}"] = self._cloud(item, options, selected, parts if chosen else ())
            if options.boxes and not item.background or chosen:
                wanted[f"/boxes/{item.id}"] = self._box(item, chosen)
            if options.names and not item.background or chosen:
                wanted[f"/names/{item.id}"] = self._name(item, chosen)
        for name in self._objects.keys() - wanted.keys():
            self._objects[name].remove()
        self._objects = wanted

    def draw_cameras(self, views: CameraViews, options: DisplayOptions, chosen: int | None) -> None:
        """The path, a frustum for every keyframe, and the picture of the view that the page follows."""
        keyframes = views.keyframes if options.cameras else ()
        self._draw_path(keyframes)
        self._remove_frusta_except({view.id: view for view in keyframes})
        for view in keyframes:
            if view.id not in self._frusta:
                self._frusta[view.id] = (view, self._keyframe(view))
            self._frusta[view.id][1].color = CHOSEN_COLOR if view.id == chosen else KEYFRAME_COLOR

    def draw_current(self, view: CameraView | None, options: DisplayOptions) -> None:
        """The view whose pictures the page shows, with its image."""
        if view is None or not options.cameras:
            self._scene.remove_by_name("/camera/current")
            return
        step = max(1, view.image.shape[1] // THUMBNAIL_WIDTH)
        self._scene.add_camera_frustum(
            "/camera/current", view.vertical_fov, view.intrinsics.width / view.intrinsics.height,
            scale=1.6 * FRUSTUM_SIZE * self._scale, color=CHOSEN_COLOR, image=view.image[::step, ::step],
            thickness=2.0, thickness_units="screen", wxyz=_wxyz(view), position=view.world_from_camera[:3, 3],
        )  # fmt: skip

    def _cloud(
        self, item: MapObject, options: DisplayOptions, selected: int | None, parts: Sequence[MapObject]
    ) -> viser.SceneNodeHandle:
        whole = item.id == selected
        step = 1 if whole else max(1, -(-len(item.points) // CLOUD_POINTS))
        points, colors = item.points[::step], item.colors[::step]
        if options.style.endswith("by object"):
            ids = part_of_points(points, parts, PART_REACH * self._scale, none=item.id)
            colors = tinted(colors, ids, {item.id} if item.background else set())
        if selected is not None and not whole:
            colors = faded(colors)
        center = item.box.center.astype(np.float32)  # points relative to it: half precision is enough
        return self._scene.add_point_cloud(
            f"/clouds/{item.id}", points - center, colors, point_size=POINT_SIZE * self._scale,
            point_shape="circle", position=tuple(center.tolist()),
        )  # fmt: skip

    def _box(self, item: MapObject, chosen: bool) -> viser.SceneNodeHandle:
        return self._scene.add_line_segments(
            f"/boxes/{item.id}", box_edges(item.box).astype(np.float32), id_color(item.id),
            thickness=3.0 if chosen else 1.5, thickness_units="screen",
        )  # fmt: skip

    def _name(self, item: MapObject, chosen: bool) -> viser.SceneNodeHandle:
        top = item.box.center + item.box.rotation[:, 2] * (item.box.size[2] / 2 + 0.015 * self._scale)
        return self._scene.add_label(
            f"/names/{item.id}", title_of(item), position=tuple(top.tolist()), anchor="bottom-center",
            font_screen_scale=1.0 if chosen else 0.75,
        )  # fmt: skip

    def _draw_path(self, keyframes: tuple[CameraView, ...]) -> None:
        ids = tuple(view.id for view in keyframes)
        if ids == self._path_of:
            return
        self._path_of = ids
        if len(keyframes) < 2:
            self._scene.remove_by_name("/camera/path")
            return
        stations = np.stack([view.world_from_camera[:3, 3] for view in keyframes]).astype(np.float32)
        self._scene.add_line_segments(
            "/camera/path", np.stack([stations[:-1], stations[1:]], axis=1), PATH_COLOR,
            thickness=2.0, thickness_units="screen",
        )  # fmt: skip

    def _keyframe(self, view: CameraView) -> viser.CameraFrustumHandle:
        """Filled: only faces can be clicked, lines cannot."""
        handle = self._scene.add_camera_frustum(
            f"/camera/keyframe_{view.id}", view.vertical_fov, view.intrinsics.width / view.intrinsics.height,
            scale=FRUSTUM_SIZE * self._scale, color=KEYFRAME_COLOR, thickness=1.2, thickness_units="screen",
            variant="filled", wxyz=_wxyz(view), position=view.world_from_camera[:3, 3],
        )  # fmt: skip

        @handle.on_click
        async def _(event: viser.SceneNodePointerEvent, keyframe_id: int = view.id) -> None:
            self._on_keyframe(keyframe_id, event)

        return handle

    def _remove_frusta_except(self, keyframes: dict[int, CameraView]) -> None:
        """A keyframe that left, or whose number now means another one (after a reset), loses its frustum."""
        for keyframe_id, (view, handle) in list(self._frusta.items()):
            same = keyframes.get(keyframe_id)
            if same is None or not np.array_equal(same.world_from_camera, view.world_from_camera):
                handle.remove()
                del self._frusta[keyframe_id]
                self._path_of = None


def box_edges(box: OrientedBox) -> np.ndarray:
    """The twelve edges of a box in the map frame, [12, 2, 3] metres."""
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    corners = box.center + (signs * box.size / 2) @ box.rotation.T
    pairs = [(a, b) for a in range(8) for b in range(a + 1, 8) if (signs[a] != signs[b]).sum() == 1]
    return corners[np.array(pairs)]


def _wxyz(view: CameraView) -> np.ndarray:
    return transforms.SO3.from_matrix(view.world_from_camera[:3, :3]).wxyz
