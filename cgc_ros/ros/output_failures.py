"""What becomes of an error in a thread that renders or publishes: a fault, a line in the log, memory made free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rclpy.impl.rcutils_logger import RcutilsLogger

from cgc_ros.ros.faults import FaultBoard

if TYPE_CHECKING:
    from cgc_ros.mapping import Failure, MappingSession

_LOG_PERIOD_S = 10.0


@dataclass(frozen=True)
class OutputFailures:
    """Thread-safe."""

    logger: RcutilsLogger
    faults: FaultBoard
    session: MappingSession

    def failed(self, failure: Failure) -> None:
        """Name what went wrong while something was made for a topic; out of memory, have the map cut."""
        if failure.kind == "out_of_memory":
            self.faults.report("out_of_memory", "rendering for topics ran out of memory: the map is cut")
            self.session.relieve_memory()
            return
        self.logger.error(f"publishing failed: {failure.trace}", throttle_duration_sec=_LOG_PERIOD_S)
        self.faults.report("gpu_lost" if failure.kind == "gpu_lost" else "label_failed", failure.message)
