"""A correction of what is given: intrinsics, poses' time and depth's scale."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np

from cgc_ros.calibration.views import Trajectory
from cgc_ros.frame import Intrinsics

#: Powers of the focal factor that distortion coefficients grow by where the distortion in pixels is to stay the same.
_POWERS = {
    "plumb_bob": (2, 4, 1, 1, 6),
    "rational_polynomial": (2, 4, 1, 1, 6, 2, 4, 6, 1, 3, 1, 3, 0, 0),
}


@dataclass(frozen=True)
class Recalibration:
    """What to change; the defaults change nothing."""

    focal_factor: float = 1.0
    centre_shift: tuple[float, float] = (0.0, 0.0)  # of the principal point, in shares of the given focal lengths
    time_offset_s: float = 0.0  # images were taken so much later than their stamps say, by the poses' clock
    depth_factor: float = 1.0

    @staticmethod
    def of(record: dict) -> Recalibration:
        """What `to_json` gave; KeyError, TypeError or ValueError where it is something else."""
        x, y = map(float, record["centre_shift"])
        numbers = (float(record[name]) for name in ("focal_factor", "time_offset_s", "depth_factor"))
        focal, offset, depth = numbers
        return Recalibration(focal, (x, y), offset, depth)

    def to_json(self) -> dict:
        """For metrics.json."""
        return asdict(self)

    @property
    def is_none(self) -> bool:
        """Whether it changes nothing."""
        return self == Recalibration()

    def camera(self, given: Intrinsics) -> Intrinsics:
        """The camera meant by one that is given with this fault."""
        powers = _POWERS.get(given.distortion_model, (0,) * len(given.distortion))
        scaled = (value * self.focal_factor**power for value, power in zip(given.distortion, powers, strict=False))
        return replace(
            given,
            fx=given.fx * self.focal_factor,
            fy=given.fy * self.focal_factor,
            cx=given.cx + self.centre_shift[0] * given.fx,
            cy=given.cy + self.centre_shift[1] * given.fy,
            distortion=tuple(scaled),
        )

    def poses(self, stamps_s: np.ndarray, poses: np.ndarray) -> np.ndarray:
        """[N, 4, 4]: where the camera was when the images of `stamps_s` [N] were really taken."""
        if self.time_offset_s == 0.0:
            return poses
        return Trajectory(stamps_s, poses).at(stamps_s + self.time_offset_s)
