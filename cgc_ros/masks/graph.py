"""The built-in mask source: superpixels merged over a region graph, no weights to download, no GPU.

Colour alone cuts the image where colours change. With depth (a sensor's or the map's own rendering) it cuts where surfaces step or
form valleys and holds together what is convex, whatever is printed on it, after the locally convex connected patches of Stein et
al. ("Object Partitioning using Local Convexity", CVPR 2014).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cgc_ros.masks.base import MaskError, check_input
from cgc_ros.masks.label_images import relabelled, snap_to_edges
from cgc_ros.masks.merging import COLOR_WEIGHTS, DEPTH_WEIGHTS, merge_regions
from cgc_ros.masks.pixel_cues import cut_into_superpixels, measure
from cgc_ros.masks.region_graph import build_region_graph


@dataclass(frozen=True)
class GraphMaskOptions:
    """Options of the `graph` source."""

    long_side: int = 320  # working resolution: the longer side of the image is shrunk to this many pixels
    superpixel_spacing: int = 6  # pixels at working resolution
    granularity: float = -1.5  # log odds of a border above which it stays: lower keeps more regions apart
    granularity_depth: float = -1.5  # the same where depth is given
    min_area: int = 100  # pixels of the full image: smaller regions get no mask
    min_depth_share: float = 0.2  # of the pixels must have depth, or it is not used
    border_band: int = 3  # pixels of the full image within which borders move onto colour edges


class GraphMaskSource:
    """A MaskSource (see cgc_ros.masks.base)."""

    name = "graph"

    def __init__(self, options: GraphMaskOptions = GraphMaskOptions()):
        if options.superpixel_spacing < 2 or options.long_side < 4 * options.superpixel_spacing:
            raise MaskError(
                "bad_options", f"superpixel_spacing {options.superpixel_spacing} must be at least 2 and a quarter of long_side "
                f"{options.long_side} at most")
        self.options = options

    def segment(self, image: np.ndarray, *, depth: np.ndarray | None = None) -> np.ndarray:
        """image [H, W, 3] uint8 RGB, depth [H, W] float32 metres (0 = invalid) or None -> [H, W] int32 ids 1..n, 0 = no mask."""
        return self.segment_levels(image, depth=depth, offsets=(0.0,))[0]

    def segment_levels(self, image: np.ndarray, *, depth: np.ndarray | None = None, offsets: tuple[float, ...]) -> np.ndarray:
        """Label images [L, H, W] from fine to coarse: `offsets`, rising, are added to the granularity; 0 is what `segment` gives."""
        check_input(image, depth)
        options = self.options
        if depth is not None and not _is_usable(depth, options.min_depth_share):
            depth = None
        cues = measure(image, depth, options.long_side)
        superpixels = cut_into_superpixels(cues, options.superpixel_spacing)
        graph = build_region_graph(cues, superpixels)
        weights, base = (COLOR_WEIGHTS, options.granularity) if depth is None else (DEPTH_WEIGHTS, options.granularity_depth)
        levels = merge_regions(graph, weights, tuple(base + offset for offset in sorted(offsets)))
        return np.stack([
            relabelled(snap_to_edges(region_of[superpixels], image, options.border_band) + 1, options.min_area) for region_of in levels
        ])


def _is_usable(depth: np.ndarray, min_share: float) -> bool:
    return float((np.isfinite(depth) & (depth > 0)).mean()) >= min_share
