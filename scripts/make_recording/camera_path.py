"""A hand-held orbit around the table: exact camera poses as a smooth function of time, and the rig's fixed frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FRAME_RATE = 5.0  # images a second
START_STAMP = 1_700_000_000  # seconds: the stamp of the first image
CAMERA_LINK_FROM_OPTICAL = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]])  # REP-103
BASE_FROM_CAMERA_LINK = np.array(
    [  # camera 12 cm ahead of and 8 cm above the rig's origin, pitched down by 20 degrees
        [np.cos(np.radians(20)), 0, np.sin(np.radians(20)), 0.12],
        [0, 1, 0, 0.0],
        [-np.sin(np.radians(20)), 0, np.cos(np.radians(20)), 0.08],
        [0, 0, 0, 1.0],
    ]
)


@dataclass(frozen=True)
class CameraPath:
    """Orbit parameters. Metres, degrees, seconds; the map frame has its origin on the floor under the table, z up."""

    target: tuple[float, float, float] = (0.0, 0.0, 0.80)  # what the camera circles, just above the table top
    start: float = -115.0  # azimuth of the first view, from +x towards +y
    sweep: float = 315.0  # angle covered over the whole path
    radius: float = 0.90  # mean horizontal distance to the target
    height: float = 0.46  # mean height above the target
    duration: float = 9.6
    sway: float = 0.012  # of the hand: position, standard deviation
    wobble: float = 0.9  # of the hand: rotation, standard deviation in degrees
    seed: int = 7

    def map_from_optical(self, time: float) -> np.ndarray:
        """[4, 4] pose of the camera's optical frame (x right, y down, z forward) at a time in [0, duration]."""
        phase = time / self.duration
        azimuth = np.radians(self.start + self.sweep * (phase + 0.012 * np.sin(2 * np.pi * 3 * phase)))
        radius = self.radius + 0.10 * np.sin(2 * np.pi * 2.3 * phase + 0.6)
        height = self.height + 0.13 * np.sin(2 * np.pi * 1.6 * phase - 0.9)
        sway, gaze, roll = np.split(self._hand(time), [3, 6])
        target = np.array(self.target)
        position = target + [radius * np.cos(azimuth), radius * np.sin(azimuth), height] + self.sway * sway
        forward = target + 0.03 * gaze - position
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, [0, 0, 1.0])
        right /= np.linalg.norm(right)
        angle = np.radians(self.wobble) * roll[0]
        right = np.cos(angle) * right + np.sin(angle) * np.cross(forward, right)
        pose = np.eye(4)
        pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], 1)
        pose[:3, 3] = position
        return pose

    def map_from_base(self, time: float) -> np.ndarray:
        """[4, 4] pose of the rig's `base_link`, from which two fixed transforms lead to the optical frame."""
        return self.map_from_optical(time) @ np.linalg.inv(BASE_FROM_CAMERA_LINK @ CAMERA_LINK_FROM_OPTICAL)

    def _hand(self, time: float) -> np.ndarray:
        """[7] of unit variance: sums of four slow sines (0.2 to 1.6 Hz) with seeded phases."""
        rng = np.random.default_rng(self.seed)
        frequency = rng.uniform(0.2, 1.6, (7, 4))
        phase = rng.uniform(0, 2 * np.pi, (7, 4))
        return np.sin(2 * np.pi * frequency * time + phase).sum(1) / np.sqrt(2)


def quaternion_xyzw(rotation: np.ndarray) -> np.ndarray:
    """[4] unit quaternion x y z w of a rotation matrix [3, 3] (Shepperd's method: the largest component first)."""
    m = np.asarray(rotation, float)
    squares = np.array(
        [
            1 + m[0, 0] - m[1, 1] - m[2, 2],
            1 - m[0, 0] + m[1, 1] - m[2, 2],
            1 - m[0, 0] - m[1, 1] + m[2, 2],
            1 + m[0, 0] + m[1, 1] + m[2, 2],
        ]
    )
    largest = int(squares.argmax())
    products = np.array(
        [
            [squares[0], m[0, 1] + m[1, 0], m[0, 2] + m[2, 0], m[2, 1] - m[1, 2]],
            [m[0, 1] + m[1, 0], squares[1], m[1, 2] + m[2, 1], m[0, 2] - m[2, 0]],
            [m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], squares[2], m[1, 0] - m[0, 1]],
            [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], squares[3]],
        ]
    )
    quaternion = products[largest] / np.linalg.norm(products[largest])
    return quaternion if quaternion[3] >= 0 else -quaternion
