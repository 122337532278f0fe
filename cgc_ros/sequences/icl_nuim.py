"""ICL-NUIM in its TUM-compatible form (doc.ic.ac.uk/~ahanda/VaFRIC/iclnuim.html): rgb/N.png, depth/N.png and
*.gt.freiburg, whose first column is N.

The pictures were ray-traced with y up: the data set's fy is -480. Camera and world are mirrored here together,
M pose M with M = diag(1, -1, 1), which gives optical axes and a right-handed world.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cgc_ros.frame import Intrinsics
from cgc_ros.sequences.base import Sequence, SequenceError
from cgc_ros.sequences.calibration import find_intrinsics
from cgc_ros.sequences.image_files import FrameFiles, beside, images_in
from cgc_ros.sequences.posed_files import PosedFiles
from cgc_ros.sequences.trajectory import read_tum_poses
from cgc_ros.sequences.tum import DEPTH_UNIT

CAMERA = Intrinsics(640, 480, 481.20, 480.00, 319.50, 239.50)
_MIRROR = np.outer([1.0, -1.0, 1.0, 1.0], [1.0, -1.0, 1.0, 1.0])


def recognises(path: Path) -> bool:
    return (path / "rgb").is_dir() and any(path.glob("*.gt.freiburg"))


def read(
    path: Path, *, intrinsics: str | None = None, depth_unit: float | None = None, rate_hz: float = 30.0
) -> Sequence:
    """Open a recording's folder. `intrinsics`: a calibration's file instead of the data set's own; `depth_unit`: metres
    per unit (1/5000); `rate_hz` makes the stamps.
    """
    file = sorted(path.glob("*.gt.freiburg"))[0]
    trajectory = read_tum_poses(file)
    poses = {round(stamp): pose for stamp, pose in zip(trajectory.stamps, trajectory.poses, strict=True)}
    images = [image for image in images_in(path / "rgb") if image.stem.isdigit()]
    if not images:
        raise SequenceError("empty", f"{path / 'rgb'} has no images named by numbers: unpack the recording there")
    camera = find_intrinsics(path, images[0], intrinsics, CAMERA)
    posed = PosedFiles(file, rate_hz)
    for image in images:
        number = int(image.stem)
        pose = poses.get(number)
        posed.add(
            image.name,
            FrameFiles(image, beside(path / "depth", image.name)),
            None if pose is None else pose * _MIRROR,
            camera,
            stamp_ns=round(number / rate_hz * 1e9),
        )
    return posed.sequence(path.resolve().name, depth_scale=DEPTH_UNIT, depth_unit=depth_unit, metric_scale=True)
