"""torchvision whose operators work, for tests of models that import it.

Machines without a GPU may have a torchvision whose compiled operators want CUDA libraries: there torchvision::nms is
defined here, before torchvision is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_libraries = []  # operators live as long as the library that defines them


@contextmanager
def working_torchvision() -> Iterator[None]:
    """Within it, torchvision can be imported and says that it has its operators."""
    try:
        import torchvision
    except RuntimeError:  # operator torchvision::nms does not exist
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        for device in ("CPU", "CUDA"):
            library.impl("nms", _greedy_nms, device)
        _libraries.append(library)
        import torchvision
    original = torchvision.extension._has_ops
    if _libraries:
        torchvision.extension._has_ops = lambda: True
    yield
    torchvision.extension._has_ops = original


def _greedy_nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Boxes [N, 4] as x0 y0 x1 y1: indices that stay, best score first."""
    left = torch.argsort(scores, descending=True)
    kept = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        corner = torch.maximum(boxes[left, :2], boxes[best, :2])
        size = (torch.minimum(boxes[left, 2:], boxes[best, 2:]) - corner).clamp(min=0)
        overlap = size.prod(dim=1)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
        left = left[overlap <= iou_threshold * (areas[left] + areas[best] - overlap)]
    return torch.stack(kept) if kept else torch.zeros(0, dtype=torch.int64)
