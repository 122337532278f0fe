"""The managed node: one mapping session, its inputs, its outputs and its services, made and taken down by lifecycle."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from rclpy.callback_groups import CallbackGroup, MutuallyExclusiveCallbackGroup
from rclpy.clock import ROSClock
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from cgc_ros.ros.detection_naming import NamingWorker
from cgc_ros.ros.fault_log import FaultLog
from cgc_ros.ros.faults import FaultBoard
from cgc_ros.ros.inputs import Inputs
from cgc_ros.ros.intake import Intake
from cgc_ros.ros.intake_settings import IntakeSettings
from cgc_ros.ros.label_output import LabelOutput, LatencyMeter
from cgc_ros.ros.label_worker import LabelWorker
from cgc_ros.ros.map_storage import MapDirectory
from cgc_ros.ros.node_parameters import ParameterServer
from cgc_ros.ros.object_cache import ObjectCache
from cgc_ros.ros.output_failures import OutputFailures
from cgc_ros.ros.output_worker import OutputWorker
from cgc_ros.ros.parameters import NodeParameters
from cgc_ros.ros.publishers import Publishers
from cgc_ros.ros.queries import Answerer
from cgc_ros.ros.reporter import Reporter, Watched
from cgc_ros.ros.robot_masking import RobotMasking
from cgc_ros.ros.services import Services
from cgc_ros.ros.session_factory import ViewerUnavailableError, create_session, create_text_query, start_viewer
from cgc_ros.ros.step_back import StepBack
from cgc_ros.ros.transform_source import CameraPoses, TransformSource, create_buffer
from cgc_ros.ros.view_rendering import MapLabels
from cgc_ros.ros.wait_clock import WaitClock

if TYPE_CHECKING:
    from cgc_ros.mapping import MappingSession
    from cgc_ros.viewer import MapViewer

_SESSION_STOP_S = 1.0  # for each of the session's threads to end; one that hangs ends with the process
_FAILED, _DONE = TransitionCallbackReturn.FAILURE, TransitionCallbackReturn.SUCCESS

#: Refused transforms by reason -> the fault they are; others are counted only.
_REFUSED_TRANSFORMS = {
    "bad_pose": "bad_pose",
    "bad_transform": "bad_pose",
    "loop": "transform_loop",
    "negative_stamp": "negative_stamp",
    "clock_jump_back": "clock_jump_back",
    "bad_frame": "no_transform",
}


class CgcNode(LifecycleNode):
    """Configure makes map and services, activate takes in images, deactivate keeps the map, cleanup drops it."""

    def __init__(self, session_factory: Callable[[NodeParameters], MappingSession] = create_session, **kwargs):
        super().__init__("cgc", automatically_declare_parameters_from_overrides=True, **kwargs)
        self.session_factory = session_factory
        self._session: MappingSession | None = None
        self._topics: Publishers | None = None
        self.service_set: Services | None = None
        self.intake: Intake | None = None
        self.inputs: Inputs | None = None
        self.labels: LabelWorker | None = None
        self._outputs: OutputWorker | None = None
        self._transforms: TransformSource | None = None
        self.viewer: MapViewer | None = None
        self._naming: NamingWorker | None = None
        self._robot: RobotMasking | None = None
        self._step_back: StepBack | None = None
        self._activated_ns: int | None = None
        self.is_map_lost = False  # whether the map was to be saved at shutdown and could not be
        self._latency = LatencyMeter()
        self.faults = FaultBoard(time.monotonic_ns)
        self.faults.listeners.append(FaultLog(self.get_logger()))
        self._parameter_server = ParameterServer(self, lambda: self._session is None, self._apply_parameters)
        self._input_group, self._query_group = MutuallyExclusiveCallbackGroup(), MutuallyExclusiveCallbackGroup()
        self._reporter = Reporter(self, self.faults, self._watched)

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
        self.faults.clear("configure_failed")
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Take images in."""
        try:
            self._activate()
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
        directory = MapDirectory(parameters.map_directory)
        for path in directory.remove_unfinished():
            self.get_logger().info(f"removed {path}, left by a save that was killed")
        self._latency = LatencyMeter()
        session = self._session = self.session_factory(parameters)
        session.start()
        session.pause(True)
        self._step_back = StepBack(session, parameters.training_niceness)
        buffer_kind = parameters.transform_buffer if parameters.pose_source == "tf" else "buffer"
        buffer = create_buffer(buffer_kind, parameters.transform_history)
        current, failures = self._parameter_server, OutputFailures(self.get_logger(), self.faults, session)
        self._transforms = TransformSource(buffer, round(parameters.clock_jump * 1e9), self._on_refused_transform)
        self._topics = Publishers(self)
        self.labels = LabelWorker(
            MapLabels(session, current),
            LabelOutput(self._topics, self._latency, self._now_ns),
            current,
            failures,
            parameters.label_niceness,
        )
        objects = ObjectCache(session, self._now_ns)
        self._outputs = OutputWorker(
            self._topics, self.labels, session, objects, current, failures, parameters.label_niceness
        )
        if parameters.use_detections:
            self._naming = NamingWorker(session, current, self.faults)
        if parameters.robot_mask:
            self._robot = RobotMasking(self._transforms, current, self.faults)
        texts = create_text_query(session, parameters)
        self.intake = Intake(
            self._intake_settings(),
            CameraPoses(self._transforms, current),
            self.faults,
            [each for each in (self.labels, self._naming) if each is not None],
            session,
            self._now_ns,
            WaitClock(self._now_ns, lambda: cast(ROSClock, self.get_clock()).ros_time_is_active),
            self._robot,
        )
        self.service_set = Services(
            self,
            session,
            directory,
            self.faults,
            Answerer(session, objects, current, self._transforms, self.labels, self._now_ns, texts),
            [each for each in (self._naming, self.intake) if each is not None],
            [each for each in (objects, texts) if each is not None],
            self._query_group,
        )
        self._start_viewer(session, parameters)
        if parameters.load_on_start:
            self.service_set.load(parameters.load_on_start)
        self.get_logger().info(
            f"configured: poses in {parameters.map_frame!r} from {parameters.pose_source} ({type(buffer).__name__}), "
            f"masks from {parameters.mask_source}"
        )

    def _activate(self) -> None:
        session, intake, transforms = self._session, self.intake, self._transforms
        if session is None or intake is None or transforms is None:
            raise RuntimeError("the node is not configured")
        intake.clear()
        for worker in (self.labels, self._outputs, self._naming):
            if worker is not None:
                worker.start()
        session.pause(False)
        self.inputs = Inputs(
            self, self.parameters, intake, transforms, self.faults, self._input_group, self._naming, self._robot
        )

    def _start_viewer(self, session: MappingSession, parameters: NodeParameters) -> None:
        if not parameters.viewer:
            return
        try:
            self.viewer = start_viewer(session, parameters.viewer_host, parameters.viewer_port)
        except ViewerUnavailableError as error:  # a page less is no reason not to map
            self.faults.report("viewer_failed", f"no viewer: {error}")
        else:
            self.get_logger().info(f"watch the map grow: {self.viewer.url}")

    def _stop_inputs(self) -> None:
        self._activated_ns = None
        if self.inputs is not None:
            self.inputs.destroy()
            self.inputs = None
        for worker in (self.labels, self._outputs, self._naming):
            if worker is not None and not worker.stop():
                self.get_logger().warn(f"{type(worker).__name__} did not stop in time; a new start waits for it")
        if self.labels is not None:
            self.labels.clear()
        if self._session is not None:
            self._session.pause(True)
        self.faults.clear("no_images")

    def _release(self) -> None:
        self._stop_inputs()
        if self.service_set is not None:
            self.service_set.destroy()
        if self._topics is not None:
            self._topics.destroy()
        if self.viewer is not None:
            self.viewer.stop()
        if self._session is not None:
            if not self._session.stop(_SESSION_STOP_S):
                self.get_logger().warn("mapping or its mask source did not stop in time; it ends with the process")
        self.service_set = self._topics = self._session = self.labels = self._outputs = self.intake = None
        self._transforms = self.viewer = self._naming = self._robot = self._step_back = None

    def _save_on_shutdown(self) -> None:
        name = self.parameters.save_on_shutdown
        if not name or self.service_set is None:
            return
        try:
            self.service_set.save(name)
        except Exception as error:  # the last thing the node does: say what was lost, and end
            self.is_map_lost = True
            self.faults.report("save_failed", f"the map was not saved at shutdown: {error}")

    def _intake_settings(self) -> IntakeSettings:
        return IntakeSettings.from_parameters(self.parameters, self.resolve_topic_name("image"))

    def _watched(self) -> Watched:
        inputs = self.inputs  # another thread may end them
        return Watched(
            self.parameters,
            self.lifecycle_state,
            self._session,
            self.intake,
            inputs.image if inputs is not None else None,
            self.labels,
            self._activated_ns,
            self._latency,
            self._naming,
            self._step_back,
        )

    def _apply_parameters(self, parameters: NodeParameters) -> None:
        if self.intake is not None:
            self.intake.configure(self._intake_settings())
        if self._session is not None:
            self._session.max_steps_per_second = parameters.max_steps_per_second
            self._session.snapshot_period = parameters.snapshot_period
            self._session.mask_timeout = parameters.mask_timeout

    def _now_ns(self) -> int:
        return self.get_clock().now().nanoseconds

    def _on_refused_transform(self, reason: str, message: str) -> None:
        fault = _REFUSED_TRANSFORMS.get(reason)
        if fault:
            self.faults.report(fault, message)

    def _fail(self, transition: str, error: Exception) -> None:
        self.faults.report("configure_failed", f"cannot {transition}: {error}")
