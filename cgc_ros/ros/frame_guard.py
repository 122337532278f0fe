"""What a posed frame can tell about itself: black, white, blurred, frozen, jumped, depth in the wrong unit. Free of
ROS.
"""

from __future__ import annotations

import zlib
from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np

from cgc_ros.frame import Frame, FrameError
from cgc_ros.ignored_pixels import continued

_GRID = 8  # every 8th row and column is looked at
_BLACK, _WHITE = 12, 244  # grey level that 99% of a black (white) frame stays below (above)
_BLUR_HISTORY = 60  # frames whose sharpness the next one is compared with
_BLUR_MIN_HISTORY = 15
_NEAR_M, _FAR_M = 0.02, 200.0  # a median depth outside is another unit than metres


@dataclass(frozen=True)
class GuardSettings:
    """Limits of what is handed to the mapper."""

    min_sharpness: float = 0.25  # of the recent frames' median; 0 maps blurred frames too
    pose_jump_m: float = 1.0  # a larger move between two frames at most `jump_window_s` apart is a jump; 0: never
    jump_window_s: float = 1.0
    jump_confirmations: int = 3  # frames that must agree with the new place before mapping goes on there
    moved_m: float = 0.02  # the camera moved: an unchanged picture is then a frozen one
    moved_deg: float = 1.0


class FrameGuard:
    """Keeps frames away from the mapper that would spoil the map. Not thread-safe: one caller.

    `check` raises FrameError with a reason that is a fault's name: black_frames, white_frames, blurred_frames,
    frozen_frames, pose_jump. `check_depth` does so for depth: depth_mismatch, depth_unit, depth_invalid.
    """

    def __init__(self, settings: GuardSettings | None = None):
        self.settings = settings or GuardSettings()
        self.clear()

    def clear(self) -> None:
        """Forget the past: the clock jumped, or the map was reset."""
        self._sharpness: deque[float] = deque(maxlen=_BLUR_HISTORY)
        self._picture: tuple[int, np.ndarray] | None = None  # checksum of the last new picture, and its pose
        self._last: tuple[int, np.ndarray] | None = None  # stamp and pose
        self._unconfirmed = 0

    def check(self, frame: Frame) -> None:
        """Raise FrameError where the frame must not be mapped."""
        last, self._last = self._last, (frame.stamp_ns, frame.world_from_camera)
        self._check_jump(frame, last)
        gray = cv2.cvtColor(np.ascontiguousarray(frame.image[::_GRID, ::_GRID]), cv2.COLOR_RGB2GRAY)
        if frame.ignore is not None:
            gray = gray[~frame.ignore[::_GRID, ::_GRID]]
            if (
                gray.size == 0
            ):  # hardly anything of the world is in view: that it is mapped or not is the mapper's to say
                return
        dark, bright = np.percentile(gray, (1, 99))
        if bright < _BLACK:
            raise FrameError("black_frames", f"99% of the image is darker than {_BLACK} of 255")
        if dark > _WHITE:
            raise FrameError("white_frames", f"99% of the image is brighter than {_WHITE} of 255")
        self._check_frozen(frame)
        self._check_blur(frame)

    def check_depth(self, depth: np.ndarray, image_shape: tuple[int, int], ignore: np.ndarray | None = None) -> None:
        """Raise FrameError where this depth [H, W] (metres, 0 invalid) must not be used; of ignored pixels ([H, W]
        bool) nothing is asked.
        """
        if depth.shape != image_shape:
            raise FrameError(
                "depth_mismatch",
                f"depth is {depth.shape[1]}x{depth.shape[0]}, the image {image_shape[1]}x{image_shape[0]}",
            )
        valid = depth[::_GRID, ::_GRID]
        if ignore is not None:
            valid = valid[~ignore[::_GRID, ::_GRID]]
            if valid.size == 0:
                return
        valid = valid[valid > 0]
        if valid.size == 0:
            raise FrameError("depth_invalid", "no pixel of the depth image is valid")
        median = float(np.median(valid))
        if not _NEAR_M <= median <= _FAR_M:
            raise FrameError("depth_unit", f"median depth is {median:.4g} m, which no room has")

    def _check_jump(self, frame: Frame, last: tuple[int, np.ndarray] | None) -> None:
        gap_s = abs(frame.stamp_ns - last[0]) * 1e-9 if last else np.inf
        if last is None or self.settings.pose_jump_m <= 0 or gap_s > self.settings.jump_window_s:
            self._unconfirmed = 0
            return
        moved, _ = _motion(last[1], frame.world_from_camera)
        if moved > self.settings.pose_jump_m:
            self._unconfirmed = self.settings.jump_confirmations
            raise FrameError("pose_jump", f"the camera moved {moved:.2f} m within {gap_s:.2f} s")
        if self._unconfirmed > 0:
            self._unconfirmed -= 1
            raise FrameError("pose_jump", "waiting for the poses after a jump to agree with each other")

    def _check_frozen(self, frame: Frame) -> None:
        checksum = zlib.crc32(np.ascontiguousarray(frame.image[::_GRID, ::_GRID]).data)
        if self._picture is None or self._picture[0] != checksum:
            self._picture = (checksum, frame.world_from_camera)
            return
        distance, angle = _motion(self._picture[1], frame.world_from_camera)
        if distance > self.settings.moved_m or angle > self.settings.moved_deg:
            raise FrameError(
                "frozen_frames",
                f"the same picture again after the camera moved {distance:.3f} m and {angle:.1f} degrees",
            )

    def _check_blur(self, frame: Frame) -> None:
        sharpness = _sharpness(continued(frame.image, frame.ignore))
        usual = float(np.median(self._sharpness)) if len(self._sharpness) >= _BLUR_MIN_HISTORY else 0.0
        self._sharpness.append(sharpness)  # blurred ones too: what stays so becomes the usual
        if sharpness < self.settings.min_sharpness * usual:
            raise FrameError("blurred_frames", f"sharpness is {sharpness / usual:.0%} of the recent frames'")


def _sharpness(image: np.ndarray) -> float:
    """Fine detail relative to coarse detail of the same image: falls with blur, and hardly depends on what is in view.

    A plain wall has little of both; blur removes the fine only. Variance of the Laplacian at half and at an eighth of
    the size.
    """
    gray = cv2.cvtColor(cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    coarse = cv2.resize(gray, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(gray, cv2.CV_16S).var() / (cv2.Laplacian(coarse, cv2.CV_16S).var() + 1.0))


def _motion(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Distance in metres and angle in degrees between two [4, 4] poses."""
    turn = first[:3, :3].T @ second[:3, :3]
    angle = np.degrees(np.arccos(np.clip((np.trace(turn) - 1.0) / 2.0, -1.0, 1.0)))
    return float(np.linalg.norm(first[:3, 3] - second[:3, 3])), float(angle)
