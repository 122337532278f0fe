"""One rule for names: of frames, of rectified images, of namespaces."""

from __future__ import annotations

import re

#: What image_transport puts behind a topic's name.
TRANSPORTS = ("/compressed", "/compressedDepth", "/theora", "/ffmpeg", "/zstd")
_RECTIFIED = {"rect", "rectified", "rectify"}


def frame_name(frame_id: str) -> str:
    """A frame id as it is compared: ROS 1's leading slash means the same frame."""
    return frame_id.lstrip("/")


def without_transport(topic: str) -> str:
    """A topic without image_transport's suffix."""
    return next((topic.removesuffix(suffix) for suffix in TRANSPORTS if topic.endswith(suffix)), topic)


def is_rectified(topic: str) -> bool:
    """Whether the name says that its images are rectified: one of its words, between slashes and underscores, is rect
    or rectified (image_rect_color, rgb/rect/image; not direct/image_raw).
    """
    return not _RECTIFIED.isdisjoint(re.split(r"[/_]", topic.lower()))
