"""Record3D: an exported "EXR + RGB" folder (metadata.json, rgb/N.jpg, depth/N.exr) or an unzipped .r3d (metadata,
rgbd/N.jpg, rgbd/N.depth).

metadata holds K column by column and `poses` as qx qy qz qw tx ty tz of ARKit's camera (y up, z backward); depth is in
metres.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from cgc_ros.frame import Intrinsics
from cgc_ros.sequences.base import Sequence, SequenceError
from cgc_ros.sequences.calibration import focals_and_center, pinhole
from cgc_ros.sequences.depth_files import metric_depth
from cgc_ros.sequences.image_files import FileSequence, FrameFiles, images_in
from cgc_ros.sequences.posed_files import PosedFiles
from cgc_ros.sequences.poses import OPENGL_AXES, quaternion_pose
from cgc_ros.sequences.text_files import read_json

_LAYOUTS = (("metadata.json", "rgb", "depth"), ("metadata", "rgbd", "rgbd"), ("metadata.json", "rgbd", "rgbd"))
_DEPTH_SUFFIXES = (".exr", ".depth", ".png", ".npy")
_RATE_HZ = 60.0


def recognises(path: Path) -> bool:
    return _layout(path) is not None


def read(path: Path, *, depth_unit: float | None = None) -> Sequence:
    """Open an exported folder. `depth_unit`: metres per unit of the depth files (1)."""
    metadata_file, colors, depths = _layout(path) or (path / "metadata.json", path / "rgb", path / "depth")
    metadata = read_json(metadata_file)
    poses, coefficients = (metadata.get(key) or [] for key in ("poses", "perFrameIntrinsicCoeffs"))
    stamps = metadata.get("frameTimestamps") or []
    try:
        stamps, rate_hz = [float(stamp) for stamp in stamps], float(metadata.get("fps") or _RATE_HZ)
    except (TypeError, ValueError) as error:
        raise SequenceError("bad_list", f"{metadata_file}: frameTimestamps and fps must be numbers: {error}") from error
    if not isinstance(poses, list) or not poses:
        raise SequenceError("bad_poses", f"{metadata_file} has no poses: only videos of the LiDAR camera have them")
    camera = _intrinsics(metadata, metadata_file)
    posed = PosedFiles(metadata_file, rate_hz)
    for image in images_in(colors):
        if not image.stem.isdigit():
            continue
        number = int(image.stem)
        depth = next((file for suffix in _DEPTH_SUFFIXES if (file := depths / (image.stem + suffix)).is_file()), None)
        stamp = stamps[number] if number < len(stamps) else number / rate_hz
        posed.add(
            image.name,
            FrameFiles(image, depth),
            _pose(poses[number]) if number < len(poses) else None,
            partial(_own_intrinsics, camera, coefficients, number, metadata_file),
            stamp_ns=round(stamp * 1e9),
        )
    size = (int(metadata.get("dh") or 0), int(metadata.get("dw") or 0))
    folder = colors.parent.resolve()
    name = folder.parent.name if folder.name == "EXR_RGBD" else folder.name
    return posed.sequence(
        name,
        sequence=lambda *frames, **options: _Record3DSequence(size, *frames, **options),
        depth_unit=depth_unit,
        metric_scale=True,
    )


class _Record3DSequence(FileSequence):
    """`depth_size`: height, width of .depth files, which do not say it; zeros where unknown."""

    def __init__(self, depth_size: tuple[int, int], *arguments, **options):
        super().__init__(*arguments, **options)
        self._depth_size = depth_size

    def load_depth(self, index: int) -> np.ndarray | None:
        path = self.files[index].depth
        if path is None or path.suffix != ".depth":
            return super().load_depth(index)
        return metric_depth(_read_lzfse(path, self._depth_size), path, *self.depth_scales)


def _layout(path: Path) -> tuple[Path, Path, Path] | None:
    """The metadata's file and the folders of colour and depth."""
    for root in (path, path / "EXR_RGBD"):
        for metadata, colors, depths in _LAYOUTS:
            if (root / metadata).is_file() and (root / colors).is_dir():
                return root / metadata, root / colors, root / depths
    return None


def _intrinsics(metadata: dict, file: Path) -> Intrinsics:
    try:
        matrix = np.array(metadata["K"], dtype=np.float64).reshape(3, 3).T
        size = (int(metadata["w"]), int(metadata["h"]))
    except (KeyError, TypeError, ValueError) as error:
        raise SequenceError("bad_intrinsics", f"{file} must hold w, h and the nine numbers of K: {error!r}") from error
    return pinhole(size, *focals_and_center(matrix), file)


def _own_intrinsics(camera: Intrinsics, coefficients: list, number: int, file: Path) -> Intrinsics:
    """Of one frame, whose focus may have moved; `camera` where the metadata does not list them."""
    if number >= len(coefficients):
        return camera
    try:
        fx, fy, cx, cy = map(float, coefficients[number][:4])
    except (TypeError, ValueError) as error:
        raise SequenceError(
            "bad_intrinsics",
            f"{file}: perFrameIntrinsicCoeffs[{number}] is {coefficients[number]!r}, not fx, fy, cx and cy",
        ) from error
    return pinhole((camera.width, camera.height), fx, fy, cx, cy, file)


def _pose(values) -> np.ndarray:
    try:
        x, y, z, w, *translation = map(float, values)
    except (TypeError, ValueError):
        return np.empty((0, 0))
    if len(translation) != 3:
        return np.empty((0, 0))
    return quaternion_pose(translation, (x, y, z, w)) * OPENGL_AXES


def _read_lzfse(path: Path, size: tuple[int, int]) -> np.ndarray:
    """float32, compressed by LZFSE unless its size says that it is not."""
    data = path.read_bytes()
    count = 4 * size[0] * size[1]
    if len(data) != count:
        try:
            import liblzfse
        except ImportError as error:
            raise SequenceError("missing_package", f"{path} needs pyliblzfse: pip install pyliblzfse") from error
        try:
            data = liblzfse.decompress(data)
        except liblzfse.error as error:
            raise SequenceError("bad_depth", f"{path} cannot be decompressed ({error}): export it again") from error
    if count == 0 or len(data) != count:
        raise SequenceError("bad_depth", f"{path} holds {len(data)} bytes, metadata's dh x dw are {size[0]}x{size[1]}")
    return np.frombuffer(data, "<f4").reshape(size)
