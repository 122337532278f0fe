"""Where a recording's robot is (docs/sequences.md), and how far around it pixels are ignored where nobody says."""

from __future__ import annotations

from pathlib import Path

FOLDER = "robot"
DESCRIPTION, JOINTS = "robot.json", "joints.csv"

#: Metres. Covers a calibration that is off by 1 cm and 1 degree (RobotMask).
DEFAULT_PADDING = 0.02


def has_robot(recording: Path) -> bool:
    """Whether a recording's folder has a robot in it."""
    return (recording / FOLDER / DESCRIPTION).is_file()
