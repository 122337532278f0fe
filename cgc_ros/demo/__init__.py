"""The demo: a camera, the node and a user in processes of their own, over real DDS."""

from cgc_ros.demo.run import run_demo

__all__ = ["run_demo"]
