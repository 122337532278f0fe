"""The vocabulary every room shares: a posed camera frame and its intrinsics (numpy only)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from cgc_ros.errors import ReasonError

#: Label-image value of pixels that belong to no object (mono16, 16-bit PNG).
UNLABELLED = 65535
#: Label-image value of pixels that are no part of the world: the robot itself, ignore masks.
IGNORED = 65534
#: Object ids, and part ids, are 1..MAX_OBJECT_ID.
MAX_OBJECT_ID = 65533


class FrameError(ReasonError, ValueError):
    """A frame that cannot be mapped."""


@dataclass(frozen=True)
class Intrinsics:
    """Pinhole intrinsics in pixels, OpenCV/ROS convention: the centre of the first pixel is at (0, 0)."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion_model: str = "none"  # none | plumb_bob | rational_polynomial | equidistant
    distortion: tuple[float, ...] = ()  # coefficients in the order of sensor_msgs/CameraInfo.d

    def matrix(self) -> np.ndarray:
        """K, [3, 3] float64."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    def scaled_to(self, width: int, height: int) -> Intrinsics:
        """The same view sampled on a grid of another size (pixel edges stay on pixel edges)."""
        sx, sy = width / self.width, height / self.height
        return replace(
            self,
            width=width,
            height=height,
            fx=self.fx * sx,
            fy=self.fy * sy,
            cx=(self.cx + 0.5) * sx - 0.5,
            cy=(self.cy + 0.5) * sy - 0.5,
        )

    def project(self, points: np.ndarray, world_from_camera: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where points [P, 3] of the world land from a pose [4, 4]: columns and rows [P], pixels, the first one's
        centre at 0, and depth [P] along the optical axis. Behind the camera (depth <= 0) pixels mean nothing, but are
        finite.
        """
        local = (points - world_from_camera[:3, 3]) @ world_from_camera[:3, :3]
        depth = local[:, 2]
        ahead = np.maximum(depth, 1e-6)
        return self.fx * local[:, 0] / ahead + self.cx, self.fy * local[:, 1] / ahead + self.cy, depth

    def lift(
        self, columns: np.ndarray, rows: np.ndarray, depth: np.ndarray, world_from_camera: np.ndarray
    ) -> np.ndarray:
        """Points [P, 3] of the world that a pose [4, 4] sees at pixels, columns and rows [P], at a `depth` [P]: the
        inverse of `project`.
        """
        local = np.stack([(columns - self.cx) / self.fx * depth, (rows - self.cy) / self.fy * depth, depth], axis=1)
        return local @ world_from_camera[:3, :3].T + world_from_camera[:3, 3]


@dataclass(frozen=True)
class Frame:
    """One posed RGB frame, as every source of frames (a recording, the ROS node) hands it to the mapper.

    Arrays are not copied and must not be written to afterwards.
    """

    stamp_ns: int  # time of exposure, nanoseconds
    image: np.ndarray  # [H, W, 3] uint8, RGB
    world_from_camera: np.ndarray  # [4, 4] float64, optical frame (x right, y down, z forward), metres
    intrinsics: Intrinsics
    depth: np.ndarray | None = None  # [H, W] float32, metres along z, 0 = invalid
    masks: np.ndarray | None = None  # [H, W] int32 ids that mean nothing outside this frame, 0 = no mask
    name: str = ""  # for reports; a recording's image name without its suffix
    metadata: dict = field(default_factory=dict)
    ignore: np.ndarray | None = None  # [H, W] bool, True = no part of the world, or no longer true

    def check(self) -> None:
        """Raise FrameError where the frame cannot be mapped: shapes that disagree, a pose that is not rigid."""
        height, width = self.image.shape[:2] if self.image.ndim == 3 else (-1, -1)
        if self.image.dtype != np.uint8 or self.image.ndim != 3 or self.image.shape[2] != 3:
            raise FrameError(
                "bad_image", f"image must be [H, W, 3] uint8 RGB, got {self.image.shape} {self.image.dtype}"
            )
        if (width, height) != (self.intrinsics.width, self.intrinsics.height):
            raise FrameError(
                "camera_info_mismatch",
                f"intrinsics are for {self.intrinsics.width}x{self.intrinsics.height}, the image is {width}x{height}: "
                "use the calibration of this very stream",
            )
        if not (self.intrinsics.fx > 0 and self.intrinsics.fy > 0):
            raise FrameError(
                "bad_intrinsics",
                f"focal lengths must be positive, got fx={self.intrinsics.fx}, fy={self.intrinsics.fy}: "
                "calibrate the camera, or publish its calibration",
            )
        if self.depth is not None and self.depth.shape != (height, width):
            raise FrameError(
                "depth_mismatch",
                f"depth is {self.depth.shape[1]}x{self.depth.shape[0]}, the image {width}x{height}: "
                "use depth registered to the colour camera",
            )
        if self.masks is not None and self.masks.shape != (height, width):
            raise FrameError(
                "masks_mismatch", f"masks are {self.masks.shape[1]}x{self.masks.shape[0]}, the image {width}x{height}"
            )
        if self.ignore is not None:
            check_ignore(self.ignore, height, width)
        check_rigid(self.world_from_camera)


def check_ignore(ignore: np.ndarray, height: int, width: int) -> None:
    """Raise FrameError unless `ignore` is [height, width] bool."""
    if ignore.shape != (height, width) or ignore.dtype != np.bool_:
        raise FrameError(
            "ignore_mismatch",
            f"ignored pixels are {ignore.shape} {ignore.dtype}, the image {width}x{height}: "
            "use a mask [H, W] bool of the image's size",
        )


def check_rigid(pose: np.ndarray) -> None:
    """Raise FrameError unless `pose` is a finite [4, 4] rigid transform (rotation orthonormal to 1e-3)."""
    if pose.shape != (4, 4) or not np.isfinite(pose).all():
        raise FrameError(
            "bad_pose",
            f"pose must be a finite [4, 4] matrix, got {np.array2string(pose, precision=3)}: check the localisation",
        )
    rotation = pose[:3, :3]
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-3 or np.linalg.det(rotation) < 0:
        raise FrameError(
            "bad_pose",
            f"pose's rotation is not orthonormal: {np.array2string(rotation, precision=3)}; normalise its quaternion",
        )
