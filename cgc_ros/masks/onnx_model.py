"""Any ONNX segmenter whose signature is one of those below, as a mask source, by onnxruntime.

One input, [1, 3, H, W] RGB: uint8, or floats in 0..1 (what else a model normalises by belongs in its graph). Where H
and W are fixed, the image is scaled to fit and padded with grey at the right and below; where they are not, it is given
as it is, padded to whole multiples of 32. Outputs, told by their number, types and shapes:

- `labels`: one integer tensor [H, W], with or without leading axes of 1: a label image, 0 = no mask;
- `masks`: [M, h, w] (or [1, M, h, w], [M, 1, h, w]), bool or shares in 0..1, and optionally scores [M];
- YOLO's, as FastSAM and YOLOv8's segmentation models are exported: predictions [1, 4 + C + P, A] (middle and size of a
  box in pixels of the input, scores of C classes, P coefficients) and prototypes [1, P, h, w].
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cgc_ros.declared import Settings, number, text
from cgc_ros.masks.base import MaskError, MaskSource, check_input
from cgc_ros.masks.label_images import compact_masks, flatten_masks

PADDING = 114  # grey, as YOLO's models are trained with
MULTIPLE = 32  # of sides that are free


@dataclass(frozen=True)
class OnnxOptions(Settings):
    """Options of the `onnx` source."""

    model: str | Path = text("", "an .onnx file")
    score_thresh: float = number(0.4, "masks that the model rates lower are left out", 0, 1)
    box_nms_thresh: float = number(0.7, "of two of YOLO's masks whose boxes overlap more (IoU), the worse leaves", 0, 1)
    duplicate_iou: float = number(0.85, "of two masks that overlap more (IoU), the worse leaves", 0, 1)
    min_area: int = number(100, "smaller masks are left out", 0, 100_000_000, "px")
    threads: int = number(0, "of a CPU; 0: onnxruntime's own choice", 0, 1024)


class OnnxMaskSource(MaskSource):
    """A model file, run on a GPU where onnxruntime has a provider for it, else on the CPU."""

    name = "onnx"

    def __init__(self, options: OnnxOptions = OnnxOptions()):
        self.options = options
        self.session = _session(options)
        inputs = self.session.get_inputs()
        shape = inputs[0].shape
        if len(inputs) != 1 or len(shape) != 4 or shape[1] != 3 or inputs[0].type not in _TYPES:
            raise MaskError(
                "bad_model",
                f"{options.model} takes {[(each.name, each.type, each.shape) for each in inputs]}: wanted one input "
                "[1, 3, H, W] of uint8, float or float16 (docs/masks.md)",
            )
        self.input = inputs[0]
        self.size = [side if isinstance(side, int) else None for side in shape[2:]]  # height and width; None: free

    def segment(self, image: np.ndarray, *, depth: np.ndarray | None = None) -> np.ndarray:
        """image [H, W, 3] uint8 RGB -> [H, W] int32 ids 1..n, 0 = no mask, of a model that gives labels; else
        [2, H, W]: wholes and parts. Depth is not used.
        """
        check_input(image, depth)
        fitted = _Fitted.to(image, *self.size)
        values = fitted.pixels.transpose(2, 0, 1)[None]
        if self.input.type != "tensor(uint8)":
            values = values.astype(_TYPES[self.input.type]) / _TYPES[self.input.type](255)
        try:
            outputs = self.session.run(None, {self.input.name: np.ascontiguousarray(values)})
        except Exception as error:  # onnxruntime's errors have no common class but this
            raise MaskError("failed", f"{self.options.model} failed: {str(error)[:300]}") from error
        return self._masks(outputs, fitted, image.shape[:2])

    def _masks(self, outputs: list[np.ndarray], fitted: _Fitted, size: tuple[int, int]) -> np.ndarray:
        first = outputs[0]
        if (
            len(outputs) == 1
            and first.dtype.kind in "iu"
            and first.ndim >= 2
            and first.size == np.prod(first.shape[-2:])
        ):
            labels = first.reshape(first.shape[-2:]).astype(np.int64)
            return compact_masks(fitted.back(labels, cv2.INTER_NEAREST), self.options.min_area)[0]
        if len(outputs) == 2 and first.ndim == 3 and outputs[1].ndim == 4 and first.shape[1] > 4 + outputs[1].shape[1]:
            masks, scores = self._yolo(first[0].T.astype(np.float32), outputs[1][0].astype(np.float32), fitted)
        else:
            masks, scores = self._plain(outputs, fitted)
        stacked = np.array(masks, dtype=bool).reshape(-1, *size)
        return flatten_masks(stacked, scores, min_area=self.options.min_area, duplicate_iou=self.options.duplicate_iou)

    def _plain(self, outputs: list[np.ndarray], fitted: _Fitted) -> tuple[list[np.ndarray], np.ndarray]:
        shares = outputs[0]
        if shares.ndim == 4 and 1 in shares.shape[:2]:
            shares = shares.reshape(-1, *shares.shape[2:])
        scores = outputs[1].reshape(-1) if len(outputs) == 2 else np.ones(len(shares))
        if shares.ndim != 3 or len(outputs) > 2 or len(scores) != len(shares):
            raise MaskError(
                "bad_model",
                f"{self.options.model} gives {[(each.dtype.name, each.shape) for each in outputs]}: none of the known "
                "signatures (docs/masks.md)",
            )
        good = np.flatnonzero(scores >= self.options.score_thresh)
        return [fitted.back(shares[each].astype(np.float32)) > 0.5 for each in good], scores[good]

    def _yolo(self, found: np.ndarray, prototypes: np.ndarray, fitted: _Fitted) -> tuple[list[np.ndarray], np.ndarray]:
        """`found` [A, 4 + C + P], `prototypes` [P, h, w]."""
        first = found.shape[1] - len(prototypes)
        scores = found[:, 4:first].max(axis=1)
        found, scores = found[scores >= self.options.score_thresh], scores[scores >= self.options.score_thresh]
        half = found[:, 2:4] / 2
        boxes = np.concatenate([found[:, :2] - half, found[:, :2] + half], axis=1)
        kept = _without_overlaps(boxes, scores, self.options.box_nms_thresh)
        masks = []
        for each in kept:
            logits = np.tensordot(found[each, first:], prototypes, axes=1)
            left, top, right, bottom = fitted.box_back(boxes[each])
            mask = np.zeros(fitted.source, bool)
            mask[top:bottom, left:right] = fitted.back(logits)[top:bottom, left:right] > 0
            masks.append(mask)
        return masks, scores[kept]


@dataclass(frozen=True)
class _Fitted:
    """An image as a model takes it, and the way back."""

    pixels: np.ndarray  # [h, w, 3] uint8
    scale: float  # of the image's pixels
    source: tuple[int, int]  # height and width of the image

    @staticmethod
    def to(image: np.ndarray, height: int | None, width: int | None) -> _Fitted:
        """To a model's sides, None where they are free."""
        size = image.shape[:2]
        scale = (
            min(wanted / had for wanted, had in zip((height, width), size, strict=True) if wanted)
            if (height or width)
            else 1.0
        )
        rows, columns = (max(1, round(side * scale)) for side in size)
        resized = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA) if scale != 1.0 else image
        padded = (
            wanted or -(-had // MULTIPLE) * MULTIPLE
            for wanted, had in zip((height, width), (rows, columns), strict=True)
        )
        pixels = np.full((*padded, 3), PADDING, np.uint8)
        pixels[:rows, :columns] = resized
        return _Fitted(pixels, scale, (size[0], size[1]))

    def back(self, values: np.ndarray, interpolation: int = cv2.INTER_LINEAR) -> np.ndarray:
        """[h, w] that covers the padded image, at any resolution -> [H, W] of the image."""
        rows, columns = values.shape[0] / self.pixels.shape[0], values.shape[1] / self.pixels.shape[1]
        to_values = np.array([[self.scale * columns, 0.0], [0.0, self.scale * rows]])
        shift = to_values @ [0.5, 0.5] - 0.5  # pixel centres lie at half pixels
        affine = np.column_stack([to_values, shift])
        height, width = self.source
        flags = interpolation | cv2.WARP_INVERSE_MAP
        values = values.astype(np.float32 if values.dtype.kind == "f" else np.float64)
        warped = cv2.warpAffine(values, affine, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        return warped if values.dtype == np.float32 else warped.astype(np.int64)

    def box_back(self, box: np.ndarray) -> tuple[int, int, int, int]:
        """Whole pixels of the image, within it."""
        left, top, right, bottom = box / self.scale
        height, width = self.source
        return (
            int(np.clip(np.floor(left), 0, width)),
            int(np.clip(np.floor(top), 0, height)),
            int(np.clip(np.ceil(right), 0, width)),
            int(np.clip(np.ceil(bottom), 0, height)),
        )


_TYPES: dict[str, Any] = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}


def _session(options: OnnxOptions) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MaskError(
            "missing_package", f"mask source onnx needs onnxruntime ({error}): pip install onnxruntime"
        ) from error
    path = Path(options.model).expanduser()
    if not str(options.model) or not path.is_file():
        raise MaskError("missing_checkpoint", f"onnx model {str(options.model)!r} is no file: nothing is downloaded")
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    usable = set(onnxruntime.get_available_providers())
    providers = [each for each in ("CUDAExecutionProvider", "CPUExecutionProvider") if each in usable]
    try:
        return onnxruntime.InferenceSession(str(path), settings, providers=providers)
    except Exception as error:  # onnxruntime's errors have no common class but this
        raise MaskError("bad_checkpoint", f"{path} cannot be read as an ONNX model: {str(error)[:300]}") from error


def _without_overlaps(boxes: np.ndarray, scores: np.ndarray, most: float) -> np.ndarray:
    """Indices, best first, of boxes [N, 4] that overlap (IoU) no better one by more than `most`."""
    left, kept = np.argsort(-scores, kind="stable"), []
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        corner = np.maximum(boxes[left, :2], boxes[best, :2])
        overlap = np.prod(np.clip(np.minimum(boxes[left, 2:], boxes[best, 2:]) - corner, 0, None), axis=1)
        left = left[overlap <= most * (areas[left] + areas[best] - overlap)]
    return np.array(kept, dtype=int)
