"""The selected object's pictures, outlined, on one sheet."""

from __future__ import annotations

import cv2
import numpy as np

from cgc_ros.mapping.object_crops import ObjectCrop
from cgc_ros.palette import id_color


def outlined(crop: ObjectCrop, object_id: int) -> np.ndarray:
    """The picture [size, size, 3] uint8 RGB with the object's outline in its colour."""
    contours = cv2.findContours(crop.mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    return cv2.drawContours(crop.picture.copy(), contours, -1, id_color(object_id), 2)


def contact_sheet(pictures: list[np.ndarray], columns: int = 2, gap: int = 4) -> np.ndarray:
    """Pictures of one size in rows on white."""
    rows = -(-len(pictures) // columns)
    size = pictures[0].shape[0]
    sheet = np.full((rows * (size + gap) - gap, columns * (size + gap) - gap, 3), 255, np.uint8)
    for index, picture in enumerate(pictures):
        top, left = (index // columns) * (size + gap), (index % columns) * (size + gap)
        sheet[top : top + size, left : left + size] = picture
    return sheet
