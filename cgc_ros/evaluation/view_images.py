"""Errors as pictures for people, and the files that programs read."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import cv2
import numpy as np

from cgc_ros.frame import IGNORED

_TRUTH_MISSING_COLOR = (200, 60, 60)
#: Colour error, as a share of full scale, that the error picture shows at its brightest.
ERROR_CEILING = 0.25


def error_picture(rendered: np.ndarray, recorded: np.ndarray, ignore: np.ndarray | None = None) -> np.ndarray:
    """Mean absolute colour error in inferno colours, brightest at 25% of full scale, none at ignored pixels ([H, W]
    bool). -> [H, W, 3] uint8 RGB
    """
    error = np.abs(rendered.astype(np.float32) - recorded.astype(np.float32)).mean(axis=2) / 255
    if ignore is not None:
        error[ignore] = 0.0
    return cv2.applyColorMap((np.clip(error / ERROR_CEILING, 0, 1) * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[
        ..., ::-1
    ]


def label_error_picture(
    image: np.ndarray, truth: np.ndarray, predicted: np.ndarray, matched: dict[int, int | None]
) -> np.ndarray:
    """Pixels of true instances whose predicted id is not the one matched to them, in red over a grey image.

    matched: truth id -> predicted id. -> [H, W, 3] uint8 RGB
    """
    ids, dense = np.unique(truth, return_inverse=True)
    expected = np.array([-1 if matched.get(int(i)) is None else matched[int(i)] for i in ids])[
        dense.reshape(truth.shape)
    ]
    wrong = (truth != 0) & (predicted != IGNORED) & (predicted.astype(np.int64) != expected)
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB) // 2 + 64
    grey[wrong] = _TRUTH_MISSING_COLOR
    return grey


def side_by_side(pictures: list[np.ndarray], gap: int = 4) -> np.ndarray:
    """Pictures of one height in a row on white."""
    spacer = np.full((pictures[0].shape[0], gap, 3), 255, np.uint8)
    row = [pictures[0]]
    for picture in pictures[1:]:
        row += [spacer, picture]
    return np.hstack(row)


def jpeg_uri(picture: np.ndarray, width: int, quality: int = 82) -> str:
    """A picture as a data URI, scaled down to at most `width` pixels across."""
    if picture.shape[1] > width:
        picture = cv2.resize(
            picture, (width, round(picture.shape[0] * width / picture.shape[1])), interpolation=cv2.INTER_AREA
        )
    encoded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()


def write_png(path: Path, picture: np.ndarray) -> None:
    """Write 8-bit RGB [H, W, 3] or 16-bit [H, W] as PNG; OSError where the file system refuses."""
    path = Path(path)
    encoded = cv2.imencode(".png", picture[..., ::-1] if picture.ndim == 3 else picture)[1]
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(encoded.tobytes())
    os.replace(temporary, path)


def clear_pngs(folder: Path) -> None:
    """Make a folder, or rid it of the pictures of an earlier run, whose names may differ."""
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.png"):
        stale.unlink()


def depth_millimetres(depth: np.ndarray) -> np.ndarray:
    """Depth as 16-bit millimetres, 0 unknown, as is what lies beyond 65.535 m. [H, W] metres -> [H, W] uint16"""
    millimetres = np.nan_to_num(depth.astype(np.float64) * 1000, nan=0.0, posinf=0.0, neginf=0.0).round()
    return np.where((millimetres > 0) & (millimetres <= 65535), millimetres, 0).astype(np.uint16)
