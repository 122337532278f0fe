"""Whether depth images and the parallax of the colour images agree on how far away things are: early in a stream, for
a few milliseconds a frame, until it is settled.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np

from cgc_ros.frame import Frame, Intrinsics

#: Depth and parallax contradict each other beyond this factor: no calibration that maps at all is so far off.
MAX_RATIO = 1.5
_FEATURES = 500
_WIDTH = 640  # images are looked at no wider than this, pixels
_REFERENCES = 3  # earlier frames that a new one is compared with
_MOVED_M, _MOVED_SHARE = 0.03, 0.05  # between frames that are looked at: metres, or a share of the median depth
_MIN_PARALLAX_DEG = 1.5
_MAX_EPIPOLAR_PX = 2.0  # from the epipolar line: else the match is wrong, or the poses are
_MAX_HAMMING = 48  # bits of 256 that descriptors of one point differ in (Rublee et al. 2011)
_MIN_POINTS = 20  # of a pair of frames that has a say
_VOTES, _AGREEING = 5, 0.8  # pairs until it is settled, and the share of them that must contradict
_MAX_SPREAD = 0.25  # of their logarithms, as a median: a wrong unit is the same everywhere
_MILLIMETRE = 0.001  # depth_unit unless another is set, metres
_MAX_FRAMES = 40  # looked at without so many votes: then nothing more is asked


@dataclass(frozen=True)
class _Seen:
    points: np.ndarray  # [N, 2] pixels of `camera`
    descriptors: np.ndarray  # [N, 32] uint8
    depths: np.ndarray  # [N] metres, 0 unknown
    camera: Intrinsics
    world_from_camera: np.ndarray  # [4, 4]


class DepthParallaxWatch:
    """Fed with a stream of posed frames with depth. Not thread-safe: one caller."""

    def __init__(self) -> None:
        self._orb = cv2.ORB.create(_FEATURES)
        self._matcher = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True)
        self.clear()

    def clear(self) -> None:
        """Ask again: another map, another camera."""
        self._seen: deque[_Seen] = deque(maxlen=_REFERENCES)
        self._votes: list[float] = []  # logarithms of depth / parallax's depth
        self._looked = 0
        self.ratio: float | None = None  # depth over what parallax says, once it is settled that they disagree

    @property
    def is_settled(self) -> bool:
        """Whether no more frames are looked at."""
        return len(self._votes) >= _VOTES or self._looked >= _MAX_FRAMES

    def contradiction(self) -> str:
        """What is wrong, in words; empty while nothing is, or nothing is known yet."""
        if self.ratio is None:
            return ""
        return (
            f"depth images say {self.ratio:.3g} times the distances that the colour images' parallax says, with the "
            f"poses as given: multiply the depth's unit by {1 / self.ratio:.2g} (depth_unit "
            f"{_MILLIMETRE / self.ratio:.2g} where it is {_MILLIMETRE:g}), or correct the poses' unit"
        )

    def look(self, frame: Frame) -> None:
        """Take a frame of a pinhole camera into account; most are let go at once."""
        if self.is_settled or frame.depth is None:
            return
        median = float(np.median(valid)) if (valid := _valid_depth(frame)).size else 0.0
        if median == 0.0 or not self._has_moved(frame.world_from_camera, median):
            return
        self._looked += 1
        seen = self._features(frame)
        if seen is None:
            return
        for earlier in self._seen:
            vote = self._vote(earlier, seen)
            if vote is not None:
                self._votes.append(vote)
        self._seen.append(seen)
        if len(self._votes) >= _VOTES:
            self._settle()

    def _settle(self) -> None:
        votes = np.array(self._votes)
        middle = float(np.median(votes))
        contradicting = (np.sign(votes) == np.sign(middle)) & (np.abs(votes) > math.log(MAX_RATIO))
        spread = float(np.median(np.abs(votes - middle)))
        if contradicting.mean() >= _AGREEING and spread < _MAX_SPREAD:
            self.ratio = math.exp(middle)

    def _has_moved(self, pose: np.ndarray, median_depth: float) -> bool:
        if not self._seen:
            return True
        moved = float(np.linalg.norm(pose[:3, 3] - self._seen[-1].world_from_camera[:3, 3]))
        return moved > min(_MOVED_M, _MOVED_SHARE * median_depth)

    def _features(self, frame: Frame) -> _Seen | None:
        gray, camera = cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY), frame.intrinsics
        if camera.width > _WIDTH:
            camera = camera.scaled_to(_WIDTH, max(1, round(camera.height * _WIDTH / camera.width)))
            gray = cv2.resize(gray, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
        keypoints, descriptors = self._orb.detectAndCompute(gray, None)
        if descriptors is None:
            return None
        points = np.array([each.pt for each in keypoints])
        assert frame.depth is not None
        height, width = frame.depth.shape
        columns = np.clip(np.rint((points[:, 0] + 0.5) * width / camera.width - 0.5).astype(int), 0, width - 1)
        rows = np.clip(np.rint((points[:, 1] + 0.5) * height / camera.height - 0.5).astype(int), 0, height - 1)
        depths = frame.depth[rows, columns]
        if frame.ignore is not None:
            depths = np.where(frame.ignore[rows, columns], 0.0, depths)
        return _Seen(points, descriptors, depths, camera, frame.world_from_camera)

    def _vote(self, first: _Seen, second: _Seen) -> float | None:
        matches = self._matcher.match(first.descriptors, second.descriptors)
        pairs = np.array([(each.queryIdx, each.trainIdx) for each in matches if each.distance <= _MAX_HAMMING])
        if len(pairs) < _MIN_POINTS:
            return None
        one, other = pairs.T
        depths = first.depths[one]
        parallax = parallax_depths(first, second, first.points[one], second.points[other])
        known = (depths > 0) & (parallax > 0)
        if known.sum() < _MIN_POINTS:
            return None
        return float(np.median(np.log(depths[known] / parallax[known])))


def parallax_depths(first: _Seen, second: _Seen, points: np.ndarray, partners: np.ndarray) -> np.ndarray:
    """[N] depth along z in the first view of points [N, 2] seen at `partners` in the second; 0 where their parallax is
    too small, they lie off the epipolar line, or behind a camera.
    """
    rays, seen = _rays(first.camera, points), _rays(second.camera, partners)
    to_second = second.world_from_camera[:3, :3].T
    shift = to_second @ (first.world_from_camera[:3, 3] - second.world_from_camera[:3, 3])
    turned = rays @ (to_second @ first.world_from_camera[:3, :3]).T
    across = np.cross(seen, turned)
    sine = np.linalg.norm(across, axis=1) / (np.linalg.norm(seen, axis=1) * np.linalg.norm(turned, axis=1))
    depths = -(np.cross(seen, shift) * across).sum(axis=1) / np.maximum((across**2).sum(axis=1), 1e-18)
    line = np.cross(shift, turned)
    off = np.abs((line * seen).sum(axis=1)) / np.maximum(np.linalg.norm(line[:, :2], axis=1), 1e-18)
    behind = (depths[:, None] * turned + shift)[:, 2] <= 0
    is_wrong = off * second.camera.fx > _MAX_EPIPOLAR_PX
    is_small = sine < math.sin(math.radians(_MIN_PARALLAX_DEG))
    return np.where(is_small | is_wrong | behind | (depths <= 0), 0.0, depths)


def _rays(camera: Intrinsics, points: np.ndarray) -> np.ndarray:
    flat = (points - (camera.cx, camera.cy)) / (camera.fx, camera.fy)
    return np.concatenate([flat, np.ones((len(flat), 1))], axis=1)


def _valid_depth(frame: Frame) -> np.ndarray:
    assert frame.depth is not None
    coarse = frame.depth[::8, ::8]
    return coarse[coarse > 0]
