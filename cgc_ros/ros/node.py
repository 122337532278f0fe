"""`python -m cgc_ros.ros.node`, `ros2 run cgc_ros cgc_node`: the node's process. The main thread waits for signals,
executors and workers have their own.

Nothing but the standard library is imported before signals are taken: the rest takes seconds, and whoever presses
Ctrl-C meanwhile gets a clean end.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_CALLBACK_TIMEOUT_S = 2.0  # that callbacks have to end in when the process is asked to
_SWITCH_INTERVAL_S = 0.001  # of Python's threads: a label image waits less for the interpreter than with 5 ms


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT, SIGTERM or SIGHUP. 0 after a clean end, 1 where the map could not be saved or a
    callback did not end, 2 where a parameter is wrong.
    """
    stop = threading.Event()
    for number in _SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
            signal.signal(number, lambda *_: stop.set())
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    return _run(args, stop)


def _run(args: list[str] | None, stop: threading.Event) -> int:
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    from cgc_ros.ros.dds import prepare_transports
    from cgc_ros.ros.executor import NodeExecutor, spin
    from cgc_ros.ros.managed_node import CgcNode
    from cgc_ros.ros.node_parameters import ParameterError

    if stop.is_set():
        return 0
    transports = prepare_transports()
    # rclpy's own handler would end the context before the map is saved.
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = CgcNode()
    except ParameterError as error:
        rclpy.logging.get_logger("cgc").fatal(str(error))
        rclpy.shutdown()
        return 2
    node.get_logger().info(transports)
    executor = NodeExecutor(node, node.own_threads)
    spinner = threading.Thread(target=spin, args=(executor, stop), name="executor", daemon=True)
    spinner.start()
    if node.parameters.autostart and not stop.is_set():
        node.autostart()
    # A full collection looks at 200,000 objects of the imported libraries, and nobody else runs for 0.1 s or more
    # meanwhile. They stay anyway: leave them out.
    gc.collect()
    gc.freeze()
    stop.wait()
    node.get_logger().info("shutting down")
    spinner.join(_CALLBACK_TIMEOUT_S)
    if node.lifecycle_state != "finalized":
        node.trigger_shutdown()
    if spinner.is_alive():
        node.get_logger().error("a callback still runs: the process ends without it")
        sys.stdout.flush()
        os._exit(1)  # Python would wait for its thread for as long as it takes
    is_map_lost = node.is_map_lost
    node.destroy_node()
    rclpy.shutdown()
    return 1 if is_map_lost else 0


if __name__ == "__main__":
    sys.exit(main())
