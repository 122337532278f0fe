"""A robot's program that asks for objects and does nothing else: what ~/query_objects costs its user.

`python -m cgc_ros.demo.asker COUNT PERIOD_S [--clouds]` prints its figures as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np
import rclpy
from rclpy.serialization import deserialize_message, serialize_message

from cgc_ros.ros.dds import prepare_transports
from cgc_ros.srv import QueryObjects

_TIMEOUT_S = 20.0


def ask(count: int, period_s: float, include_clouds: bool, node_name: str = "cgc") -> dict[str, float]:
    """Milliseconds from call to response: `ms_p50`, `ms_p95`; `unpacking_ms` of them go into making Python objects of
    the response's bytes, in this process. Raises TimeoutError.
    """
    rclpy.init()
    node = rclpy.create_node("asker")
    try:
        client = node.create_client(QueryObjects, f"{node_name}/query_objects")
        if not client.wait_for_service(_TIMEOUT_S):
            raise TimeoutError(f"the service {client.srv_name} did not appear within {_TIMEOUT_S:.0f} s")
        taken_ms = []
        request = QueryObjects.Request(include_background=True, include_clouds=include_clouds)
        for _ in range(count):
            time.sleep(period_s)
            start = time.perf_counter()
            future = client.call_async(request)
            rclpy.spin_until_future_complete(node, future, timeout_sec=_TIMEOUT_S)
            if not future.done() or not future.result().success:
                raise TimeoutError(f"{client.srv_name} gave no objects within {_TIMEOUT_S:.0f} s")
            taken_ms.append(1e3 * (time.perf_counter() - start))
        return {
            "ms_p50": round(float(np.median(taken_ms)), 1),
            "ms_p95": round(float(np.quantile(taken_ms, 0.95)), 1),
            "unpacking_ms": round(_unpacking_ms(future.result()), 1),
        }
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


def _unpacking_ms(response: QueryObjects.Response, repeats: int = 20) -> float:
    packed, taken = serialize_message(response), []
    for _ in range(repeats):
        start = time.thread_time()  # of this thread only: what others do on this machine does not count
        deserialize_message(packed, QueryObjects.Response)
        taken.append(1e3 * (time.thread_time() - start))
    return float(np.median(taken))


def main() -> int:
    """Ask as the command line says and print the times as JSON."""
    parser = argparse.ArgumentParser(prog="python -m cgc_ros.demo.asker", description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("period", type=float, help="seconds between a response and the next request")
    parser.add_argument("--clouds", action="store_true")
    arguments = parser.parse_args()
    prepare_transports()
    print(json.dumps(ask(arguments.count, arguments.period, arguments.clouds)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
