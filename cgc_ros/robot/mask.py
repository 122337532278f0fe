"""The pixels where a camera sees the robot, or might: its links drawn with a margin, less what stands in front."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np

from cgc_ros.frame import Intrinsics
from cgc_ros.rendering.silhouettes import MAX_REACH, MeshParts, draw_silhouette
from cgc_ros.robot.layout import DEFAULT_PADDING
from cgc_ros.robot.meshes import RobotShapes
from cgc_ros.view_grid import grid_for

_NEAR = 0.05  # metres along z: what is nearer is the camera's own housing
_WORKING_WIDTH = 640  # pixels: wider views are drawn at this width
_WORKING_REACH = 12.0  # pixels: views are drawn so small that links are widened by no more
_WORTH_A_LOOK = 60.0  # pixels: where the nearest corner of a link is widened by more, what is seen of it is looked at
_LOOK = 8  # how many times smaller that look is
_TO_CORNER = 0.71  # pixels: from a pixel's centre to its corner, which a smaller view's pixel stands for
_NOISE = 0.01  # of depth: metres, and as much again for every metre
_SPECK = 5  # pixels: what is narrower than this and in front of the robot is noise
_THICKNESS = 0.1  # metres: the robot's surfaces that are hidden behind those in sight
_EDGE = 4  # pixels around the robot whose colour or depth it may have a part in
_CELL = 4  # pixels: the nearest robot around a pixel is looked for in cells of this size


class RobotMask:
    """Draws a robot. Its `padding` p, in metres, widens a link at distance z by p (1 + z / 1 m), for errors of place
    and of direction, and by how far it moved lately, for errors of time. With 0 the silhouette is exact.
    """

    def __init__(self, shapes: RobotShapes, padding: float = DEFAULT_PADDING):
        self.shapes = shapes
        self.padding = padding

    def displacements(self, now: Mapping[str, np.ndarray], before: Mapping[str, np.ndarray]) -> dict[str, float]:
        """By link, how far its farthest corner moved between poses [4, 4] in one frame, metres."""
        found: dict[str, float] = {}
        for link, corners in zip(self.shapes.links, self.shapes.corners, strict=True):
            if link in now and link in before:
                change = now[link] - before[link]
                farthest = np.linalg.norm(corners @ change[:3, :3].T + change[:3, 3], axis=1).max()
                found[link] = max(found.get(link, 0.0), float(farthest))
        return found

    def mask(
        self,
        camera: Intrinsics,  # of the image as it is, lens distortion included
        camera_from_link: Mapping[str, np.ndarray],  # [4, 4] by link; links that are not there are not drawn
        depth: np.ndarray | None = None,  # [H, W] float32 metres along z, 0 = invalid
        moved: Mapping[str, float] | None = None,  # by link, metres: `displacements` over the last MOTION_NS
    ) -> np.ndarray:
        """[H, W] bool, True where the robot is, or may be.

        With depth, pixels that show something clearly nearer than the robot are not: something stands before it.
        """
        grid = grid_for(camera, _WORKING_WIDTH)
        links = self.shapes.links
        known = [part for part, link in enumerate(links) if link in camera_from_link]
        poses = np.array([camera_from_link[links[part]] for part in known]).reshape(-1, 4, 4)
        motion = np.array([(moved or {}).get(links[part], 0.0) if self.padding > 0 else 0.0 for part in known])
        corners = self.shapes.corners[known] @ poses[:, :3, :3].transpose(0, 2, 1) + poses[:, None, :3, 3]
        nearest = np.maximum(corners[..., 2].min(axis=1, initial=np.inf), _NEAR)
        view = grid.intrinsics
        focal = max(view.fx, view.fy)
        turned = focal * self.padding * _stretch(corners, view)  # pixels
        reach = focal * (self.padding + motion) / nearest + turned  # pixels, at most
        seen = _in_view(corners, view, reach)
        if not seen.any():
            return np.zeros((camera.height, camera.width), bool)
        meshes = self.shapes.meshes
        drawing = _Drawing(
            MeshParts(meshes.vertices, meshes.faces, meshes.ranges[np.array(known)[seen]]),
            poses[seen],
            focal * (self.padding + motion[seen]),
            turned,
        )
        widest = float(reach[seen].max())
        if widest > _WORTH_A_LOOK:
            widest = min(widest, drawing.widest(view))
        seen_now = drawing.draw(view, widest)
        mask = grid.to_image(_at_size(seen_now.mask, view), False)
        if depth is None:
            return mask
        nearest_around, farthest_around = (
            grid.to_image(_at_size(each, view), 0.0) for each in _around(seen_now.inverse_depth, seen_now.widest)
        )
        moved_most = float(motion[seen].max())
        world = self._in_front(mask, depth, nearest_around, moved_most)
        if self.padding > 0:
            silhouette = grid.to_image(_at_size(seen_now.inverse_depth > 0, view), False)
            world |= self._behind(mask, silhouette, depth, farthest_around, moved_most)
        return mask & ~world

    def _in_front(self, mask: np.ndarray, depth: np.ndarray, inverse: np.ndarray, moved: float) -> np.ndarray:
        """Where depth is less than the robot's, whose inverse is the largest around, by more than all errors."""
        rows, columns = _bounds(mask)
        front = np.zeros_like(mask)
        measured, robot = depth[rows, columns], inverse[rows, columns]
        shares = np.float32(1.0 - self.padding - _NOISE)  # (1 - s) z - a > d  <=>  1 - s > (d + a) / z
        margin = np.float32(self.padding + moved + _NOISE)
        nearer = (measured > 0) & ((measured + margin) * robot < shares) & (robot > 0)
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_SPECK, _SPECK))
        front[rows, columns] = cv2.morphologyEx(nearer.astype(np.uint8), cv2.MORPH_OPEN, kernel)
        return front

    def _behind(
        self, mask: np.ndarray, silhouette: np.ndarray, depth: np.ndarray, inverse: np.ndarray, moved: float
    ) -> np.ndarray:
        """Where depth beside the silhouette is more than the robot's, whose inverse is the least around: were the robot
        there, it would hide that. Not close to pixels that may show the robot, whose colour reaches over.
        """
        rows, columns = _bounds(mask)
        behind = np.zeros_like(mask)
        measured, robot = depth[rows, columns], inverse[rows, columns]
        shares = np.float32(1.0 + self.padding + _NOISE)
        margin = np.float32(self.padding + moved + _NOISE + _THICKNESS)
        farther = ((measured - margin) * robot > shares) & ~silhouette[rows, columns]
        world = (farther | ~mask[rows, columns]).astype(np.uint8)
        kernel = np.ones((2 * _EDGE + 1, 2 * _EDGE + 1), np.uint8)
        behind[rows, columns] = cv2.erode(world, kernel)
        return behind


class _Seen(NamedTuple):
    """The robot in a view, drawn small."""

    mask: np.ndarray  # [h, w] bool, the widened silhouette
    inverse_depth: np.ndarray  # [h, w] float32, 0 where there is no robot
    widest: float  # pixels: no surface was widened by more


class _Drawing(NamedTuple):
    """What is drawn, and by how much it is widened."""

    meshes: MeshParts
    camera_from_part: np.ndarray  # [P, 4, 4]
    reach: np.ndarray  # [P] pixels times metres
    offset: float  # pixels

    def widest(self, view: Intrinsics) -> float:
        """By how many pixels surfaces in sight are widened at most: a quick look at a small view with its surroundings.
        A link beside the camera may come much nearer than what is seen of it.
        """
        small = view.scaled_to(max(1, view.width // _LOOK), max(1, view.height // _LOOK))
        seen = draw_silhouette(self.meshes, self.camera_from_part, _surrounded(small, small.width // 4), near=_NEAR)
        nearest = float(seen.inverse_depth.max())
        return float(self.reach.max()) * nearest + self.offset if nearest > 0 else float("inf")

    def draw(self, view: Intrinsics, widest: float) -> _Seen:
        """The view at a size at which nothing is widened by many pixels."""
        shrink = min(1.0, _WORKING_REACH / max(widest, 1e-9))
        small = view.scaled_to(max(1, round(view.width * shrink)), max(1, round(view.height * shrink)))
        scale = small.width / view.width
        margin = int(np.ceil(min(widest * scale, MAX_REACH)))  # what is beside the view may reach into it
        drawn = draw_silhouette(
            self.meshes,
            self.camera_from_part,
            _surrounded(small, margin),
            reach=scale * self.reach,
            offset=min(MAX_REACH, scale * self.offset + (_TO_CORNER if scale < 1.0 else 0.0)),
            near=_NEAR,
        )
        inside = np.s_[margin : margin + small.height, margin : margin + small.width]
        return _Seen(drawn.mask[inside], drawn.inverse_depth[inside], scale * widest)


def _surrounded(view: Intrinsics, margin: int) -> Intrinsics:
    """The same view with so many more pixels on every side."""
    return replace(
        view,
        width=view.width + 2 * margin,
        height=view.height + 2 * margin,
        cx=view.cx + margin,
        cy=view.cy + margin,
    )


def _stretch(corners: np.ndarray, view: Intrinsics) -> float:
    """By how much more a small turn of the camera moves pixels where boxes [P, 8, 3] are than in the image's middle."""
    slopes = np.hypot(corners[..., 0], corners[..., 1]) / np.maximum(corners[..., 2], _NEAR)
    edge = np.hypot(max(view.cx, view.width - 1 - view.cx) / view.fx, max(view.cy, view.height - 1 - view.cy) / view.fy)
    return 1.0 + min(float(slopes.max(initial=0.0)), float(edge)) ** 2


def _in_view(corners: np.ndarray, view: Intrinsics, reach: np.ndarray) -> np.ndarray:
    """[P] bool: boxes with corners [P, 8, 3] in the camera's frame that may come within `reach` pixels of the view."""
    x, y, z = np.moveaxis(corners, -1, 0)
    left, right = (-0.5 - view.cx - reach) / view.fx, (view.width - 0.5 - view.cx + reach) / view.fx
    top, bottom = (-0.5 - view.cy - reach) / view.fy, (view.height - 0.5 - view.cy + reach) / view.fy
    outside = [
        z < _NEAR,
        x < left[:, None] * z,
        x > right[:, None] * z,
        y < top[:, None] * z,
        y > bottom[:, None] * z,
    ]
    return ~np.any([each.all(axis=1) for each in outside], axis=0)


def _around(inverse_depth: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """[h, w] the largest and the least inverse depth of the robot within `reach` pixels, at least; 0: none."""
    height, width = inverse_depth.shape
    rows, columns = -(-height // _CELL), -(-width // _CELL)
    padded = np.zeros((rows * _CELL, columns * _CELL), np.float32)
    padded[:height, :width] = inverse_depth
    steps = int(np.ceil(reach / _CELL))
    kernel = np.ones((2 * steps + 1, 2 * steps + 1), np.uint8)

    def largest(values: np.ndarray) -> np.ndarray:
        cells = values.reshape(rows, _CELL, -1).max(axis=1).reshape(rows, columns, _CELL).max(axis=2)
        widened = cv2.dilate(cells, kernel)
        return np.repeat(np.repeat(widened, _CELL, axis=0), _CELL, axis=1)[:height, :width]

    most = np.float32(2.0 / _NEAR)
    least = most - largest(np.where(padded > 0, most - padded, np.float32(0.0)))
    return largest(padded), np.where(least < most, least, np.float32(0.0))


def _at_size(image: np.ndarray, view: Intrinsics) -> np.ndarray:
    """On the view's pixels, each the nearest."""
    size = (view.width, view.height)
    if image.shape[::-1] == size:
        return image
    numbers = np.ascontiguousarray(image.view(np.uint8) if image.dtype == np.bool_ else image)
    return cv2.resize(numbers, size, interpolation=cv2.INTER_NEAREST_EXACT).view(image.dtype)


def _bounds(mask: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns that hold all of a mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
