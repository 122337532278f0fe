"""What the writers of recordings share: frames as stored, with what a format cannot hold counted and told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np

from cgc_ros.frame import Frame
from cgc_ros.sequences.base import Sequence, SequenceError

MILLIMETRES = 1000.0  # per metre
_MAX_MILLIMETRES = np.iinfo(np.uint16).max - 1  # one more would read as invalid


@dataclass
class Conversion:
    """How a conversion went; `told`: what was left out, in words."""

    frames: int = 0
    told: list[str] = field(default_factory=list)
    far_pixels: int = 0  # of depth beyond 65.534 m

    def report(self) -> list[str]:
        """All that is to be told."""
        if not self.far_pixels:
            return self.told
        return [*self.told, f"{self.far_pixels} pixels of depth are further than 65.534 m, which 16 bit cannot hold: 0"]


def stored_frames(
    sequence: Sequence, conversion: Conversion, on_frame: Callable[[int, int], None]
) -> Iterator[tuple[int, Frame]]:
    """Index and stored frame of all that can be read; the others are named in `conversion`."""
    for index in range(len(sequence)):
        try:
            frame = sequence.stored_frame(index)
        except SequenceError as error:
            conversion.told.append(f"left out: {error}")
        else:
            conversion.frames += 1
            yield index, frame
        on_frame(index + 1, len(sequence))
    if not conversion.frames:
        raise SequenceError("unreadable", f"{sequence.name}: no frame could be read; {conversion.told[0]}")


def picture_bytes(sequence: Sequence, index: int, frame: Frame) -> tuple[str, bytes]:
    """(suffix, bytes) of the image file as it is where that decodes to the same pixels, else a PNG."""
    return sequence.stored_picture(index) or (".png", png_bytes(cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR)))


def png_bytes(array: np.ndarray) -> bytes:
    """[H, W] uint8 or uint16, or [H, W, 3] uint8 blue first, as PNG."""
    done, data = cv2.imencode(".png", array)
    if not done:
        raise SequenceError("bad_image", f"an image of {array.shape} {array.dtype} cannot be written as PNG")
    return data.tobytes()


def depth_millimetres(depth: np.ndarray, conversion: Conversion) -> np.ndarray:
    """[H, W] uint16, 0 = invalid."""
    millimetres = np.rint(depth.astype(np.float64) * MILLIMETRES)
    far = millimetres > _MAX_MILLIMETRES
    conversion.far_pixels += int(far.sum())
    return np.where(far, 0, millimetres).astype(np.uint16)


def label_ids(labels: np.ndarray) -> np.ndarray:
    """[H, W] uint16 ids; masks, whose ids mean nothing elsewhere, are numbered anew where 16 bit do not hold them."""
    if labels.max(initial=0) <= np.iinfo(np.uint16).max:
        return labels.astype(np.uint16)
    values, numbered = np.unique(labels, return_inverse=True)
    return (numbered.reshape(labels.shape) + (values[0] != 0)).astype(np.uint16)


def world_pose(sequence: Sequence, frame: Frame) -> np.ndarray:
    """[4, 4] in the recording's own world."""
    pose = frame.world_from_camera.copy()
    pose[:3, 3] += sequence.origin
    return pose
