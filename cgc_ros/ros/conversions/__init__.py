"""ROS messages to the core's types and back. Everything malformed raises FrameError with a reason that is counted."""
