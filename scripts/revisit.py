"""Does mapping a second place hurt the first? PSNR on the first recording's held-out views before and after.

    .venv/bin/python scripts/revisit.py FIRST SECOND

The second recording is moved 50 m to the side. Equal numbers of steps on any machine; no masks. With `--cap` below what
both places take, the map has to give rows of the first one to the second.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cgc_ros.evaluation.cameras import frame_camera
from cgc_ros.evaluation.image_metrics import psnr
from cgc_ros.evaluation.mapping_run import held_in
from cgc_ros.frame import Frame
from cgc_ros.mapping import DensityConfig, Mapper, MapperConfig
from cgc_ros.sequences import Sequence, open_sequence

APART = 50.0  # metres


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--steps", type=int, default=6, help="of training per frame")
    parser.add_argument("--settle", type=int, default=300, help="steps after each recording")
    parser.add_argument("--cap", type=int, default=DensityConfig().max_gaussians, help="on the number of Gaussians")
    arguments = parser.parse_args()
    first, second = open_sequence(arguments.first), open_sequence(arguments.second)
    mapper, figures = Mapper(MapperConfig(density=DensityConfig(max_gaussians=arguments.cap))), {}

    def train(steps: int) -> None:
        for _ in range(steps):
            mapper.step()

    def note(name: str) -> None:
        figures[name] = {
            "psnr": round(_held_out_psnr(mapper, first), 2),
            "gaussians": len(mapper.model),
            "gaussians_of_first": int((mapper.model.means[:, 0] < APART / 2).sum()),
        }
        print(name, figures[name], file=sys.stderr, flush=True)

    for frame in _held_in(first):
        mapper.add_frame(frame)
        train(arguments.steps)
    train(arguments.settle)
    note("before")
    aside = _Aside(APART, mapper.stamp_ns + 1_000_000_000 - second.frames[0].stamp_ns)
    for frame in _held_in(second):
        mapper.add_frame(aside.of(frame))
        train(arguments.steps)
    note("second place fed")
    train(arguments.settle)
    note("settled")
    figures["settled"]["psnr_of_second"] = round(_held_out_psnr(mapper, second, aside), 2)
    print(json.dumps(figures, indent=1))
    return 0


def _held_in(sequence: Sequence) -> list[Frame]:
    return [replace(sequence[index], masks=None) for index in held_in(sequence)]


@dataclass(frozen=True)
class _Aside:
    """Where and when a recording is taken to have been made."""

    metres: float = 0.0
    later_ns: int = 0

    def of(self, frame: Frame) -> Frame:
        pose = frame.world_from_camera.copy()
        pose[0, 3] += self.metres
        return replace(frame, world_from_camera=pose, stamp_ns=frame.stamp_ns + self.later_ns)


def _held_out_psnr(mapper: Mapper, sequence: Sequence, aside: _Aside = _Aside()) -> float:
    """Mean over the held-out views, dB."""
    snapshot, found = mapper.snapshot(), []
    for index in range(len(sequence)):
        if sequence.is_held_out(index):
            frame = aside.of(sequence[index])
            render = snapshot.render(frame_camera(frame, snapshot), frame.stamp_ns)
            found.append(psnr(render.color, frame.image))
    return float(np.mean(found))


if __name__ == "__main__":
    sys.exit(main())
