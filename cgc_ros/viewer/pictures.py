"""What a camera saw, beside what the map shows from the same place."""

from __future__ import annotations

from collections.abc import Set

import cv2
import numpy as np

from cgc_ros.frame import UNLABELLED
from cgc_ros.mapping import MapSnapshot
from cgc_ros.palette import overlay_picture
from cgc_ros.viewer.views import CameraView


def view_pictures(
    view: CameraView, snapshot: MapSnapshot, width: int, hidden: Set[int] = frozenset()
) -> list[np.ndarray]:
    """Image, render, and image tinted by the map's objects, [h, width, 3] uint8 RGB each; hidden ones stay untinted."""
    camera = view.camera(width, snapshot)
    image = cv2.resize(view.image, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
    labels = snapshot.segment(camera)
    if hidden:
        labels = np.where(np.isin(labels, list(hidden)), UNLABELLED, labels)
    return [image, snapshot.render(camera, view.stamp_ns).color, overlay_picture(image, labels)]
