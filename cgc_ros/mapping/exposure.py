"""Exposure over time: what keyframes learnt of the camera's, for views that lie between them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from cgc_ros.mapping.keyframes import Keyframe


@dataclass(frozen=True)
class ExposureTrack:
    """Gain and offset per colour channel at the keyframes' stamps. A view's own image has no part in it."""

    stamps_ns: np.ndarray  # [K] int64, rising
    log_gains: np.ndarray  # [K, 3]
    offsets: np.ndarray  # [K, 3] of colours 0..1

    @staticmethod
    def of(keyframes: Iterable[Keyframe]) -> ExposureTrack:
        """Of those that were trained on."""
        trained = sorted((each for each in keyframes if each.steps), key=lambda each: each.stamp_ns)
        stamps = np.array([each.stamp_ns for each in trained], dtype=np.int64)
        gains, offsets = (
            np.array([getattr(each.corrections, name).tolist() for each in trained]).reshape(-1, 3)
            for name in ("log_gain", "offset")
        )
        return ExposureTrack(stamps, gains, offsets)

    def at(self, stamp_ns: int) -> tuple[np.ndarray, np.ndarray]:
        """Gain [3] and offset [3], linear between the keyframes before and after; the nearest one's beyond the ends."""
        if len(self.stamps_ns) == 0:
            return np.ones(3), np.zeros(3)
        since_first = (self.stamps_ns - self.stamps_ns[0]).astype(np.float64)
        moment = float(stamp_ns - int(self.stamps_ns[0]))
        log_gain, offset = (
            np.array([np.interp(moment, since_first, values[:, channel]) for channel in range(3)])
            for values in (self.log_gains, self.offsets)
        )
        return np.exp(log_gain), offset
