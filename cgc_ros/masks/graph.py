"""The built-in mask source: superpixels merged over a region graph, no weights to download, no GPU.

Colour alone cuts the image where colours change. With depth (a sensor's or the map's own rendering) it cuts where
surfaces step or form valleys and holds together what is convex, whatever is printed on it, after the locally convex
connected patches of Stein et al. ("Object Partitioning using Local Convexity", CVPR 2014).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cgc_ros.declared import Settings, number
from cgc_ros.masks.base import MaskError, MaskSource, check_input
from cgc_ros.masks.label_images import compact_masks, enlarged
from cgc_ros.masks.merging import merge_regions
from cgc_ros.masks.pixel_cues import cut_into_superpixels, measure
from cgc_ros.masks.region_graph import build_region_graph


@dataclass(frozen=True)
class GraphMaskOptions(Settings):
    """Options of the `graph` source."""

    long_side: int = number(640, "longer side that an image is shrunk to", 8, 16_384, "px")
    superpixel_spacing: int = number(8, "between superpixels of the shrunk image", 2, 256, "px")
    granularity: float = number(-2.4, "log odds of a border above which it stays: lower keeps more apart", -100, 100)
    granularity_depth: float = number(-1.5, "the granularity where depth is given", -100, 100)
    granularity_rendered: float = number(-3.0, "the granularity where the depth is the map's rendering", -100, 100)
    parts: float = number(-1.5, "added to the granularity for the finer level, that of parts", -100, 0)
    min_area: int = number(100, "of the full image: smaller regions get no mask", 0, 100_000_000, "px")
    min_depth_share: float = number(0.2, "of the pixels that must have depth, or it is not used", 0, 1)


class GraphMaskSource(MaskSource):
    """Superpixels merged over a region graph."""

    name = "graph"
    uses_depth = True

    def __init__(self, options: GraphMaskOptions = GraphMaskOptions()):
        if options.long_side < 4 * options.superpixel_spacing:
            raise MaskError(
                "bad_options",
                f"superpixel_spacing {options.superpixel_spacing} must be a quarter of long_side "
                f"{options.long_side} at most",
            )
        self.options = options

    def segment(self, image: np.ndarray, *, depth: np.ndarray | None = None) -> np.ndarray:
        """image [H, W, 3] uint8 RGB, depth [H, W] float32 metres (0 = invalid) or None -> [2, H, W] int32, 0 = no mask.

        Two levels, ids 1..n in each: objects, and parts of them (each part lies in one object).
        """
        return self._cut(image, depth, self.options.granularity_depth)

    def segment_rendered(self, image: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """As `segment`. Rendered depth shows no relief on what is small or flat, and joins it to what it lies on: where
        it is used, less is joined.
        """
        return self._cut(image, depth, self.options.granularity_rendered)

    def _cut(self, image: np.ndarray, depth: np.ndarray | None, granularity_depth: float) -> np.ndarray:
        check_input(image, depth)
        options = self.options
        if depth is not None and not _is_usable(depth, options.min_depth_share):
            depth = None
        cues = measure(image, depth, options.long_side)
        superpixels = cut_into_superpixels(cues, options.superpixel_spacing)
        graph = build_region_graph(cues, superpixels)
        threshold = options.granularity if depth is None else granularity_depth
        parts, objects = merge_regions(graph, (threshold + options.parts, threshold))
        return np.stack(
            [compact_masks(enlarged(level[superpixels], image) + 1, options.min_area)[0] for level in (objects, parts)]
        )


def _is_usable(depth: np.ndarray, min_share: float) -> bool:
    return float((np.isfinite(depth) & (depth > 0)).mean()) >= min_share
