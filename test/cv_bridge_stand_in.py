"""cv_bridge's Python API, as far as images are read by it, for machines without ROS's own.

As in the real one (vision_opencv, Jazzy), rows are split by whole pixels, bytes of another order are swapped with what
numpy 1 had for it, an encoding that is not known raises CvBridgeError, and files are decoded as they are stored.
"""

import re
import sys

import cv2
import numpy as np

_COLORS = {"mono": 1, "bgr": 3, "rgb": 3, "bgra": 4, "rgba": 4}
_KNOWN = {f"{name}{bits}": (f"u{bits // 8}", count) for name, count in _COLORS.items() for bits in (8, 16)}
_KNOWN |= {
    f"bayer_{order}{bits}": (f"u{bits // 8}", 1) for order in ("rggb", "bggr", "gbrg", "grbg") for bits in (8, 16)
}
_KNOWN |= {"yuv422": ("u1", 2), "yuv422_yuy2": ("u1", 2)}
_DEPTHS = {"8U": "u1", "8S": "i1", "16U": "u2", "16S": "i2", "32S": "i4", "32F": "f4", "64F": "f8"}


class CvBridgeError(TypeError):
    """A conversion that is not possible."""


class CvBridge:
    """Messages to arrays, passed through; other desired encodings are not stood in for."""

    def imgmsg_to_cv2(self, img_msg, desired_encoding="passthrough"):
        """A view of the message where rows have no padding, [H, W] or [H, W, C]."""
        assert desired_encoding == "passthrough"
        kind, channels = _stored_as(img_msg.encoding)
        dtype = np.dtype(kind).newbyteorder(">" if img_msg.is_bigendian else "<")
        columns = img_msg.step // dtype.itemsize // channels
        shape = (img_msg.height, columns) if channels == 1 else (img_msg.height, columns, channels)
        pixels = np.ascontiguousarray(np.ndarray(shape, dtype, buffer=img_msg.data)[:, : img_msg.width])
        if bool(img_msg.is_bigendian) != (sys.byteorder == "big"):
            pixels = pixels.byteswap().newbyteorder()
        return pixels

    def compressed_imgmsg_to_cv2(self, cmprs_img_msg, desired_encoding="passthrough"):
        """What OpenCV decodes, None where it cannot."""
        assert desired_encoding == "passthrough"
        return cv2.imdecode(np.frombuffer(cmprs_img_msg.data, np.uint8), cv2.IMREAD_UNCHANGED)


def _stored_as(encoding: str) -> tuple[str, int]:
    if encoding in _KNOWN:
        return _KNOWN[encoding]
    generic = re.fullmatch(r"(8U|8S|16U|16S|32S|32F|64F)(?:C([0-9]+))?", encoding)
    if generic is None:
        raise CvBridgeError(f"Unrecognized image encoding [{encoding}]")
    return _DEPTHS[generic[1]], int(generic[2] or 1)
