"""A stream with no end: loop a recording through a mapping session and watch what memory and the map do.

    .venv/bin/python scripts/soak.py demo/tabletop --hours 1 --minutes 15

Its frames, taken as 5 Hz, come over and over, as a camera on its rounds sees them: `--hours` of its own time in
`--minutes`. One line a minute; at the end, growth from half way on by least squares: a leak is a slope, what allocators
hold back is not.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from cgc_ros.evaluation.machine import describe_machine
from cgc_ros.evaluation.mapping_run import held_in
from cgc_ros.mapping import Mapper, MapperConfig, MappingSession
from cgc_ros.masks.process import MaskProcess
from cgc_ros.memory_use import resident_mb
from cgc_ros.sequences import open_sequence

FRAME_RATE = 5.0  # Hz of the recording's own time
SAMPLE_S = 2.0  # between two looks at memory
LINE_S = 60.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recording", type=Path)
    parser.add_argument("--hours", type=float, default=1.0, help="of the camera's time")
    parser.add_argument("--minutes", type=float, default=15.0, help="it is played in")
    parser.add_argument("--depth", choices=("auto", "off"), default="auto")
    parser.add_argument("--masks", choices=("graph", "given"), default="graph")
    parser.add_argument("--json", metavar="FILE", type=Path)
    arguments = parser.parse_args()
    sequence = open_sequence(arguments.recording)
    frames = [sequence[index] for index in held_in(sequence)]
    if arguments.depth == "off":
        frames = [replace(frame, depth=None) for frame in frames]
    if arguments.masks == "graph":
        frames = [replace(frame, masks=None) for frame in frames]
    session = MappingSession(Mapper(MapperConfig()), MaskProcess(arguments.masks).wait_until_ready())
    session.start()
    try:
        samples = _play(session, frames, round(arguments.hours * 3600 * FRAME_RATE), arguments.minutes * 60)
    finally:
        session.stop()
    report = _report(samples) | {"machine": describe_machine()}
    print(json.dumps(report, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(report | {"samples": samples}, indent=1) + "\n")
    return 0


def _play(session: MappingSession, frames: list, count: int, seconds: float) -> list[dict[str, float | None]]:
    """Submit `count` frames evenly over `seconds`, looping; what was seen of the process meanwhile."""
    samples: list[dict[str, float | None]] = []
    start = next_sample = next_line = time.monotonic()
    for number in range(count):
        due = start + number * seconds / count
        while (now := time.monotonic()) < due:
            time.sleep(min(0.05, due - now))
        stamp_ns = round(number * 1e9 / FRAME_RATE) + 1
        session.submit(replace(frames[number % len(frames)], stamp_ns=stamp_ns))
        if now >= next_sample:
            status = session.status()
            samples.append(
                {
                    "seconds": round(now - start, 1),
                    "frames": number + 1,
                    "resident_mb": round(resident_mb(), 1),
                    "gaussians": status.gaussians,
                    "keyframes": status.keyframes,
                    "objects": status.objects,
                    "steps": status.steps,
                    "train_psnr": None if math.isnan(status.train_psnr) else round(status.train_psnr, 2),
                    "dropped": sum(status.dropped.values()),
                }
            )
            next_sample = now + SAMPLE_S
            if now >= next_line:
                print(samples[-1], file=sys.stderr, flush=True)
                next_line = now + LINE_S
    return samples


def _report(samples: list[dict[str, float | None]]) -> dict[str, object]:
    """Growth over the second half, as a share of what was resident half way; the map half way and at the end."""
    later = samples[len(samples) // 2 :]
    seconds, memory = (np.array([sample[key] for sample in later]) for key in ("seconds", "resident_mb"))
    slope, at_zero = np.polyfit(seconds, memory, 1)
    first, last = (slope * moment + at_zero for moment in (seconds[0], seconds[-1]))
    return {
        "resident_mb_half": round(float(first), 1),
        "resident_mb_end": round(float(last), 1),
        "growth_percent": round(100 * float(last / first - 1), 2),
        "resident_mb_most": max(sample["resident_mb"] for sample in samples),
        "half_way": later[0],
        "end": later[-1],
    }


if __name__ == "__main__":
    sys.exit(main())
