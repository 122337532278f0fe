"""What ~/query_objects and ~/render_view ask, checked and answered from a snapshot. No node in it: tests call it
directly.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from geometry_msgs.msg import Pose, Quaternion
from std_msgs.msg import Header

from cgc_ros.frame import MAX_OBJECT_ID, FrameError, Intrinsics
from cgc_ros.messages.camera_info import intrinsics_from_camera_info
from cgc_ros.messages.frame_names import frame_name
from cgc_ros.messages.geometry import matrix_from_pose
from cgc_ros.ros.conversions.images import encode_image
from cgc_ros.ros.conversions.objects import ObjectsIn, object_messages
from cgc_ros.ros.conversions.stamps import time_message
from cgc_ros.ros.object_cache import MadeObjects, ObjectCache, past_stamp
from cgc_ros.ros.parameters import NodeParameters
from cgc_ros.ros.roles import CurrentParameters, SnapshotSource
from cgc_ros.ros.view_rendering import render_appearance, render_labels
from cgc_ros.srv import QueryObjects, RenderView
from cgc_ros.transform_buffer import TransformError

if TYPE_CHECKING:
    from cgc_ros.mapping import MapObject, MapSnapshot
    from cgc_ros.ros.view import LabelledView

#: Making objects takes far longer than a query may. Those that OutputWorker made serve, a few seconds old at most;
#: older ones are left from before the node was deactivated.
MAX_AGE_S = 10.0
_MAX_TEXT = 500  # characters
_NO_MAP = "there is no map yet: wait for the first images, or load one"


class RequestError(ValueError):
    """A request that cannot be answered; the message says why, for the reply."""


class Transforms(Protocol):
    """The newest transforms."""

    def lookup(self, target: str, source: str) -> np.ndarray:
        """target_from_source [4, 4]; raises TransformError."""
        ...


class Labels(Protocol):
    """The newest view and its labels."""

    def current(self) -> LabelledView | None: ...


class Texts(Protocol):
    """How well a text describes objects, 0..1 by id."""

    def relevance(self, text: str, objects: Sequence[MapObject]) -> dict[int, float]: ...


@dataclass(frozen=True)
class Answerer:
    """Answers about objects at most `MAX_AGE_S` old, and with renders of the newest snapshot.

    `clock_ns` is the node's.
    """

    maps: SnapshotSource
    objects: ObjectCache
    node_parameters: CurrentParameters
    transforms: Transforms
    labels: Labels
    clock_ns: Callable[[], int]
    texts: Texts | None = None  # None: there is no text encoder

    @property
    def parameters(self) -> NodeParameters:
        """The current ones."""
        return self.node_parameters.current

    def query_objects(self, request: QueryObjects.Request, response: QueryObjects.Response) -> QueryObjects.Response:
        """Fill the response; raises RequestError."""
        made = self.objects.get(MAX_AGE_S)
        if made is None:
            raise RequestError(_NO_MAP)
        frame = self._reply_frame(request.frame_id, made)
        objects = self._matching(request, frame, made.objects)
        if request.text:
            objects, response.relevance = self._by_text(request.text, objects)
        if request.max_objects:
            objects, response.relevance = objects[: request.max_objects], response.relevance[: request.max_objects]
        in_parts = request.level == QueryObjects.Request.LEVEL_PARTS
        if in_parts:
            relevance = {each.id: value for each, value in zip(objects, response.relevance, strict=False)}
            objects = _finer(objects, made.snapshot.parts)
            response.relevance = [relevance[each.parent_id or each.id] for each in objects if relevance]
        elif request.level != QueryObjects.Request.LEVEL_OBJECTS:
            raise RequestError(f"level {request.level} is unknown: 0 objects, 1 parts")
        max_points = self._points_per_object(request, len(objects))
        response.success, response.header = True, frame.header
        if max_points == 0 and frame.frame_from_map is None and not in_parts:
            messages = made.plain_messages(self.parameters.map_frame)
            response.objects = [messages[each.id] for each in objects]
        else:
            response.objects = object_messages(objects, frame, max_points)
        found = f"{len(objects)} of {len(made.objects)} objects"
        response.message = f"{len(objects)} parts and uncut objects" if in_parts else found
        if request.use_pixel and not objects:
            response.message = self._what_is_there(request, made)
        return response

    def render_view(self, request: RenderView.Request, response: RenderView.Response) -> RenderView.Response:
        """Fill the response; raises RequestError."""
        snapshot = self._map()
        camera = self._requested_camera(request)
        if camera.width * camera.height > self.parameters.max_render_pixels:
            raise RequestError(
                f"a view of {camera.width}x{camera.height} has more than "
                f"max_render_pixels={self.parameters.max_render_pixels} pixels"
            )
        frame_id = request.frame_id or self.parameters.map_frame
        map_from_camera = self._map_from(frame_id) @ _matrix(request.pose, "pose")
        try:
            color, depth = render_appearance(snapshot, camera, map_from_camera)
            labels = render_labels(snapshot, camera, map_from_camera)
        except FrameError as error:
            raise RequestError(str(error)) from error
        header = Header(frame_id=frame_id, stamp=time_message(past_stamp(snapshot, self.clock_ns())))
        response.color, response.depth = encode_image(color, "rgb8", header), encode_image(depth, "32FC1", header)
        response.labels = encode_image(labels, "mono16", header)
        response.success, response.message = (
            True,
            f"{camera.width}x{camera.height} from {snapshot.num_gaussians} Gaussians",
        )
        return response

    def _map(self) -> MapSnapshot:
        snapshot = self.maps.snapshot
        if snapshot is None:
            raise RequestError(_NO_MAP)
        return snapshot

    def _matching(
        self, request: QueryObjects.Request, frame: ObjectsIn, made: tuple[MapObject, ...]
    ) -> list[MapObject]:
        objects = [each for each in made if request.include_background or not each.background]
        if request.ids:
            wanted = set(request.ids)
            objects = [each for each in objects if each.id in wanted]
        if request.label:
            objects = [each for each in objects if each.label.casefold() == request.label.casefold()]
        if request.region_type != QueryObjects.Request.REGION_NONE:
            is_inside = _region(request)
            objects = [each for each in objects if is_inside(frame.place_points(each.box.center[None])[0])]
        if request.use_pixel:
            found = self._id_at(request.pixel_u, request.pixel_v)
            objects = [each for each in objects if each.id == found]
        return objects

    def _by_text(self, text: str, objects: list[MapObject]) -> tuple[list[MapObject], list[float]]:
        """Those whose pictures can be compared with a text, best first, and how well each fits."""
        if self.texts is None:
            raise RequestError(
                "a query by text needs a text encoder, and there is none: pip install open_clip_torch and set "
                "text_encoder_checkpoint (a query by `label` finds names)"
            )
        if len(text) > _MAX_TEXT:
            raise RequestError(f"the text is {len(text)} characters long, more than {_MAX_TEXT}")
        relevance = self.texts.relevance(text, objects)
        found = sorted((each for each in objects if each.id in relevance), key=lambda each: -relevance[each.id])
        return found, [relevance[each.id] for each in found]

    def _id_at(self, column: int, row: int) -> int | None:
        labelled = self.labels.current()
        if labelled is None:
            raise RequestError(
                "there is no view yet whose pixel could be asked for: wait for the first image with a pose"
            )
        height, width = labelled.labels.shape
        if not (0 <= column < width and 0 <= row < height):
            raise RequestError(f"pixel ({column}, {row}) lies outside the {width}x{height} view")
        found = int(labelled.labels[row, column])
        return found if found <= MAX_OBJECT_ID else None

    def _what_is_there(self, request: QueryObjects.Request, made: MadeObjects) -> str:
        """Why a query for a pixel found nothing."""
        found = self._id_at(request.pixel_u, request.pixel_v)
        if found is None:
            return "nothing is known at this pixel"
        known = next((each for each in made.objects if each.id == found), None)
        if known is None:
            return f"object {found} is there, too little of it yet to have a shape"
        if known.background and not request.include_background:
            return f"object {found} is there, background: set include_background"
        return f"object {found} is there, the query's other filters leave it out"

    def _points_per_object(self, request: QueryObjects.Request, count: int) -> int:
        if not request.include_clouds or count == 0:
            return 0
        cap = min(self.parameters.cloud_points, self.parameters.max_query_points // count)
        return min(request.max_points, cap) if request.max_points else cap

    def _reply_frame(self, frame_id: str, made: MadeObjects) -> ObjectsIn:
        if frame_name(frame_id) in ("", frame_name(self.parameters.map_frame)):
            return made.in_map(self.parameters.map_frame)
        header = Header(frame_id=frame_id, stamp=time_message(made.stamp_ns))
        return ObjectsIn(header, np.linalg.inv(self._map_from(frame_id)))

    def _map_from(self, frame_id: str) -> np.ndarray:
        if frame_name(frame_id) == frame_name(self.parameters.map_frame):
            return np.eye(4)
        try:
            return self.transforms.lookup(self.parameters.map_frame, frame_id)
        except TransformError as error:
            raise RequestError(
                f"frame {frame_id[:80]!r} cannot be joined to {self.parameters.map_frame!r}: {error}"
            ) from error

    def _requested_camera(self, request: RenderView.Request) -> Intrinsics:
        if request.camera_info.width == 0:
            labelled = self.labels.current()
            if labelled is None:
                raise RequestError("there is no live camera yet: give camera_info with width, height and K")
            return labelled.view.camera
        try:
            camera = intrinsics_from_camera_info(request.camera_info)
        except FrameError as error:
            raise RequestError(str(error)) from error
        if not (0.01 <= camera.fx / camera.width <= 100.0 and 0.01 <= camera.fy / camera.height <= 100.0):
            raise RequestError(
                f"focal lengths {camera.fx:g}, {camera.fy:g} do not belong to a {camera.width}x{camera.height} view"
            )
        return camera


def _finer(objects: list[MapObject], parts: tuple[MapObject, ...]) -> list[MapObject]:
    """The parts of each object, in the objects' order; an object that has none stays as it is."""
    parts_of = defaultdict(list)
    for each in parts:
        parts_of[each.parent_id].append(each)
    return [part for each in objects for part in parts_of.get(each.id, [each])]


def _region(request: QueryObjects.Request) -> Callable[[np.ndarray], bool]:
    """Whether a point [3] of the request's frame lies inside its region."""
    center = _matrix(request.region_pose, "region_pose")
    size = np.array([request.region_size.x, request.region_size.y, request.region_size.z])
    kinds = QueryObjects.Request
    if request.region_type == kinds.REGION_SPHERE:
        radius = size[0] / 2.0
        if not (math.isfinite(radius) and radius > 0):
            raise RequestError(f"the sphere's diameter region_size.x must be positive, not {size[0]}")
        return lambda point: bool(np.linalg.norm(point - center[:3, 3]) <= radius)
    if request.region_type == kinds.REGION_BOX:
        if not (np.isfinite(size).all() and (size > 0).all()):
            raise RequestError(f"the box's region_size must be positive in x, y and z, not {size.tolist()}")
        return lambda point: bool((np.abs(center[:3, :3].T @ (point - center[:3, 3])) <= size / 2.0).all())
    raise RequestError(f"region_type {request.region_type} is unknown: 0 none, 1 box, 2 sphere")


def _matrix(pose: Pose, what: str) -> np.ndarray:
    q = pose.orientation
    if q.x == q.y == q.z == q.w == 0.0:
        pose = Pose(position=pose.position, orientation=Quaternion(w=1.0))
    try:
        return matrix_from_pose(pose, what)
    except FrameError as error:
        raise RequestError(str(error)) from error
