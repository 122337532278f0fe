"""The managed node: one mapping session, its inputs, its outputs and its services, made and taken down by lifecycle."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from rclpy.callback_groups import CallbackGroup, MutuallyExclusiveCallbackGroup
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from cgc_ros.mapping import is_out_of_memory
from cgc_ros.ros.conversions.images import encode_image
from cgc_ros.ros.detection_naming import NamingWorker
from cgc_ros.ros.faults import FaultBoard
from cgc_ros.ros.inputs import Inputs
from cgc_ros.ros.intake import FOREIGN_CLOCK_NS, Intake, IntakeSettings, View
from cgc_ros.ros.label_worker import LabelledView, LabelWorker, LatencyMeter
from cgc_ros.ros.map_storage import MapDirectory
from cgc_ros.ros.node_parameters import ParameterServer
from cgc_ros.ros.object_cache import ObjectCache
from cgc_ros.ros.output_worker import OutputWorker
from cgc_ros.ros.parameters import NodeParameters
from cgc_ros.ros.publishers import Publishers
from cgc_ros.ros.queries import Answerer
from cgc_ros.ros.reporter import Reporter, Watched
from cgc_ros.ros.services import Services
from cgc_ros.ros.session_factory import ViewerUnavailableError, create_session, create_text_query, start_viewer
from cgc_ros.ros.step_back import StepBack
from cgc_ros.ros.transform_source import TransformSource, create_buffer
from cgc_ros.ros.view_rendering import render_labels
from cgc_ros.ros.wait_clock import WaitClock

if TYPE_CHECKING:
    from cgc_ros.mapping import MappingSession, MapSnapshot
    from cgc_ros.ros.text_query import TextQuery
    from cgc_ros.viewer import MapViewer

_SESSION_STOP_S = 1.0  # for each of the session's threads to end; one that hangs ends with the process
_FAILED, _DONE = TransitionCallbackReturn.FAILURE, TransitionCallbackReturn.SUCCESS

#: Refused transforms by reason -> the fault they are; others are counted only.
_REFUSED_TRANSFORMS = {
    "bad_pose": "bad_pose",
    "bad_transform": "bad_pose",
    "loop": "transform_loop",
    "clock_jump_back": "clock_jump_back",
    "bad_frame": "no_transform",
}


class CgcNode(LifecycleNode):
    """Configure makes map and services, activate takes in images, deactivate keeps the map, cleanup drops it."""

    def __init__(self, session_factory: Callable[[NodeParameters], MappingSession] = create_session, **kwargs):
        super().__init__("cgc", **kwargs)
        self._session_factory = session_factory
        self._session: MappingSession | None = None
        self._topics: Publishers | None = None
        self._service_set: Services | None = None
        self._intake: Intake | None = None
        self._inputs: Inputs | None = None
        self._labels: LabelWorker | None = None
        self._outputs: OutputWorker | None = None
        self._objects: ObjectCache | None = None
        self._transforms: TransformSource | None = None
        self._viewer: MapViewer | None = None
        self._naming: NamingWorker | None = None
        self._step_back: StepBack | None = None
        self._text_query: TextQuery | None = None
        self._activated_ns: int | None = None
        self._latency = LatencyMeter()
        self._faults = FaultBoard(time.monotonic_ns)
        self._parameter_server = ParameterServer(self, lambda: self._session is None, self._apply_parameters)
        self._input_group, self._query_group = MutuallyExclusiveCallbackGroup(), MutuallyExclusiveCallbackGroup()
        self._reporter = Reporter(self, self._faults, self._watched)

    @property
    def parameters(self) -> NodeParameters:
        """The current ones."""
        return self._parameter_server.current

    @property
    def own_threads(self) -> dict[str, CallbackGroup]:
        """Callback groups that wait for nobody, by the name of their thread: what NodeExecutor wants."""
        return {"inputs": self._input_group, "queries": self._query_group}

    @property
    def lifecycle_state(self) -> str:
        """unconfigured, inactive, active, finalized, or a transition's name."""
        return self._state_machine.current_state[1]

    def autostart(self) -> bool:
        """Configure and activate; False where that failed (the log and /diagnostics say why)."""
        return self.trigger_configure() == _DONE and self.trigger_activate() == _DONE

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Make the session, the topics and the services; load a map where asked to."""
        try:
            self._configure()
        except Exception as error:  # rclpy would swallow it: name it, release what was made, stay unconfigured
            self._fail("configure", error)
            self._release()
            return _FAILED
        self._faults.clear("configure_failed")
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Take images in."""
        try:
            self._intake.clear()
            self._inputs = Inputs(
                self, self.parameters, self._intake, self._transforms, self._faults, self._input_group, self._naming
            )
            self._labels.start()
            self._outputs.start()
            if self._naming is not None:
                self._naming.start()
            self._session.pause(False)
        except Exception as error:  # as above: named, undone, inactive again
            self._fail("activate", error)
            self._stop_inputs()
            return _FAILED
        self._activated_ns = time.monotonic_ns()
        # recording.launch.py starts its player at these words.
        self.get_logger().info(f"active: waiting for images on {self.resolve_topic_name('image')}")
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Take no more images in; the map stays, services answer."""
        self._stop_inputs()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Drop the map, the topics and the services."""
        self._release()
        return _DONE

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Save the map where asked to, then stop."""
        self._reporter.stop()
        self._stop_inputs()
        self._save_on_shutdown()
        self._release()
        return _DONE

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything; the node can be configured again."""
        self._release()
        return _DONE

    def _configure(self) -> None:
        parameters = self.parameters
        if parameters.threads > 0:
            import torch

            torch.set_num_threads(parameters.threads)
        self._latency = LatencyMeter()
        self._session = self._session_factory(parameters)
        self._session.start()
        self._session.pause(True)
        self._step_back = StepBack(self._session, parameters.training_niceness)
        buffer_kind = parameters.transform_buffer if parameters.pose_source == "tf" else "buffer"
        buffer = create_buffer(buffer_kind, parameters.transform_history)
        self._transforms = TransformSource(buffer, round(parameters.clock_jump * 1e9), self._on_refused_transform)
        self._topics = Publishers(self)
        self._labels = LabelWorker(
            self._render_labels,
            self._publish_labels,
            lambda: self._topics.listeners("labels", "overlay") > 0,
            lambda: 1.0 / self.parameters.label_rate if self.parameters.label_rate > 0 else 0.0,
            lambda: self.parameters.label_share,
            self._on_output_error,
            parameters.label_niceness,
        )
        self._objects = ObjectCache(self._newest_snapshot)
        self._outputs = OutputWorker(
            self._topics,
            self._labels,
            self._newest_snapshot,
            self._objects,
            lambda: self.parameters,
            self._on_output_error,
            parameters.label_niceness,
        )
        if parameters.use_detections:
            self._naming = NamingWorker(self._session, lambda: self.parameters, self._faults)
        self._text_query = create_text_query(self._session, parameters)
        self._intake = Intake(
            self._intake_settings(),
            lambda frame_id, stamp_ns: self._transforms.lookup(self.parameters.map_frame, frame_id, stamp_ns),
            self._faults,
            self._on_view,
            self._session.submit,
            self._clock_ns,
            WaitClock(self._clock_ns, lambda: self.get_clock().ros_time_is_active),
        )
        self._service_set = Services(
            self,
            self._session,
            MapDirectory(parameters.map_directory),
            self._faults,
            self._answerer,
            self._forget_views,
            self._query_group,
        )
        self._start_viewer(parameters)
        if parameters.load_on_start:
            self._service_set.load(parameters.load_on_start)
        self.get_logger().info(
            f"configured: poses in {parameters.map_frame!r} from {parameters.pose_source} ({type(buffer).__name__}), "
            f"masks from {parameters.mask_source}"
        )

    def _start_viewer(self, parameters: NodeParameters) -> None:
        if not parameters.viewer:
            return
        try:
            self._viewer = start_viewer(self._session, parameters.viewer_host, parameters.viewer_port)
        except ViewerUnavailableError as error:  # a page less is no reason not to map
            self.get_logger().error(f"no viewer: {error}")
            self._faults.report("viewer_failed", str(error))
        else:
            self.get_logger().info(f"watch the map grow: {self._viewer.url}")

    def _stop_inputs(self) -> None:
        self._activated_ns = None
        if self._inputs is not None:
            self._inputs.destroy()
            self._inputs = None
        for worker in (self._labels, self._outputs, self._naming):
            if worker is not None and not worker.stop():
                self.get_logger().warn(f"{type(worker).__name__} did not stop in time; it ends with the process")
        if self._labels is not None:
            self._labels.clear()
        if self._session is not None:
            self._session.pause(True)
        self._faults.clear("no_images")

    def _release(self) -> None:
        self._stop_inputs()
        if self._service_set is not None:
            self._service_set.destroy()
        if self._topics is not None:
            self._topics.destroy()
        if self._viewer is not None:
            self._viewer.stop()
        if self._session is not None:
            self._session.stop(_SESSION_STOP_S)
        self._service_set = self._topics = self._session = self._labels = self._outputs = self._intake = None
        self._step_back = None
        self._transforms = self._objects = self._viewer = self._naming = self._text_query = None

    def _save_on_shutdown(self) -> None:
        name = self.parameters.save_on_shutdown
        if not name or self._service_set is None:
            return
        try:
            self.get_logger().info(f"map saved to {self._service_set.save(name)}")
        except Exception as error:  # the last thing the node does: say what was lost, and end
            self._faults.report("save_failed", str(error))
            self.get_logger().error(f"the map was not saved: {error}")

    def _intake_settings(self) -> IntakeSettings:
        return IntakeSettings.from_parameters(self.parameters, self.resolve_topic_name("image"))

    def _watched(self) -> Watched:
        return Watched(
            self.parameters,
            self.lifecycle_state,
            self._session,
            self._intake,
            self._inputs,
            self._labels,
            self._activated_ns,
            self._latency,
            self._naming,
            self._step_back,
        )

    def _apply_parameters(self, parameters: NodeParameters) -> None:
        if self._inputs is not None:
            self._inputs.configure(self._intake_settings())
        elif self._intake is not None:
            self._intake.configure(self._intake_settings())
        if self._session is not None:
            self._session.max_steps_per_second = parameters.max_steps_per_second
            self._session.snapshot_period = parameters.snapshot_period
            self._session.mask_timeout = parameters.mask_timeout

    def _answerer(self) -> Answerer:
        return Answerer(
            self._newest_snapshot(),
            self._objects,
            self.parameters,
            self._transforms.lookup,
            self._labels.current,
            self._text_query and self._text_query.relevance,
        )

    def _on_view(self, view: View) -> None:
        self._labels.submit(view)
        if self._naming is not None:
            self._naming.on_view(view)

    def _clock_ns(self) -> int:
        return self.get_clock().now().nanoseconds

    def _newest_snapshot(self) -> MapSnapshot | None:
        return self._session.snapshot if self._session is not None else None

    def _forget_views(self) -> None:
        """The map was loaded or reset: nothing seen before belongs to it."""
        self._objects.clear()
        if self._naming is not None:
            self._naming.clear()
        if self._text_query is not None:
            self._text_query.clear()
        if self._inputs is not None:
            self._inputs.clear()

    def _render_labels(self, view: View):
        width = self.parameters.max_image_width
        return render_labels(self._newest_snapshot(), view.camera, view.map_from_camera, width)

    def _publish_labels(self, labelled: LabelledView) -> None:
        if self._topics.listeners("labels"):
            self._topics.publish("labels", encode_image(labelled.labels, "mono16", labelled.view.header))
        since_stamp_ns = self.get_clock().now().nanoseconds - labelled.view.stamp_ns
        if not 0 <= since_stamp_ns < FOREIGN_CLOCK_NS:  # stamps of another clock: only the time since arrival is known
            since_stamp_ns = time.monotonic_ns() - labelled.view.arrived_ns
        self._latency.add(since_stamp_ns * 1e-9)

    def _on_output_error(self, error: Exception) -> None:
        self.get_logger().error(f"publishing failed: {type(error).__name__}: {error}", throttle_duration_sec=5.0)
        if is_out_of_memory(error) and self._session is not None:
            self._faults.report("out_of_memory", "rendering for topics ran out of memory: the map is cut")
            self._session.relieve_memory()
        else:
            self._faults.report("label_failed", f"{type(error).__name__}: {error}")

    def _on_refused_transform(self, reason: str, message: str) -> None:
        fault = _REFUSED_TRANSFORMS.get(reason)
        if fault:
            self._faults.report(fault, message)

    def _fail(self, transition: str, error: Exception) -> None:
        self.get_logger().error(f"cannot {transition}: {error}")
        self._faults.report("configure_failed", f"cannot {transition}: {error}")
