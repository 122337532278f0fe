"""~/status and /diagnostics, once a second and at once where a fault appears or goes; notices what does not come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Header

from cgc_ros.msg import MapStatus
from cgc_ros.ros.detection_naming import NamingWorker
from cgc_ros.ros.diagnostics import DiagnosticsWriter, status_message
from cgc_ros.ros.faults import FAULTS, ActiveFault, FaultBoard
from cgc_ros.ros.inputs import ImageInput
from cgc_ros.ros.intake import Intake, IntakeCounts
from cgc_ros.ros.label_output import LatencyMeter
from cgc_ros.ros.label_worker import LabelWorker
from cgc_ros.ros.parameters import NodeParameters
from cgc_ros.ros.publishers import NO_EVENTS, STREAM
from cgc_ros.ros.starvation import StarvationWatch
from cgc_ros.ros.step_back import StepBack

if TYPE_CHECKING:
    from cgc_ros.mapping import MappingSession, SessionStatus

_WATCH_PERIOD_S = 0.25  # a fault is published at most this long after it appeared
_REPORT_PERIOD_S = 1.0
_LATE_LABEL_S = 1.0
_SEEN_NS = 5_000_000_000  # since an image, and mapping is no longer expected to go on
_SLOW_STREAM_PERIODS = 3  # of a slow camera: that many without an image are silence


@dataclass(frozen=True)
class Watched:
    """What the node has at the moment; None where its lifecycle state has none."""

    parameters: NodeParameters
    lifecycle_state: str
    session: MappingSession | None
    intake: Intake | None
    image: ImageInput | None
    labels: LabelWorker | None
    activated_ns: int | None  # monotonic
    latency: LatencyMeter
    naming: NamingWorker | None = None
    step_back: StepBack | None = None


class Reporter:
    """Reports in every lifecycle state until it is stopped."""

    def __init__(self, node: LifecycleNode, faults: FaultBoard, watched: Callable[[], Watched]):
        self._node, self._faults, self._watched = node, faults, watched
        # Not lifecycle publishers: what is wrong must be heard in every state.
        self._status = node.create_publisher(MapStatus, "~/status", STREAM, event_callbacks=NO_EVENTS)
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", STREAM, event_callbacks=NO_EVENTS)
        self._writer = DiagnosticsWriter(node.get_fully_qualified_name())
        self._starvation = StarvationWatch()
        self._has_changed = False
        self._last_report_ns = self._name_looked_ns = 0
        self._lock, self._is_open = threading.Lock(), True
        faults.listeners.append(self)
        # The steady clock: a recording that is paused must not silence the node.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(_WATCH_PERIOD_S, self._watch, MutuallyExclusiveCallbackGroup(), steady)

    def stop(self) -> None:
        """Report no more; a report under way is waited for."""
        with self._lock:
            self._is_open = False

    def fault_appeared(self, fault: ActiveFault) -> None:
        """Report soon."""
        self._has_changed = True

    def fault_gone(self, fault: ActiveFault) -> None:
        """Report soon."""
        self._has_changed = True

    def _watch(self) -> None:
        with self._lock:
            if self._is_open:
                self._report()

    def _report(self) -> None:
        watched, now = self._watched(), time.monotonic_ns()
        self._watch_images(watched, now)
        self._watch_labels(watched, now)
        self._watch_name(now)
        status = watched.session.status() if watched.session is not None else None
        self._watch_mapping(watched, status, now)
        self._step_back(watched, status)
        for name, message in (status.faults if status else {}).items():
            self._faults.report(name if name in FAULTS else "mapping_failed", message)
        faults = [self._explained(fault) for fault in self._faults.active()]
        if not self._has_changed and now - self._last_report_ns < (_REPORT_PERIOD_S - _WATCH_PERIOD_S / 2) * 1e9:
            return
        self._has_changed, self._last_report_ns = False, now
        header = Header(frame_id=watched.parameters.map_frame, stamp=self._node.get_clock().now().to_msg())
        intake, latency = watched.intake, watched.latency
        counts = intake.counts() if intake else IntakeCounts(0, {}, {})
        message = status_message(
            header,
            status,
            counts.received,
            counts.dropped,
            (latency.quantile_ms(0.5), latency.quantile_ms(0.95)),
            faults,
            watched.parameters.mask_source,
        )
        self._status.publish(message)
        numbers = _numbers(message) | counts.partners
        if watched.naming is not None:
            numbers |= {f"detections {what}": count for what, count in watched.naming.counts.items()}
        camera = intake.image_frame if intake else ""
        self._diagnostics.publish(self._writer.array(header, watched.lifecycle_state, faults, numbers, camera))

    def _explained(self, fault: ActiveFault) -> ActiveFault:
        """Where transforms are missing: whether there are some that nobody here listens to."""
        if fault.name not in ("no_transform", "broken_chain"):
            return fault
        heard = {self._node.resolve_topic_name(name) for name in ("/tf", "/tf_static")}
        others = [
            name
            for name, kinds in self._node.get_topic_names_and_types()
            if "tf2_msgs/msg/TFMessage" in kinds and name not in heard
        ]
        if not others:
            return fault
        return replace(fault, message=f"{fault.message}; transforms are published on {', '.join(sorted(others))}, too")

    def _watch_images(self, watched: Watched, now_ns: int) -> None:
        intake, image = watched.intake, watched.image
        if intake is None or image is None or watched.activated_ns is None:
            return
        silent_s = (now_ns - max(watched.activated_ns, intake.last_image_ns or 0)) * 1e-9
        timeout_s = max(watched.parameters.input_timeout, _SLOW_STREAM_PERIODS * intake.stream.period_s())
        if silent_s > timeout_s:
            count = image.count_publishers()
            why = f"{count} publisher(s), so QoS or the network is the reason" if count else "it has no publisher"
            self._faults.report("no_images", f"no image on {image.topic} for {silent_s:.1f} s; {why}")
        lost = intake.stream.lost(now_ns)
        if lost and image.count_publishers():
            self._faults.report(
                "images_lost", f"{lost[0]} images on {image.topic} beside {lost[1]} camera_infos in 5 s"
            )

    def _watch_mapping(self, watched: Watched, status: SessionStatus | None, now_ns: int) -> None:
        """Steps are expected while images come and nothing but the machine is in the way."""
        intake = watched.intake
        is_seen = intake is not None and now_ns - (intake.last_image_ns or 0) < _SEEN_NS
        steps, objects, is_expected = 0, 0, False
        if status is not None:
            is_held_up = "no_parallax" in status.faults or "mapping_failed" in status.faults
            is_expected = is_seen and status.state == "mapping" and not is_held_up and status.keyframes > 0
            steps, objects = status.steps, status.objects
        message = self._starvation.update(now_ns, steps, is_expected, watched.parameters.max_steps_per_second)
        if message:
            self._faults.report("mapping_starved", f"{message}, {objects} objects")

    def _step_back(self, watched: Watched, status: SessionStatus | None) -> None:
        if watched.step_back is not None and status is not None:
            watched.step_back.watch()
            if status.objects > 0:
                watched.step_back.update()

    def _watch_name(self, now_ns: int) -> None:
        """Whether another node of this name publishes ~/status, too."""
        if now_ns - self._name_looked_ns < _REPORT_PERIOD_S * 1e9:
            return
        self._name_looked_ns = now_ns
        node, name = self._node, self._node.get_fully_qualified_name()
        mine = (node.get_name(), node.get_namespace())
        publishers = node.get_publishers_info_by_topic(self._status.topic_name)
        count = sum((each.node_name, each.node_namespace) == mine for each in publishers)
        if count > 1:
            self._faults.report(
                "name_taken", f"{count} nodes have the name {name} (one that was killed counts for some seconds more)"
            )
        else:
            self._faults.clear("name_taken")

    def _watch_labels(self, watched: Watched, now_ns: int) -> None:
        waited_s = watched.labels.waited_s(now_ns) if watched.labels is not None else 0.0
        if waited_s > _LATE_LABEL_S:
            self._faults.report("late_labels", f"the newest view has waited {waited_s:.1f} s for its label image")


def _numbers(status: MapStatus) -> dict[str, object]:
    """The node's own entry in /diagnostics."""
    numbers: dict[str, object] = {
        "frames received": status.frames_received,
        "frames used": status.frames_used,
        "keyframes": status.keyframes,
        "gaussians": status.gaussians,
        "objects": status.objects,
        "steps per second": round(status.steps_per_second, 2),
        "label latency p95 ms": round(status.label_latency_ms_p95, 1),
    }
    return numbers | {
        f"dropped {reason}": count for reason, count in zip(status.drop_reasons, status.drop_counts, strict=True)
    }
