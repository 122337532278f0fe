"""Does mapping a second place hurt the first? PSNR on the first recording's held-out views before and after.

    .venv/bin/python scripts/revisit.py FIRST SECOND

The second recording is moved 50 m to the side. Equal numbers of steps on any machine; no masks.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from cgc_ros.evaluation.cameras import frame_camera
from cgc_ros.evaluation.image_metrics import psnr
from cgc_ros.evaluation.mapping_run import held_in
from cgc_ros.frame import Frame
from cgc_ros.mapping import Mapper, MapperConfig
from cgc_ros.sequences import Sequence, open_sequence

APART = 50.0  # metres


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--steps", type=int, default=6, help="of training per frame")
    parser.add_argument("--settle", type=int, default=300, help="steps after each recording")
    arguments = parser.parse_args()
    first, second = open_sequence(arguments.first), open_sequence(arguments.second)
    mapper, figures = Mapper(MapperConfig()), {}

    def train(steps: int) -> None:
        for _ in range(steps):
            mapper.step()

    def note(name: str) -> None:
        figures[name] = {"psnr": round(_held_out_psnr(mapper, first), 2), "gaussians": len(mapper.model)}
        print(name, figures[name], file=sys.stderr, flush=True)

    for frame in _held_in(first):
        mapper.add_frame(frame)
        train(arguments.steps)
    train(arguments.settle)
    note("before")
    later_ns = mapper.stamp_ns + 1_000_000_000 - second.frames[0].stamp_ns
    for frame in _held_in(second):
        moved = frame.world_from_camera.copy()
        moved[0, 3] += APART
        mapper.add_frame(replace(frame, world_from_camera=moved, stamp_ns=frame.stamp_ns + later_ns))
        train(arguments.steps)
    note("second place fed")
    train(arguments.settle)
    note("settled")
    print(json.dumps(figures, indent=1))
    return 0


def _held_in(sequence: Sequence) -> list[Frame]:
    return [replace(sequence[index], masks=None) for index in held_in(sequence)]


def _held_out_psnr(mapper: Mapper, sequence: Sequence) -> float:
    snapshot, found = mapper.snapshot(), []
    for index in range(len(sequence)):
        if sequence.is_held_out(index):
            frame = sequence[index]
            render = snapshot.render(frame_camera(frame, snapshot), frame.stamp_ns)
            found.append(psnr(render.color, frame.image))
    return float(np.mean(found))


if __name__ == "__main__":
    sys.exit(main())
