"""/diagnostics and ~/status: what is wrong by name with what to do about it, and every number of the map's progress."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

from cgc_ros.memory_use import resident_mb
from cgc_ros.msg import MapStatus
from cgc_ros.ros.faults import ActiveFault

if TYPE_CHECKING:
    from cgc_ros.mapping import SessionStatus

_LEVELS = {"warn": DiagnosticStatus.WARN, "error": DiagnosticStatus.ERROR}


class DiagnosticsWriter:
    """Makes DiagnosticArrays: one entry for the node, one per active fault, and once OK for a fault that has gone."""

    def __init__(self, node_name: str):
        self._node_name = node_name
        self._camera = ""
        self._shown: set[str] = set()

    def array(
        self, header: Header, state: str, faults: list[ActiveFault], numbers: dict[str, object], camera: str = ""
    ) -> DiagnosticArray:
        """`state` is the lifecycle state; `numbers` go into the node's own entry; `camera` is the hardware's id."""
        self._camera = camera
        names = {fault.name for fault in faults}
        message = DiagnosticArray(header=header, status=[self._summary(state, faults, numbers)])
        message.status += [self._fault(fault) for fault in faults]
        message.status += [self._entry(name, DiagnosticStatus.OK, "over") for name in sorted(self._shown - names)]
        self._shown = names
        return message

    def _summary(self, state: str, faults: list[ActiveFault], numbers: dict[str, object]) -> DiagnosticStatus:
        level = max((_LEVELS[fault.level] for fault in faults), default=DiagnosticStatus.OK)
        text = f"{state}: " + (", ".join(fault.name for fault in faults) or "no faults")
        return self._entry("node", level, text, numbers)

    def _fault(self, fault: ActiveFault) -> DiagnosticStatus:
        values = {"what": fault.message, "remedy": fault.remedy, "count": fault.count}
        return self._entry(fault.name, _LEVELS[fault.level], f"{fault.message}: {fault.remedy}", values)

    def _entry(self, name: str, level: bytes, text: str, values: dict[str, object] | None = None) -> DiagnosticStatus:
        pairs = [KeyValue(key=key, value=str(value)) for key, value in (values or {}).items()]
        return DiagnosticStatus(
            name=f"{self._node_name}: {name}", level=level, message=text, hardware_id=self._camera, values=pairs
        )


def status_message(
    header: Header,
    status: SessionStatus | None,
    received: int,
    dropped: dict[str, int],
    latency_ms: tuple[float, float],
    faults: list[ActiveFault],
    mask_source: str,
) -> MapStatus:
    """MapStatus from the session (None: there is none), the intake's counts and the label latencies (p50, p95)."""
    message = MapStatus(header=header, state="stopped", frames_received=received)
    all_dropped = dict(dropped)
    if status is not None:
        for reason, count in status.dropped.items():
            all_dropped[reason] = all_dropped.get(reason, 0) + count
        message.state, message.frames_used = status.state, status.frames_used
        message.keyframes, message.gaussians, message.objects = status.keyframes, status.gaussians, status.objects
        message.steps, message.steps_per_second = status.steps, float(status.steps_per_second)
        message.train_psnr_db, message.backend = float(status.train_psnr), status.backend
    message.frames_dropped = sum(all_dropped.values())
    message.drop_reasons, message.drop_counts = list(all_dropped), list(all_dropped.values())
    message.label_latency_ms_p50, message.label_latency_ms_p95 = latency_ms
    message.resident_memory_mb, message.gpu_memory_mb = resident_mb(), gpu_memory_mb()
    message.mask_source = mask_source
    message.faults = [fault.name for fault in faults]
    return message


def gpu_memory_mb() -> float:
    """Allocated by torch on the GPU; 0 without one."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return 0.0
    return torch.cuda.memory_allocated() / 2**20
