"""What the viewer costs mapping: training steps per second without it, with nobody looking, and with an open page.

    .venv/bin/python scripts/viewer_cost.py demo/tabletop --seconds 20

The recording is mapped once; then each condition trains for so many seconds, in an order that cancels drift. The page
is one that takes what it is sent and draws nothing: a browser on the same machine would cost its own drawing.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "test"))
from viewer_visitor import Visitor

from cgc_ros.mapping import Mapper, MapperConfig, MappingSession
from cgc_ros.sequences import open_sequence
from cgc_ros.viewer import MapViewer

CONDITIONS = ("without", "nobody looks", "page open")
ORDER = (0, 1, 2, 2, 1, 0)
SETTLE = 3.0  # seconds after a change of condition: a new page is sent everything once


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recording", type=Path)
    parser.add_argument("--seconds", type=float, default=20.0, help="of training per measurement")
    arguments = parser.parse_args()
    sequence = open_sequence(arguments.recording)
    session = MappingSession(Mapper(MapperConfig()))
    session.start()
    for index in range(len(sequence)):
        while session.waiting_frames > 10:
            time.sleep(0.05)
        session.submit(sequence[index])
    while session.waiting_frames:
        time.sleep(0.1)
    time.sleep(SETTLE)
    rates = {name: [] for name in CONDITIONS}
    for condition in ORDER:
        name = CONDITIONS[condition]
        with ExitStack() as stack:
            if condition > 0:
                viewer = stack.enter_context(MapViewer(session, port=0))
            if condition > 1:
                stack.enter_context(Visitor(viewer.url))
            time.sleep(SETTLE)
            steps, start = session.status().steps, time.monotonic()
            time.sleep(arguments.seconds)
            rates[name].append((session.status().steps - steps) / (time.monotonic() - start))
    session.stop()
    base = np.mean(rates[CONDITIONS[0]])
    for name, values in rates.items():
        cost = 100 * (1 - np.mean(values) / base)
        print(
            f"{name:14} {np.mean(values):6.2f} steps/s  {cost:+5.1f}% slower  ({', '.join(f'{v:.2f}' for v in values)})"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
