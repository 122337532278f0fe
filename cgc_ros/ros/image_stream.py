"""What the arrivals of images and camera_infos tell about the way they take. Free of ROS."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

_WINDOW_NS = 5_000_000_000
_MIN_SPAN_NS = 3_000_000_000  # from the first to the last camera_info in it: images are found later than they
_MIN_INFOS = 10  # in the window, before anything is concluded
_KEPT = 1000  # arrivals: 5 s at 200 Hz


class ImageStreamWatch:
    """The rhythm of the images, and whether camera_info gets through where they do not. Times: monotonic ns."""

    def __init__(self):
        self._images: deque[tuple[int, int]] = deque(maxlen=_KEPT)  # arrival, stamp
        self._infos: deque[int] = deque(maxlen=_KEPT)

    def on_image(self, stamp_ns: int, now_ns: int) -> None:
        """An image arrived."""
        self._images.append((now_ns, stamp_ns))

    def on_camera_info(self, now_ns: int) -> None:
        """A camera_info arrived."""
        self._infos.append(now_ns)

    def period_s(self) -> float:
        """Median time between the last few images; 0 before the second."""
        arrivals = [arrival for arrival, _ in list(self._images)[-10:]]
        return float(np.median(np.diff(arrivals))) * 1e-9 if len(arrivals) > 1 else 0.0

    def lost(self, now_ns: int) -> tuple[int, int] | None:
        """(images, camera_infos) of the last 5 s where most images are lost; None where they are not."""
        infos = [arrival for arrival in list(self._infos) if arrival > now_ns - _WINDOW_NS]
        if not infos or infos[-1] - infos[0] < _MIN_SPAN_NS:
            return None
        stamps = [stamp for arrival, stamp in list(self._images) if arrival >= infos[0]]
        return (len(stamps), len(infos)) if images_are_lost(stamps, len(infos)) else None


def images_are_lost(image_stamps_ns: Sequence[int], camera_infos: int) -> bool:
    """Whether, of a camera that sends both together, mostly the small messages get through.

    Images that are fewer but come in a rhythm are not lost: somebody throttles them.
    """
    if camera_infos < _MIN_INFOS or len(image_stamps_ns) >= camera_infos / 2:
        return False
    gaps = np.diff(np.sort(image_stamps_ns))
    return gaps.size < 3 or bool(gaps.max() > 1.8 * np.median(gaps))
