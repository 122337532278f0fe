"""Curves of a run, kept at a resolution that fits a picture."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


@dataclass
class History:
    """Training speed and quality against time, at most `limit` samples: when full, every second one is dropped and
    from then on only every second, fourth, ... new one is taken.
    """

    limit: int = 512
    samples: list[tuple[float, float, float]] = field(default_factory=list)  # seconds, steps per second, PSNR in dB
    _stride: int = 1
    _offered: int = 0

    def add(self, seconds: float, steps_per_second: float, psnr: float) -> None:
        """Offer a sample; one without a PSNR (before the first training step) is ignored."""
        if not math.isfinite(psnr):
            return
        self._offered += 1
        if (self._offered - 1) % self._stride:
            return
        if len(self.samples) >= self.limit:
            self.samples = self.samples[::2]
            self._stride *= 2
        self.samples.append((seconds, steps_per_second, psnr))

    def clear(self) -> None:
        """Begin anew."""
        self.samples, self._stride, self._offered = [], 1, 0

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Seconds, steps per second and PSNR, [n] float64 each; two equal samples where there are none yet."""
        table = np.array(self.samples or [(0.0, 0.0, 0.0), (1.0, 0.0, 0.0)], dtype=np.float64)
        return table[:, 0].copy(), table[:, 1].copy(), table[:, 2].copy()


def read_history(path: Path) -> History:
    """The curves that `cgc map` left beside a map; empty where there are none or they cannot be read."""
    history = History()
    try:
        records = json.loads(path.read_text())["records"]
        for record in records:
            if record["train_psnr"] is not None:
                history.add(float(record["t"]), float(record["steps_per_second"]), float(record["train_psnr"]))
    except (OSError, ValueError, KeyError, TypeError):  # a curve less, and the map is shown all the same
        history.clear()
    return history
