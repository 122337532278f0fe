"""How the arm moves: from posture to posture over the table and away again, smoothly."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from make_recording.arm_model import JOINTS

JOINT_RATE = 50.0  # rows a second
AWAY = (0.0, -0.75, 0.0, 2.35, 0.0, 0.9, 0.0)  # radians: folded up over the base
#: Postures over the table, in turn: pan, lift, upper roll, elbow, fore roll, wrist lift, wrist roll.
POSTURES = (
    (0.0, 0.55, 0.0, 1.15, 0.0, 1.2, 0.0),
    (0.55, 0.7, 0.3, 1.0, 0.2, 1.3, 0.6),
    (-0.6, 0.6, -0.2, 1.25, -0.3, 1.1, -0.5),
    (0.15, 0.85, 0.0, 0.7, 0.0, 1.5, 1.2),
    (-0.25, 0.35, 0.4, 1.6, 0.5, 1.0, 0.0),
)
_MOVE_S, _REST_S = 1.6, 0.4  # from posture to posture, and then at rest


def positions(seconds: float, duration: float) -> dict[str, float]:
    """Joint positions at a time of a recording: away at first and for its last quarter."""
    leave = 0.75 * duration
    stops = [AWAY]
    time = 0.0
    while time + 2 * (_MOVE_S + _REST_S) < leave:
        stops.append(POSTURES[(len(stops) - 1) % len(POSTURES)])
        time += _MOVE_S + _REST_S
    stops.append(AWAY)
    index, since = divmod(max(seconds, 0.0), _MOVE_S + _REST_S)
    start, end = (np.array(stops[min(int(index) + step, len(stops) - 1)]) for step in (0, 1))
    share = 0.5 - 0.5 * np.cos(np.pi * min(since / _MOVE_S, 1.0))
    arm = start + share * (end - start)
    finger = 0.02 + 0.015 * np.sin(1.7 * seconds)
    return dict(zip(JOINTS, (*arm, finger), strict=True))


def write_joints(path: Path, rows: dict[float, dict[str, float]]) -> None:
    """joints.csv of positions by stamp in seconds."""
    names = list(next(iter(rows.values())))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["stamp", *names])
        writer.writerows([f"{stamp:.6f}", *(f"{row[name]:.6f}" for name in names)] for stamp, row in rows.items())
