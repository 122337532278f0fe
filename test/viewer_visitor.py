"""A page without a browser: connects to the viewer as one does, says where it looks from, and takes what it is sent."""

from __future__ import annotations

import threading
from urllib.parse import urlsplit

import msgspec
import viser
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

LOOKS_FROM = {
    "type": "ViewerCameraMessage",
    "wxyz": (1.0, 0.0, 0.0, 0.0),
    "position": (0.0, 0.0, 0.0),
    "fov": 1.0,
    "near": 0.01,
    "far": 100.0,
    "image_height": 600,
    "image_width": 800,
    "look_at": (0.0, 0.0, 1.0),
    "up_direction": (0.0, 0.0, 1.0),
}


class Visitor:
    """A context manager; `received` counts bytes."""

    def __init__(self, url: str):
        self.received = 0
        self._socket = connect(
            f"ws://{urlsplit(url).netloc}",
            subprotocols=[f"viser-v{viser.__version__}"],
            max_size=None,
            compression=None,
        )
        self._socket.send(msgspec.msgpack.encode(LOOKS_FROM))
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()

    def __enter__(self) -> Visitor:
        return self

    def __exit__(self, *_) -> None:
        self._socket.close()
        self._thread.join(5)

    def _take(self) -> None:
        try:
            for message in self._socket:
                self.received += len(message)
        except ConnectionClosed:
            pass
