"""Faults in the node's log: one line when a fault appears, with what to do about it, and one when it is over."""

from __future__ import annotations

from rclpy.impl.rcutils_logger import RcutilsLogger

from cgc_ros.ros.faults import ERROR, ActiveFault


class FaultLog:
    """A FaultListener."""

    def __init__(self, logger: RcutilsLogger):
        self._logger = logger

    def fault_appeared(self, fault: ActiveFault) -> None:
        """One line: what happened, and the remedy."""
        line = f"{fault.name}: {fault.message}. {fault.remedy[:1].upper()}{fault.remedy[1:]}"
        # rclpy keeps one level per place of a call.
        if fault.level == ERROR:
            self._logger.error(line)
        else:
            self._logger.warn(line)

    def fault_gone(self, fault: ActiveFault) -> None:
        """One line: it is over."""
        self._logger.info(f"{fault.name} is over ({fault.count} times)")
