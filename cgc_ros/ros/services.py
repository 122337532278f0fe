"""The node's services. Queries, rendered views and changes of the map have a callback group each: neither a save nor a
large view holds up a query.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING

from rclpy.callback_groups import CallbackGroup, MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from std_srvs.srv import SetBool, Trigger

from cgc_ros.gaussians.storage import MapFileError
from cgc_ros.mapping import is_gpu_lost, is_out_of_memory
from cgc_ros.mapping.object_editing import KINDS, EditError, EditRequest, edit_objects
from cgc_ros.ros.faults import FaultBoard
from cgc_ros.ros.map_storage import MapDirectory, MapNameError
from cgc_ros.ros.queries import Answerer, RequestError
from cgc_ros.ros.roles import MapFollower
from cgc_ros.srv import EditObjects, LoadMap, QueryObjects, RenderView, SaveMap

if TYPE_CHECKING:
    from cgc_ros.mapping import MappingSession

_CALL_TIMEOUT_S = 60.0


class Services:
    """`followers` are cleared after a load or a reset, those that are `of_objects` after an edit of the objects, too.
    Saves, loads, resets and edits leave a line each in the log.
    """

    def __init__(
        self,
        node: Node,
        session: MappingSession,
        directory: MapDirectory,
        faults: FaultBoard,
        answerer: Answerer,
        followers: Sequence[MapFollower],
        of_objects: Sequence[MapFollower],
        queries: CallbackGroup,
    ):
        self._node, self._session, self._directory = node, session, directory
        self._faults, self._answerer, self._followers, self._of_objects = faults, answerer, followers, of_objects
        views, changes = MutuallyExclusiveCallbackGroup(), MutuallyExclusiveCallbackGroup()
        self._services = [
            node.create_service(service_type, name, callback, callback_group=group)
            for service_type, name, callback, group in (
                (QueryObjects, "~/query_objects", self.query_objects, queries),
                (RenderView, "~/render_view", self.render_view, views),
                (EditObjects, "~/edit_objects", self.edit_objects, changes),
                (SaveMap, "~/save_map", self.save_map, changes),
                (LoadMap, "~/load_map", self.load_map, changes),
                (Trigger, "~/reset", self.reset, changes),
                (SetBool, "~/pause", self.pause, changes),
            )
        ]

    def destroy(self) -> None:
        """Take the services down."""
        for service in self._services:
            self._node.destroy_service(service)
        self._services = []

    def save(self, name: str) -> str:
        """Save the map under a name; the file's path. Raises MapNameError, MapFileError, OSError, TimeoutError."""
        path = self._directory.to_save(name)
        self._session.ask(lambda mapper: mapper.save(path), _CALL_TIMEOUT_S)
        self._faults.clear("save_failed")
        self._node.get_logger().info(f"map saved to {path}")
        return str(path)

    def load(self, name: str) -> None:
        """Replace the map by a saved one; errors as `save`, the map in memory is then unchanged."""
        path = self._directory.to_load(name)
        self._session.change(lambda mapper: mapper.restore(path), _CALL_TIMEOUT_S)
        self._faults.clear("load_failed")
        self._forget()
        status = self._session.status()
        self._node.get_logger().info(f"map loaded from {path}: {status.gaussians} Gaussians, {status.objects} objects")

    def _forget(self) -> None:
        """Nothing seen before belongs to the map in memory."""
        for each in (*self._followers, *self._of_objects):
            each.clear()

    def query_objects(self, request, response):
        """~/query_objects"""
        return self._answer(response, lambda: self._answerer.query_objects(request, response))

    def render_view(self, request, response):
        """~/render_view"""
        return self._answer(response, lambda: self._answerer.render_view(request, response))

    def edit_objects(self, request, response):
        """~/edit_objects"""

        def edit():
            if request.operation >= len(KINDS):
                known = ", ".join(f"{number} {kind}" for number, kind in enumerate(KINDS))
                raise RequestError(f"operation {request.operation} is unknown: {known}")
            wanted = EditRequest(KINDS[request.operation], tuple(request.ids), request.label)
            outcome = self._session.change(lambda mapper: edit_objects(mapper, wanted), _CALL_TIMEOUT_S)
            for each in self._of_objects:
                each.clear()
            self._node.get_logger().info(outcome.message)
            response.success, response.message, response.ids = True, outcome.message, list(outcome.ids)
            return response

        return self._answer(response, edit)

    def save_map(self, request, response):
        """~/save_map"""

        def save():
            response.path = self.save(request.name)
            response.success, response.message = True, f"saved to {response.path}"
            return response

        return self._answer(response, save, "save_failed")

    def load_map(self, request, response):
        """~/load_map"""

        def load():
            self.load(request.name)
            status = self._session.status()
            response.gaussians, response.objects = status.gaussians, status.objects
            response.success, response.message = (
                True,
                f"loaded {request.name}: {status.gaussians} Gaussians, {status.objects} objects",
            )
            return response

        return self._answer(response, load, "load_failed")

    def reset(self, request, response):
        """~/reset"""

        def reset():
            self._session.reset()
            self._forget()
            self._node.get_logger().info("map reset: it is empty")
            response.success, response.message = True, "the map is empty"
            return response

        return self._answer(response, reset)

    def pause(self, request, response):
        """~/pause"""
        self._session.pause(request.data)
        response.success, response.message = True, "paused" if request.data else "mapping"
        return response

    def _answer(self, response, answer: Callable, storage_fault: str = ""):
        """Run `answer`; whatever goes wrong becomes the reply's message and a named fault, never a dead node."""
        try:
            return answer()
        except (RequestError, MapNameError, EditError) as error:
            fault, message = "bad_request", str(error)
        except (MapFileError, OSError) as error:
            fault, message = storage_fault or "bad_request", str(error)
        except (TimeoutError, FutureTimeoutError):
            fault, message = storage_fault or "bad_request", f"the mapper did not answer within {_CALL_TIMEOUT_S:.0f} s"
        except Exception as error:  # a service must reply; what it was is in the log and in the diagnostics
            self._node.get_logger().error(f"service failed: {type(error).__name__}: {error}")
            fault, message = "request_failed", f"internal error: {type(error).__name__}: {error}"
            if is_out_of_memory(error):
                fault, message = "out_of_memory", "this request needs more memory than there is: ask for less"
            elif is_gpu_lost(error):
                fault, message = "gpu_lost", f"the GPU failed: {error}"
        self._faults.report(fault, message)
        response.success, response.message = False, message
        return response
