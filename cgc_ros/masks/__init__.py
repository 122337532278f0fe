"""Sources of 2D masks: `create_mask_source(kind, **options)`."""

from __future__ import annotations

from collections.abc import Callable

from cgc_ros.declared import SettingError
from cgc_ros.masks.base import MaskError, MaskSource
from cgc_ros.masks.label_images import compact_masks

__all__ = ["KINDS", "MaskError", "MaskSource", "compact_masks", "create_mask_source"]


def create_mask_source(kind: str, **options) -> MaskSource | None:
    """A mask source by name, with its options (docs/masks.md): "graph", "sam", "onnx", or "given".

    "given" is None: frames carry their masks, as a recording's or a topic's do. Raises MaskError.
    """
    if kind not in KINDS:
        raise MaskError("unknown_kind", f"mask source {kind!r} is not known: choose one of {', '.join(KINDS)}")
    try:
        return KINDS[kind](**options)
    except (TypeError, SettingError) as error:
        raise MaskError("bad_options", f"mask source {kind!r}: {error}") from error


def _graph(**options) -> MaskSource:
    from cgc_ros.masks.graph import GraphMaskOptions, GraphMaskSource

    return GraphMaskSource(GraphMaskOptions(**options))


def _sam(**options) -> MaskSource:
    from cgc_ros.masks.sam import SamMaskSource, SamOptions

    return SamMaskSource(SamOptions(**options))


def _onnx(**options) -> MaskSource:
    from cgc_ros.masks.onnx_model import OnnxMaskSource, OnnxOptions

    return OnnxMaskSource(OnnxOptions(**options))


def _given() -> None:
    return None


#: One line registers a source: a function from its options to a MaskSource.
KINDS: dict[str, Callable[..., MaskSource | None]] = {"graph": _graph, "sam": _sam, "onnx": _onnx, "given": _given}
