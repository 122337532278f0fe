"""Lens distortion removed once per frame, by maps that are computed once per calibration (numpy and OpenCV only).

The undistorted view keeps the size, the principal point and the pixel aspect of the camera; its focal length is the
shortest at which every pixel still has a source, so that no black border ever reaches the map.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np

from cgc_ros.frame import Frame, FrameError, Intrinsics

#: Numbers of coefficients that OpenCV's models have.
_COUNTS = {
    "plumb_bob": (4, 5),  # k1 k2 p1 p2 [k3]
    "rational_polynomial": (8, 12, 14),  # k1 k2 p1 p2 k3 k4 k5 k6 [s1..s4 [tau_x tau_y]]
    "equidistant": (4,),  # k1 k2 k3 k4 (Kannala and Brandt)
}
#: Names in sensor_msgs/CameraInfo and elsewhere -> ours.
_NAMES = {
    "": "none",
    "none": "none",
    "pinhole": "none",
    "plumb_bob": "plumb_bob",
    "radtan": "plumb_bob",
    "brown_conrady": "plumb_bob",
    "rational_polynomial": "rational_polynomial",
    "equidistant": "equidistant",
    "fisheye": "equidistant",
    "kannala_brandt": "equidistant",
    "kannala_brandt4": "equidistant",
}
_FEWEST = 4  # coefficients: fewer do not tell which they are
_MAX_HALF_ANGLE_DEG = 75.0  # a pinhole image of more than 150 degrees is mostly stretched corners
_ZOOM_RANGE = (0.5, 8.0)  # of the focal length, searched for the widest view without empty pixels


def named_distortion(intrinsics: Intrinsics) -> tuple[str, tuple[float, ...], str]:
    """The distortion model by its canonical name (none, plumb_bob, rational_polynomial or equidistant), as many
    coefficients as OpenCV's has, and a note where another model than the named one is meant ("" where not).

    Zeros behind the coefficients change nothing; without coefficients there is no distortion, whatever the name (a
    fisheye stays one). plumb_bob with more than 5 is the rational model, whose first five are the same.
    Raises FrameError for a model nobody here knows, a wrong number of coefficients, or one that is not finite.
    """
    given, coefficients = intrinsics.distortion_model.strip().lower().replace(" ", "_"), intrinsics.distortion
    model = _NAMES.get(given)
    if not np.isfinite(coefficients).all():
        raise FrameError(
            "bad_distortion", f"distortion coefficients must be finite, got {coefficients}: calibrate the camera again"
        )
    if not any(coefficients):
        return (model, (0.0,) * 4, "") if model == "equidistant" else ("none", (), "")
    if model is None:
        raise FrameError(
            "unknown_distortion",
            f"distortion model {intrinsics.distortion_model!r} is not known (plumb_bob, rational_polynomial, "
            "equidistant are): publish the calibration in one of these, or feed rectified images",
        )
    if model == "none":
        raise FrameError(
            "unknown_distortion",
            f"distortion coefficients {coefficients} come without the name of their model: "
            "set distortion_model (plumb_bob for most lenses)",
        )
    used = max(place + 1 for place, value in enumerate(coefficients) if value)
    note = ""
    if model == "plumb_bob" and used > max(_COUNTS[model]):
        model = "rational_polynomial"
        note = f"plumb_bob with {used} coefficients is read as {model}: correct distortion_model in the calibration"
    count = next((each for each in _COUNTS[model] if each >= used), None)
    if len(coefficients) < _FEWEST or count is None:
        raise FrameError(
            "bad_distortion",
            f"{model} takes {' or '.join(map(str, _COUNTS[model]))} coefficients, got {len(coefficients)}: "
            "check distortion_model and the calibration",
        )
    if len(coefficients) in _COUNTS[model]:
        count = len(coefficients)
    return model, (*coefficients, *(0.0,) * count)[:count], note


def check_distortion(intrinsics: Intrinsics) -> str:
    """The canonical name of the distortion model; errors as `named_distortion`."""
    return named_distortion(intrinsics)[0]


def distortion_coefficients(intrinsics: Intrinsics) -> np.ndarray:
    """[K] float64, as many as OpenCV's model has; errors as `named_distortion`."""
    return np.array(named_distortion(intrinsics)[1] or (0.0,) * 4, dtype=np.float64)


class Undistorter:
    """Resamples images, depth and label images of one distorted camera to a pinhole view.

    `intrinsics`: of the pinhole view, same size. `is_identity`: the camera already is a pinhole, arrays pass through
    untouched.
    Raises FrameError (reasons unknown_distortion, bad_distortion, bad_intrinsics).
    """

    def __init__(self, camera: Intrinsics):
        self.camera = camera
        self.model = check_distortion(camera)
        self.is_identity = self.model == "none"
        self.intrinsics = replace(camera, distortion_model="none", distortion=())
        if self.is_identity:
            return
        if not (camera.fx > 0 and camera.fy > 0 and camera.width > 0 and camera.height > 0):
            raise FrameError(
                "bad_intrinsics", f"cannot undistort with {camera}: calibrate the camera, or publish its calibration"
            )
        zoom = self._widest_zoom()
        self.intrinsics = replace(self.intrinsics, fx=camera.fx * zoom, fy=camera.fy * zoom)
        columns, rows = self._source_maps()
        self._map, self._weights = cv2.convertMaps(columns, rows, cv2.CV_16SC2)
        nearest_column = np.clip(np.rint(columns), 0, camera.width - 1).astype(np.int64)
        nearest_row = np.clip(np.rint(rows), 0, camera.height - 1).astype(np.int64)
        self._nearest = nearest_row * camera.width + nearest_column  # [H, W] flat index of each pixel's nearest source

    def image(self, image: np.ndarray) -> np.ndarray:
        """[H, W] or [H, W, C] uint8, resampled bilinearly."""
        self._check_size(image)
        if self.is_identity:
            return image
        return cv2.remap(image, self._map, self._weights, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    def nearest(self, array: np.ndarray) -> np.ndarray:
        """[H, W] of any type, nearest pixel: for depth (along z, which undistortion does not change) and for label
        images.
        """
        self._check_size(array)
        return array if self.is_identity else array.reshape(-1)[self._nearest]

    def touched(self, mask: np.ndarray) -> np.ndarray:
        """Pixels [H, W] bool whose resampled colour any pixel of `mask` [H, W] bool has a part in, or that are nearest
        to one.
        """
        self._check_size(mask)
        if self.is_identity or not mask.any():
            return mask
        part = cv2.remap(
            mask.astype(np.float32), self._map, self._weights, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        return (part > 0) | self.nearest(mask)

    def frame(self, frame: Frame) -> Frame:
        """The same frame seen through the pinhole."""
        if self.is_identity:
            return replace(frame, intrinsics=self.intrinsics)
        return replace(
            frame,
            image=self.image(frame.image),
            intrinsics=self.intrinsics,
            depth=None if frame.depth is None else self.nearest(frame.depth),
            masks=None if frame.masks is None else self.nearest(frame.masks),
            ignore=None if frame.ignore is None else self.touched(frame.ignore),
        )

    def _check_size(self, array: np.ndarray) -> None:
        if array.shape[:2] != (self.camera.height, self.camera.width):
            raise FrameError(
                "camera_info_mismatch",
                f"intrinsics are for {self.camera.width}x{self.camera.height}, got {array.shape[1]}x{array.shape[0]}: "
                "use the calibration of this very stream",
            )

    def _source_maps(self) -> tuple[np.ndarray, np.ndarray]:
        """Column and row in the distorted image of each pixel of the pinhole view, [H, W] float32 each."""
        coefficients, size = distortion_coefficients(self.camera), (self.camera.width, self.camera.height)
        make = cv2.fisheye.initUndistortRectifyMap if self.model == "equidistant" else cv2.initUndistortRectifyMap
        return make(self.camera.matrix(), coefficients, np.eye(3), self.intrinsics.matrix(), size, cv2.CV_32FC1)

    def _source_pixels(self, pixels: np.ndarray, zoom: float) -> np.ndarray:
        """Where pixels [P, 2] of a pinhole view with `zoom` times the focal length lie in the distorted image, [P, 2]
        float64.
        """
        camera = self.camera
        rays = np.ones((len(pixels), 1, 3))
        rays[:, 0, :2] = (pixels - (camera.cx, camera.cy)) / (zoom * camera.fx, zoom * camera.fy)
        return self._project(rays)

    def _project(self, rays: np.ndarray) -> np.ndarray:
        zero, coefficients = np.zeros(3), distortion_coefficients(self.camera)
        project = cv2.fisheye.projectPoints if self.model == "equidistant" else cv2.projectPoints
        return project(rays, zero, zero, self.camera.matrix(), coefficients)[0].reshape(-1, 2)

    def _widest_zoom(self) -> float:
        """The smallest zoom at which all pixels of the border, hence all inside, have a source; found by bisection."""
        camera = self.camera
        columns, rows = np.arange(camera.width), np.arange(camera.height)
        border = np.concatenate(
            [
                np.stack([columns, np.zeros_like(columns)], axis=1),
                np.stack([columns, np.full_like(columns, camera.height - 1)], axis=1),
                np.stack([np.zeros_like(rows), rows], axis=1),
                np.stack([np.full_like(rows, camera.width - 1), rows], axis=1),
            ]
        )
        radii = np.hypot(*((border - (camera.cx, camera.cy)) / (camera.fx, camera.fy)).T)
        limit = (camera.width - 0.5, camera.height - 0.5)
        largest_radius = self._largest_radius()

        def has_sources(zoom: float) -> bool:
            sources = self._source_pixels(border, zoom)
            return radii.max() / zoom < largest_radius and bool(((sources >= -0.5) & (sources <= limit)).all())

        low, high = _ZOOM_RANGE
        if not has_sources(high):
            raise FrameError(
                "bad_distortion",
                f"no undistorted view exists for {self.model} {camera.distortion} at {camera.width}x{camera.height}, "
                f"fx={camera.fx:g}: the coefficients do not belong to this camera, calibrate it again",
            )
        while high / low > 1.0005:
            middle = (low * high) ** 0.5
            low, high = (low, middle) if has_sources(middle) else (middle, high)
        return high

    def _largest_radius(self) -> float:
        """The distance from the axis, on the plane z = 1, up to which the distortion is one to one (a polynomial may
        fold back).
        """
        radii = np.tan(np.radians(np.linspace(0.0, _MAX_HALF_ANGLE_DEG, 1000)))
        folds = []
        for direction in np.eye(2):
            rays = np.ones((len(radii), 1, 3))
            rays[:, 0, :2] = radii[:, None] * direction
            steps = np.diff(self._project(rays) @ direction)
            folds.append(np.argmax(steps <= 0) if (steps <= 0).any() else len(radii) - 1)
        return float(radii[min(folds)])


@lru_cache(maxsize=8)
def undistorter_for(camera: Intrinsics) -> Undistorter:
    """The undistorter of a calibration, computed once and kept for the last 8 calibrations."""
    return Undistorter(camera)
