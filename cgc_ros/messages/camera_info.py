"""sensor_msgs/CameraInfo to Intrinsics, for images as they come: binned, cut, scaled, rectified."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cgc_ros.frame import FrameError, Intrinsics
from cgc_ros.image_size import same_aspect
from cgc_ros.undistortion import named_distortion


@dataclass(frozen=True)
class CameraCalibration:
    """What a CameraInfo says about the images it comes with."""

    full: Intrinsics  # of the whole sensor image as it was calibrated
    binning: tuple[int, int] = (1, 1)
    region: tuple[int, int, int, int] = (0, 0, 0, 0)  # of the full image: left, top, width, height; no width: all
    notes: tuple[str, ...] = ()  # what was not as it should be, and how it is read

    @property
    def delivered(self) -> Intrinsics:
        """Of the image that the driver says it sends: cut to the region, then binned."""
        return _binned(_cut(self.full, self.region), self.binning)

    def fits(self, width: int, height: int) -> bool:
        """Whether an image of this size is one that the message describes, without scaling."""
        return any((each.width, each.height) == (width, height) for each in self._views())

    def for_image(self, width: int, height: int) -> tuple[Intrinsics, str]:
        """Intrinsics of an image of this size, and a note where they are scaled to it ("" where not).

        An image that was not binned or not cut, whatever the message says, is believed. One in the same proportions is
        the delivered one, scaled. FrameError (camera_info_mismatch) for any other.
        """
        for view in self._views():
            if (view.width, view.height) == (width, height):
                return view, ""
        delivered = self.delivered
        if same_aspect((width, height), (delivered.width, delivered.height)):
            return delivered.scaled_to(width, height), (
                f"camera_info is for {delivered.width}x{delivered.height}, the image is {width}x{height}, in the same "
                "proportions: the calibration is scaled to it"
            )
        raise FrameError(
            "camera_info_mismatch",
            f"camera_info is for {delivered.width}x{delivered.height}, the image is {width}x{height}: "
            "use the calibration of this very stream",
        )

    def _views(self) -> tuple[Intrinsics, ...]:
        """What an image may be, the likeliest first."""
        cut = _cut(self.full, self.region)
        return _binned(cut, self.binning), cut, self.full, _binned(self.full, self.binning)


def calibration_of(info, rectified: bool = False) -> CameraCalibration:
    """The calibration in a CameraInfo.

    `rectified`: the image is image_proc's output, described by P without distortion; otherwise K and D describe it.
    Where only one of K and P is there, it is used. The camera_info's frame is taken as the camera's own (a baseline in
    P is not applied). Raises FrameError: bad_intrinsics, bad_distortion, unknown_distortion.
    """
    matrix, source, notes = _matrix(info, rectified)
    width, height = int(info.width), int(info.height)
    fx, fy, cx, cy = (float(matrix[cell]) for cell in ((0, 0), (1, 1), (0, 2), (1, 2)))
    full = Intrinsics(width, height, fx, fy, cx, cy)
    if source == "K" and not rectified:
        full, note = _with_distortion(full, info)
        notes += (note,) if note else ()
    roi = info.roi
    region = (int(roi.x_offset), int(roi.y_offset), int(roi.width), int(roi.height))
    binning = (max(1, int(info.binning_x)), max(1, int(info.binning_y)))
    calibration = CameraCalibration(full, binning, region, notes)
    delivered = calibration.delivered
    if min(width, height, delivered.width, delivered.height) <= 0:
        raise FrameError(
            "bad_intrinsics",
            f"camera_info says the image is {width}x{height}, {delivered.width}x{delivered.height} after region and "
            "binning: set width, height, roi and binning in the calibration",
        )
    return calibration


def intrinsics_from_camera_info(info, rectified: bool = False) -> Intrinsics:
    """Intrinsics of the image that the driver says it sends; errors as `calibration_of`."""
    return calibration_of(info, rectified).delivered


def _matrix(info, rectified: bool) -> tuple[np.ndarray, str, tuple[str, ...]]:
    """The camera matrix to use, [3, 3] or [3, 4], whether it is K or P, and what is to be said about that."""
    matrices = {
        "K": np.asarray(_field(info, "k"), dtype=np.float64).reshape(3, 3),
        "P": np.asarray(_field(info, "p"), dtype=np.float64).reshape(3, 4),
    }
    wanted, other = ("P", "K") if rectified else ("K", "P")
    if _is_calibrated(matrices[wanted]):
        return matrices[wanted], wanted, ()
    if _is_calibrated(matrices[other]):
        note = f"camera_info has no {wanted}: {other} is used, without distortion"
        return matrices[other], other, (note,)
    focal = ", ".join(f"{matrices[name][0, 0]:g} and {matrices[name][1, 1]:g} in {name}" for name in (wanted, other))
    raise FrameError(
        "bad_intrinsics",
        f"camera_info has focal lengths {focal}: an uncalibrated camera; calibrate it "
        "(camera_calibration) or load its calibration in the driver",
    )


def _is_calibrated(matrix: np.ndarray) -> bool:
    return bool(np.isfinite(matrix).all() and matrix[0, 0] > 0 and matrix[1, 1] > 0)


def _field(info, name: str):
    """ROS 1 writes D, K, R and P in capitals."""
    return getattr(info, name, None) if hasattr(info, name) else getattr(info, name.upper())


def _with_distortion(intrinsics: Intrinsics, info) -> tuple[Intrinsics, str]:
    coefficients = tuple(float(value) for value in _field(info, "d"))
    distorted = replace(intrinsics, distortion_model=info.distortion_model[:40], distortion=coefficients)
    model, coefficients, note = named_distortion(distorted)
    return replace(intrinsics, distortion_model=model, distortion=coefficients), note


def _cut(full: Intrinsics, region: tuple[int, int, int, int]) -> Intrinsics:
    left, top, width, height = region
    return replace(full, width=width or full.width, height=height or full.height, cx=full.cx - left, cy=full.cy - top)


def _binned(view: Intrinsics, binning: tuple[int, int]) -> Intrinsics:
    """Pixel edges stay on pixel edges: a binned pixel's centre lies between those that it merges."""
    x, y = binning
    return replace(
        view,
        width=view.width // x,
        height=view.height // y,
        fx=view.fx / x,
        fy=view.fy / y,
        cx=(view.cx + 0.5) / x - 0.5,
        cy=(view.cy + 0.5) / y - 0.5,
    )
