"""Speed of the whole chain: a short mapping run, timed."""

from __future__ import annotations

from collections.abc import Callable

from cgc_ros.evaluation.machine import describe_machine
from cgc_ros.evaluation.mapping_run import RunProgress, StreamOptions, stream
from cgc_ros.evaluation.run_output import run_metrics
from cgc_ros.evaluation.synthetic import SyntheticSequence
from cgc_ros.mapping import Mapper, MapperConfig, MappingSession
from cgc_ros.masks.process import MaskProcess
from cgc_ros.sequences import Sequence

#: Of the synthetic recording, where none is given.
NUM_FRAMES, WIDTH, HEIGHT = 24, 320, 240


def run_pipeline_bench(
    sequence: Sequence | None = None,
    *,
    backend: str = "auto",
    budget: float = 30.0,
    seed: int = 0,
    on_progress: Callable[[RunProgress], None] = lambda progress: None,
) -> dict:
    """Map for `budget` seconds, nothing written; keys as in metrics.json, and the machine.

    The recording's own masks are used where it has some, the built-in source otherwise.
    """
    if sequence is None:
        sequence = SyntheticSequence(NUM_FRAMES, WIDTH, HEIGHT)
        sequence.prepare()  # ray casting beside the mapper would be timed with it
    mapper = Mapper(MapperConfig(backend=backend, seed=seed))
    session = MappingSession(mapper, None if sequence.has_masks else MaskProcess("graph").wait_until_ready())
    session.start()
    try:
        outcome = stream(session, sequence, StreamOptions(budget=budget), on_progress)
        session.pause(True)
        keyframes_taken, snapshot = session.ask(lambda owned: (owned.keyframes.next_id, owned.snapshot()))
        status = session.status()
    finally:
        session.stop()
    size = sequence.intrinsics(0)
    return {
        "benchmark": "pipeline",
        "sequence": sequence.name,
        "image_size": f"{size.width}x{size.height}",
        "backend": mapper.backend,
        **run_metrics(outcome, status, snapshot, keyframes_taken),
        "machine": describe_machine(),
    }
