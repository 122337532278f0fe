"""TUM RGB-D (cvg.cit.tum.de/data/datasets/rgbd-dataset/file_formats) and what follows it: ETH3D SLAM, Bonn.

rgb.txt and depth.txt list `stamp file`, groundtruth.txt the optical frame's poses by stamp; depth has 5000 units a
metre and is registered to the colour images.
"""

from __future__ import annotations

from pathlib import Path

from cgc_ros.frame import Intrinsics
from cgc_ros.sequences.base import Sequence, SequenceError
from cgc_ros.sequences.calibration import find_intrinsics
from cgc_ros.sequences.image_files import FrameFiles, images_in
from cgc_ros.sequences.posed_files import PosedFiles
from cgc_ros.sequences.text_files import find_file, numbers, read_rows
from cgc_ros.sequences.trajectory import nearest, read_tum_poses

DEPTH_UNIT = 1 / 5000
#: The data set's own calibrations of its colour cameras, by what a recording's folder is called.
_PUBLISHED = {
    "freiburg1": Intrinsics(
        640, 480, 517.3, 516.5, 318.6, 255.3, "plumb_bob", (0.2624, -0.9531, -0.0054, 0.0026, 1.1633)
    ),
    "freiburg2": Intrinsics(
        640, 480, 520.9, 521.0, 325.1, 249.7, "plumb_bob", (0.2312, -0.7849, -0.0033, -0.0001, 0.9172)
    ),
    "freiburg3": Intrinsics(640, 480, 535.4, 539.2, 320.1, 247.6),
}


def recognises(path: Path) -> bool:
    return (path / "groundtruth.txt").is_file() and ((path / "rgb.txt").is_file() or (path / "rgb").is_dir())


def read(
    path: Path,
    *,
    intrinsics: str | None = None,
    depth_unit: float | None = None,
    sync_tolerance_s: float = 0.02,
) -> Sequence:
    """Open a recording's folder. Poses are interpolated at the images' stamps.

    `intrinsics`: a calibration's file; a folder named after freiburg1, 2 or 3 needs none. `depth_unit`: metres per unit
    (1/5000). `sync_tolerance_s`: how far stamps of depth, and of poses at the ends, may be from their image's.
    """
    colors, depths = _listed(path, "rgb"), _listed(path, "depth")
    trajectory = read_tum_poses(path / "groundtruth.txt")
    depth_stamps = [stamp for stamp, _ in depths]
    images = [(stamp, name, find_file(path, name)) for stamp, name in colors]
    first = next((image for *_, image in images if image is not None), None)
    if first is None:
        raise SequenceError("missing_file", f"none of the {len(images)} images in {path / 'rgb.txt'} lies in {path}")
    published = next((camera for name, camera in _PUBLISHED.items() if name in str(path.resolve())), None)
    camera = find_intrinsics(path, first, intrinsics, published)
    posed = PosedFiles(path / "groundtruth.txt")
    if camera is published:
        posed.warnings.append("no calibration lies here: the data set's published one for this camera is used")
    for stamp, name, image in images:
        at = nearest(depth_stamps, stamp, sync_tolerance_s)
        files = None
        if image is not None:
            files = FrameFiles(image, None if at is None else find_file(path, depths[at][1]))
        posed.add(name, files, trajectory.at(stamp, sync_tolerance_s), camera, stamp_ns=round(stamp * 1e9))
    return posed.sequence(path.resolve().name, depth_scale=DEPTH_UNIT, depth_unit=depth_unit, metric_scale=True)


def _listed(path: Path, kind: str) -> list[tuple[float, str]]:
    """(stamp, file) of rgb.txt or depth.txt in order of stamps; without it, of the files in rgb/ named by stamps."""
    listing = path / f"{kind}.txt"
    if listing.is_file():
        entries = []
        for number, words in read_rows(listing):
            stamp = numbers(words[:1])
            if stamp is None or len(words) < 2:
                raise SequenceError("bad_list", f"{listing}, line {number}: expected `stamp file`, got {words}")
            entries.append((stamp[0], words[1]))
        return sorted(entries)
    files = [(numbers([file.stem]), f"{kind}/{file.name}") for file in images_in(path / kind)]
    return sorted((stamp[0], name) for stamp, name in files if stamp is not None)
