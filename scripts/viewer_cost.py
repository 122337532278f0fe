"""What the viewer costs: its CPU time while nobody looks, and training steps per second with and without an open page.

    .venv/bin/python scripts/viewer_cost.py demo/tabletop

The recording is mapped once; then training goes on, and a page is open in every second of many short stretches, each of
which is compared with its two neighbours: so drift cancels. The page takes what it is sent and draws nothing; a browser
on the same machine would cost its own drawing.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "test"))
from viewer_visitor import Visitor

from cgc_ros.mapping import Mapper, MapperConfig, MappingSession
from cgc_ros.sequences import open_sequence
from cgc_ros.viewer import MapViewer

IDLE = 5.0  # seconds over which the CPU time without a page is taken
SETTLE = 2.0  # seconds after a page was opened or closed: a new one is sent everything once


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recording", type=Path)
    parser.add_argument("--seconds", type=float, default=5.0, help="of training per stretch")
    parser.add_argument("--pages", type=int, default=7, help="stretches with a page open")
    arguments = parser.parse_args()
    session = MappingSession(Mapper(MapperConfig()))
    with MapViewer(session, port=0) as viewer:
        start = time.process_time()
        time.sleep(IDLE)
        print(f"nobody looks: {100 * (time.process_time() - start) / IDLE:.2f}% of one core")
        session.start()
        _map(session, arguments.recording)
        stretches = range(2 * arguments.pages + 1)
        rates = np.array([_rate(session, viewer if index % 2 else None, arguments.seconds) for index in stretches])
    session.stop()
    around = (rates[:-1:2] + rates[2::2]) / 2
    costs = 100 * (1 - rates[1::2] / around)
    error = costs.std(ddof=1) / np.sqrt(len(costs))
    print(f"steps/s: {around.mean():.2f} without, {rates[1::2].mean():.2f} with a page open")
    print(f"cost of a page: {costs.mean():.1f} +- {error:.1f}% ({', '.join(f'{cost:.1f}' for cost in costs)})")
    return 0


def _map(session: MappingSession, recording: Path) -> None:
    """Hand the whole recording over as fast as the mapper takes it, and let training settle."""
    sequence = open_sequence(recording)
    for index in range(len(sequence)):
        while session.waiting_frames > 10:
            time.sleep(0.05)
        session.submit(sequence[index])
    while session.waiting_frames:
        time.sleep(0.1)
    time.sleep(4 * SETTLE)


def _rate(session: MappingSession, viewer: MapViewer | None, seconds: float) -> float:
    """Steps per second over one stretch, with a page open where there is a viewer."""
    with nullcontext() if viewer is None else Visitor(viewer.url):
        time.sleep(SETTLE)
        steps, start = session.status().steps, time.monotonic()
        time.sleep(seconds)
        return (session.status().steps - steps) / (time.monotonic() - start)


if __name__ == "__main__":
    raise SystemExit(main())
