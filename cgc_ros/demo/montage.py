"""What the demo leaves to look at: input, render, overlay, objects, and one montage of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont
from scipy.spatial import cKDTree

from cgc_ros.demo.cloud_view import Viewpoint, draw_points, viewpoint_around
from cgc_ros.palette import id_color

_PANEL = (1280, 960)  # drawn at this size, shown at half of it
_FAR = 3.0  # times the median distance or size: left out when the viewpoint is chosen
_CAPTION = 34  # pixels
_INK = (34, 34, 34)


@dataclass(frozen=True)
class DrawnObject:
    """One object as the pictures need it."""

    id: int
    name: str
    center: np.ndarray  # [3] map frame, metres
    size: np.ndarray  # [3]
    points: np.ndarray  # [P, 3]
    colors: np.ndarray  # [P, 3] uint8


def write_pictures(
    folder: Path,
    image: np.ndarray,
    render: np.ndarray,
    overlay: np.ndarray,
    objects: list[DrawnObject],
    seen_from: np.ndarray,
) -> dict[str, Path]:
    """input.png, render.png, overlay.png, objects.png and montage.png.

    Pictures are [H, W, 3] uint8 RGB; `seen_from` [3], metres, is where the camera stood.
    """
    natural, by_object = draw_objects(objects, seen_from)
    pictures = {
        "input": image,
        "render": render,
        "overlay": overlay,
        "objects": np.hstack([natural, by_object]),
        "montage": _montage(
            [
                (image, "camera image"),
                (render, "the map from the same place"),
                (overlay, "lasting objects, from the same place"),
                (by_object, f"{len(objects)} object clouds, from elsewhere"),
            ]
        ),
    }
    paths = {}
    for name, picture in pictures.items():
        paths[name] = folder / f"{name}.png"
        cv2.imwrite(str(paths[name]), cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2BGR))
    return paths


def draw_objects(objects: list[DrawnObject], seen_from: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The clouds in their own colours and in one colour per object, from the same viewpoint, [H, W, 3] uint8 each."""
    if not objects:
        empty = np.full((_PANEL[1] // 2, _PANEL[0] // 2, 3), 246, np.uint8)
        return empty, empty
    points = np.concatenate([each.points for each in objects]).astype(np.float64)
    natural = np.concatenate([each.colors for each in objects])
    by_object = np.concatenate(
        [np.broadcast_to(np.array(id_color(each.id), np.uint8), each.points.shape) for each in objects]
    )
    up = np.array([0.0, 0.0, 1.0])
    view = viewpoint_around(_gathered(objects), seen_from, up, _PANEL)
    spacing = np.concatenate([_spacing(each.points) for each in objects])
    half = (_PANEL[0] // 2, _PANEL[1] // 2)
    first = cv2.resize(draw_points(view, points, natural, spacing), half, interpolation=cv2.INTER_AREA)
    tinted = np.rint(0.35 * natural + 0.65 * by_object).astype(np.uint8)
    second = cv2.resize(draw_points(view, points, tinted, spacing), half, interpolation=cv2.INTER_AREA)
    return first, _with_names(second, view, objects)


def _gathered(objects: list[DrawnObject]) -> np.ndarray:
    """Points [P, 3] of the objects that stand together: one far away or as large as a room would make the rest tiny."""
    centers = np.stack([each.center for each in objects])
    offsets = np.linalg.norm(centers - np.median(centers, axis=0), axis=1)
    sizes = np.array([each.size.max() for each in objects])
    near = (offsets <= _FAR * np.median(offsets)) & (sizes <= _FAR * np.median(sizes))
    kept = [each.points for each, is_near in zip(objects, near, strict=True) if is_near]
    return np.concatenate(kept or [each.points for each in objects]).astype(np.float64)


def _spacing(points: np.ndarray) -> np.ndarray:
    """Distance of each point [P, 3] to its neighbours, metres, not above thrice what is usual in its cloud; [P]."""
    if len(points) < 5:
        return np.full(len(points), 0.005)
    distances = cKDTree(points).query(points, k=5)[0][:, 4]
    return np.minimum(distances, 3.0 * np.median(distances))


def _with_names(picture: np.ndarray, view: Viewpoint, objects: list[DrawnObject]) -> np.ndarray:
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    font = _font(13)
    for each in sorted(objects, key=lambda thing: view.project(thing.center[None])[1][0], reverse=True):
        top = each.center + np.array([0.0, 0.0, 0.55 * each.size[2]])
        ((u, v),) = view.project(top[None])[0] / 2
        draw.text((u, v - 6), each.name, fill=_INK, font=font, anchor="ms", stroke_width=2, stroke_fill=(255, 255, 255))
    return np.asarray(canvas)


def _montage(panels: list[tuple[np.ndarray, str]]) -> np.ndarray:
    """Two columns with captions."""
    height, width = panels[0][0].shape[:2]
    tiles = []
    for picture, caption in panels:
        tile = Image.new("RGB", (width, height + _CAPTION), (255, 255, 255))
        tile.paste(Image.fromarray(_fitted(picture, width, height)), (0, _CAPTION))
        ImageDraw.Draw(tile).text((4, _CAPTION / 2), caption, fill=_INK, font=_font(17), anchor="lm")
        tiles.append(np.asarray(tile))
    gap = np.full((height + _CAPTION, 8, 3), 255, np.uint8)
    rows = [np.hstack([tiles[index], gap, tiles[index + 1]]) for index in range(0, len(tiles), 2)]
    return np.vstack(rows)


def _fitted(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resized to fit, on a plain ground."""
    scale = min(width / picture.shape[1], height / picture.shape[0])
    size = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
    resized = cv2.resize(np.ascontiguousarray(picture), size, interpolation=cv2.INTER_AREA)
    ground = np.full((height, width, 3), 246, np.uint8)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    ground[top : top + size[1], left : left + size[0]] = resized
    return ground


def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(font_manager.findfont("DejaVu Sans"), size)
