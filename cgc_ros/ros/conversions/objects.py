"""Map objects as cgc_ros, vision_msgs and visualization_msgs messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import ColorRGBA, Header
from vision_msgs.msg import (
    BoundingBox3D,
    Detection3D,
    Detection3DArray,
    LabelInfo,
    ObjectHypothesisWithPose,
    VisionClass,
)
from visualization_msgs.msg import Marker, MarkerArray

from cgc_ros.msg import Object, ObjectArray
from cgc_ros.palette import id_color
from cgc_ros.ros.conversions.clouds import cloud_message, labelled_points, thin
from cgc_ros.ros.conversions.geometry import pose_from_parts
from cgc_ros.ros.conversions.stamps import time_message

if TYPE_CHECKING:
    from cgc_ros.mapping import MapObject

_BOX_EDGES = [(0, 1), (0, 2), (0, 4), (1, 3), (1, 5), (2, 3), (2, 6), (3, 7), (4, 5), (4, 6), (5, 7), (6, 7)]
_BOX_CORNERS = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])


@dataclass(frozen=True)
class ObjectsIn:
    """How objects go into messages: the header they get and, where that is not of the map's frame, the way there."""

    header: Header
    frame_from_map: np.ndarray | None = None  # [4, 4]; None: the map's own frame

    def place(self, rotation: np.ndarray, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A pose of the map, as rotation [3, 3] and position [3] of the header's frame."""
        if self.frame_from_map is None:
            return rotation, position
        turn = self.frame_from_map[:3, :3]
        return turn @ rotation, turn @ position + self.frame_from_map[:3, 3]

    def place_points(self, points: np.ndarray) -> np.ndarray:
        """Points [P, 3] of the map in the header's frame."""
        if self.frame_from_map is None:
            return points
        return (points @ self.frame_from_map[:3, :3].T + self.frame_from_map[:3, 3]).astype(np.float32)


def shown_name(map_object: MapObject) -> str:
    """What people read: the label, or the id while there is none."""
    return map_object.label or f"object {map_object.id}"


def object_messages(objects: Sequence[MapObject], frame: ObjectsIn, max_points: int = 0) -> list[Object]:
    """One message per object, in their order, each with at most `max_points` of its cloud (0: none)."""
    no_cloud = PointCloud2(header=frame.header)
    return [
        Object(
            id=each.id,
            parent_id=each.parent_id,
            label=each.label,
            label_confidence=float(each.label_confidence),
            confidence=float(each.confidence),
            background=bool(each.background),
            box=box,
            cloud=object_cloud([each], frame, max_points) if max_points > 0 else no_cloud,
            num_views=int(each.num_views),
            first_seen=time_message(each.first_seen_ns),
            last_seen=time_message(each.last_seen_ns),
            state=each.state,
            existence=float(each.existence),
            last_confirmed=time_message(each.last_confirmed_ns),
        )
        for each, box in zip(objects, _box_messages(objects, frame), strict=True)
    ]


def object_array(objects: Sequence[MapObject], frame: ObjectsIn, max_points: int = 0) -> ObjectArray:
    """Objects in their order, each with at most `max_points` of its cloud."""
    return ObjectArray(header=frame.header, objects=object_messages(objects, frame, max_points))


def object_cloud(objects: Sequence[MapObject], frame: ObjectsIn, max_points: int) -> PointCloud2:
    """One labelled PointCloud2 of all these objects, at most `max_points` of each."""
    parts = []
    for each in objects if max_points > 0 else ():
        points, colors = thin(each.points, max_points), thin(each.colors, max_points)
        parts.append(labelled_points(frame.place_points(points), colors, each.id, each.confidence))
    return cloud_message(
        np.concatenate(parts) if parts else labelled_points(np.empty((0, 3)), np.empty((0, 3), np.uint8), 0, 0.0),
        frame.header,
    )


def detections(objects: Sequence[MapObject], frame: ObjectsIn) -> Detection3DArray:
    """The same for planners that know vision_msgs: `id` is the lasting id, `class_id` the label (or "object")."""
    message = Detection3DArray(header=frame.header)
    for each, box in zip(objects, _box_messages(objects, frame), strict=True):
        hypothesis = ObjectHypothesisWithPose()
        hypothesis.hypothesis.class_id = each.label or "object"
        hypothesis.hypothesis.score = float(each.label_confidence if each.label else each.confidence)
        hypothesis.pose.pose = box.center
        message.detections.append(Detection3D(header=frame.header, results=[hypothesis], bbox=box, id=str(each.id)))
    return message


def label_info(objects: Sequence[MapObject], header: Header) -> LabelInfo:
    """The names behind the label image's values."""
    names = [VisionClass(class_id=each.id, class_name=shown_name(each)) for each in objects]
    return LabelInfo(header=header, class_map=names, threshold=0.0)


def markers(objects: Sequence[MapObject], frame: ObjectsIn) -> MarkerArray:
    """Box edges and names for RViz; the first marker deletes those of the objects that are gone."""
    array = MarkerArray(markers=[Marker(header=frame.header, action=Marker.DELETEALL)])
    for each in objects:
        red, green, blue = (float(channel) / 255.0 for channel in id_color(each.id))
        color = ColorRGBA(r=red, g=green, b=blue, a=0.4 if each.background else 1.0)
        rotation, center = frame.place(each.box.rotation, each.box.center)
        pose = pose_from_parts(center, rotation)
        corners = [Point(x=x, y=y, z=z) for x, y, z in (_BOX_CORNERS * each.box.size).tolist()]
        edges = Marker(header=frame.header, ns="boxes", id=each.id, type=Marker.LINE_LIST, pose=pose, color=color)
        edges.scale.x = 0.004
        edges.points = [corners[index] for edge in _BOX_EDGES for index in edge]
        array.markers.append(edges)
        if not each.background:
            above = pose_from_parts(center + np.array([0.0, 0.0, 0.6 * float(np.max(each.box.size)) + 0.02]), np.eye(3))
            name = Marker(
                header=frame.header, ns="names", id=each.id, type=Marker.TEXT_VIEW_FACING, pose=above, color=color
            )
            name.text, name.scale.z = _marker_text(each), 0.04
            array.markers.append(name)
    return array


def _marker_text(map_object: MapObject) -> str:
    """The name, with its confidence where it was voted for."""
    is_voted = map_object.label and map_object.label_confidence < 1
    return shown_name(map_object) + (f" {100 * map_object.label_confidence:.0f}%" if is_voted else "")


def _box_messages(objects: Sequence[MapObject], frame: ObjectsIn) -> list[BoundingBox3D]:
    """Oriented boxes, all quaternions in one go: one by one they would take most of a query's time."""
    if not objects:
        return []
    places = [frame.place(each.box.rotation, each.box.center) for each in objects]
    quaternions = Rotation.from_matrix(np.stack([rotation for rotation, _ in places])).as_quat().tolist()
    boxes = []
    for each, (_, center), (qx, qy, qz, qw) in zip(objects, places, quaternions, strict=True):
        (x, y, z), (size_x, size_y, size_z) = center.tolist(), each.box.size.tolist()
        pose = Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=qx, y=qy, z=qz, w=qw))
        boxes.append(BoundingBox3D(center=pose, size=Vector3(x=size_x, y=size_y, z=size_z)))
    return boxes
