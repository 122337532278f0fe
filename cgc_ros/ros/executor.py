"""The node's executor. Images and queries have a thread each of their own; everything else shares a few.

rclpy builds its list of everything that may have something to do anew for each message, twice more once the message is
done with, and hands the message to another thread. With all of a node's 30 entities and 120 messages a second that took
a third of the interpreter's time. A thread that waits for its own few entities pays a fraction of that.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

import rclpy
from rclpy.callback_groups import CallbackGroup
from rclpy.context import Context
from rclpy.exceptions import InvalidHandle
from rclpy.executors import Executor, MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.node import Node

_SHARED_THREADS = 4  # views, changes of the map, lifecycle and parameters, watching


class NodeExecutor(MultiThreadedExecutor):
    """Runs a node. Each of `own_threads`, by the thread's name, is a callback group that no other waits for.

    rclpy's own, except that it ends only after the callbacks that run: Jazzy's takes away what they still use.
    """

    def __init__(self, node: Node, own_threads: Mapping[str, CallbackGroup], context: Context | None = None):
        super().__init__(_SHARED_THREADS, context=context)
        self._groups = list(own_threads.values())
        self._group_executors = [_GroupExecutor(node, group, context) for group in self._groups]
        self.add_node(node)
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=spin, args=(executor, self._stopping), name=name, daemon=True)
            for name, executor in zip(own_threads, self._group_executors, strict=True)
        ]
        for thread in self._threads:
            thread.start()

    def can_execute(self, entity) -> bool:
        return entity.callback_group not in self._groups and super().can_execute(entity)

    def wake(self) -> None:
        """Something was made or taken down."""
        super().wake()
        for executor in self._group_executors:
            executor.wake()

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._executor.shutdown(wait=True)
        return super().shutdown(timeout_sec)


class _GroupExecutor(SingleThreadedExecutor):
    """Runs one callback group of a node that belongs to another executor."""

    def __init__(self, node: Node, group: CallbackGroup, context: Context | None = None):
        super().__init__(context=context)
        self._node, self._group = node, group

    def get_nodes(self) -> list[Node]:
        return [self._node]

    def can_execute(self, entity) -> bool:
        return entity.callback_group is self._group and super().can_execute(entity)


def spin(executor: Executor, stop: threading.Event) -> None:
    """Run callbacks until `stop`; a callback that fails is logged and ends nothing."""
    while not stop.is_set():
        try:
            executor.spin_once(timeout_sec=0.1)
        except InvalidHandle:
            # rclpy: a topic was taken down (cleanup) while the executor prepared to wait for it; the next round leaves
            # it out.
            continue
        except Exception as error:  # of a callback: the node goes on, the log says what it was
            text = f"callback failed: {type(error).__name__}: {error}"
            rclpy.logging.get_logger("cgc").error(text, throttle_duration_sec=10.0)
    executor.shutdown(timeout_sec=1.0)
