"""Joint states over time, interpolated at an image's stamp."""

from __future__ import annotations

import csv
import io
from bisect import bisect_right
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np

from cgc_ros.robot.errors import RobotError

_STAMP = "stamp"


class JointTable:
    """Positions of joints by stamp. Between two rows they are interpolated linearly; before the first and after the
    last the nearest row holds (`gap_s` tells how far it is).
    """

    def __init__(self, names: tuple[str, ...], stamps_ns: list[int], positions: np.ndarray):
        """`stamps_ns` increase; `positions` [N, J], radians or metres, NaN where a joint was not told."""
        self.names, self.stamps_ns, self.positions = names, stamps_ns, positions

    def at(self, stamp_ns: int) -> dict[str, float]:
        """Positions by name, of the joints that are known there."""
        after = bisect_right(self.stamps_ns, stamp_ns)
        if after == 0 or after == len(self.stamps_ns):
            row = self.positions[min(after, len(self.stamps_ns) - 1)]
        else:
            start, end = self.stamps_ns[after - 1], self.stamps_ns[after]
            share = (stamp_ns - start) / (end - start)
            row = (1.0 - share) * self.positions[after - 1] + share * self.positions[after]
        return {name: float(value) for name, value in zip(self.names, row, strict=True) if np.isfinite(value)}

    def gap_s(self, stamp_ns: int) -> float:
        """Seconds from a stamp to the rows, 0 among them."""
        return max(self.stamps_ns[0] - stamp_ns, stamp_ns - self.stamps_ns[-1], 0) * 1e-9


def read_joints(path: Path) -> JointTable:
    """joints.csv: `stamp,JOINT,JOINT,...`; seconds, then radians or metres. RobotError (bad_joints) names the line.

    A joint whose field is empty in a row is known by its rows before and after.
    """
    try:
        rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""), skipinitialspace=True))
    except (OSError, UnicodeDecodeError) as error:
        raise RobotError("bad_joints", f"{path} cannot be read ({error}): it needs lines of stamp,JOINT,...") from error
    header = [name.strip() for name in rows[0]] if rows else []
    if len(header) < 2 or header[0] != _STAMP or len(set(header)) < len(header):
        raise RobotError("bad_joints", f"{path}, line 1: expected stamp,JOINT,JOINT,... with each joint once")
    taken: dict[int, list[float]] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not any(field.strip() for field in row):
            continue
        if len(row) != len(header):
            raise RobotError("bad_joints", f"{path}, line {number}: {len(row)} values, the header names {len(header)}")
        try:
            stamp = Decimal(row[0].strip())  # float64 holds no nanoseconds of today's clocks
            values = [float(field) if field.strip() else np.nan for field in row[1:]]
            taken[round(stamp * 10**9)] = values
        except (ValueError, InvalidOperation, OverflowError) as error:
            raise RobotError("bad_joints", f"{path}, line {number}: {row} holds something that is no number") from error
    if not taken:
        raise RobotError("bad_joints", f"{path} has no rows: record the robot's joint states")
    return joint_table(tuple(header[1:]), taken)


def joint_table(names: tuple[str, ...], rows: dict[int, list[float]]) -> JointTable:
    """Of rows by stamp in any order. A joint that is NaN in a row is interpolated over the rows that tell it."""
    stamps = sorted(rows)
    positions = np.array([rows[stamp] for stamp in stamps], np.float64)
    since = (np.array(stamps, dtype=object) - stamps[0]).astype(np.float64)
    for column in positions.T:
        told = np.isfinite(column)
        if told.any() and not told.all():
            column[~told] = np.interp(since[~told], since[told], column[told])
    return JointTable(names, stamps, positions)
