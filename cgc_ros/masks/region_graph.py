"""Regions of an image and the borders between them: sums over pixels, so that merging two regions adds their rows."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from scipy.sparse import csr_array

from cgc_ros.masks.pixel_cues import ASSUMED_FOCAL, PixelCues
from cgc_ros.masks.planes import NUM_MOMENTS, plane_moments, steps_and_creases

_LAB_RANGES = ((0.0, 100.0), (-50.0, 60.0), (-50.0, 70.0))
_HISTOGRAM_BINS = 8  # per channel


@dataclass(frozen=True)
class Regions:
    """Sums over the pixels of n regions."""

    area: np.ndarray  # [n] pixels
    histogram: np.ndarray  # [n, 24] pixels per bin of L, a and b
    color: np.ndarray  # [n, 3] Lab
    color_squared: np.ndarray  # [n, 3]
    frame: np.ndarray  # [n] length of border shared with the image's own, pixels
    moments: np.ndarray  # [n, 10] of inverse depth over pixel coordinates (planes.py); [n, 0] without depth

    def __len__(self) -> int:
        return len(self.area)

    @property
    def has_depth(self) -> bool:
        return self.moments.shape[1] > 0


@dataclass(frozen=True)
class Borders:
    """Sums over the pixel pairs of e borders between two regions; depth evidence is weighted by the length it was seen on."""

    length: np.ndarray  # [e] pixel pairs
    gradient: np.ndarray  # [e] colour edge
    step: np.ndarray  # [e] relative jump of depth, 1 = 10 %, at most 1
    concave: np.ndarray  # [e] sine-like bend of the two planes towards each other, 0..1
    convex: np.ndarray  # [e] bend away from each other, 0..1


@dataclass(frozen=True)
class RegionGraph:
    """`pairs` [e, 2] int64: the regions each border is between, the smaller index first; each pair once."""

    regions: Regions
    pairs: np.ndarray
    borders: Borders

    def merged(self, new_region: np.ndarray, count: int) -> tuple[RegionGraph, np.ndarray]:
        """The graph after region i became part of region `new_region[i]` of `count`; and each old border's new one, -1 = gone inside."""
        gather = csr_array((np.ones(len(new_region)), (new_region, np.arange(len(new_region)))), shape=(count, len(new_region)))
        pairs = np.sort(new_region[self.pairs], axis=1)
        outer = pairs[:, 0] != pairs[:, 1]
        keys, border = np.unique(pairs[outer, 0] * count + pairs[outer, 1], return_inverse=True)
        new_border = np.full(len(pairs), -1)
        new_border[outer] = border
        kept = Borders(*(
            np.bincount(border, weights=getattr(self.borders, field.name)[outer], minlength=len(keys)) for field in fields(Borders)
        ))
        regions = Regions(*(gather @ getattr(self.regions, field.name) for field in fields(Regions)))
        return RegionGraph(regions, np.stack([keys // count, keys % count], axis=1), kept), new_border

    def perimeters(self) -> np.ndarray:
        """[n] length of each region's border, the image's own included."""
        n = len(self.regions)
        return self.regions.frame + sum(np.bincount(side, weights=self.borders.length, minlength=n) for side in self.pairs.T)


def build_region_graph(cues: PixelCues, superpixels: np.ndarray) -> RegionGraph:
    """The graph of superpixels [h, w], ids 0..n-1."""
    count = int(superpixels.max()) + 1
    regions = _regions(cues, superpixels, count)
    pairs, points, gradient = _pixel_pairs(cues, superpixels)
    keys, border = np.unique(pairs[:, 0].astype(np.int64) * count + pairs[:, 1], return_inverse=True)
    pairs = np.stack([keys // count, keys % count], axis=1)
    length = np.bincount(border, minlength=len(keys)).astype(np.float64)
    nothing = np.zeros(len(keys))
    borders = Borders(length, np.bincount(border, weights=gradient, minlength=len(keys)), nothing, nothing, nothing)
    if regions.has_depth:
        middle = np.stack([np.bincount(border, weights=points[:, axis], minlength=len(keys)) for axis in range(2)], axis=1)
        step, crease = steps_and_creases(regions.moments, regions.area, pairs, middle / length[:, None])
        borders = replace(
            borders, step=np.minimum(step * 10.0, 1.0) * length, concave=np.clip(crease, 0.0, 1.0) * length,
            convex=np.clip(-crease, 0.0, 1.0) * length)
    return RegionGraph(regions, pairs, borders)


def _regions(cues: PixelCues, superpixels: np.ndarray, count: int) -> Regions:
    flat = superpixels.ravel()

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(flat, weights=values.ravel(), minlength=count)

    histograms = []
    for channel, (low, high) in enumerate(_LAB_RANGES):
        bins = (cues.lab[..., channel].ravel() - low) * (_HISTOGRAM_BINS / (high - low))
        bins = np.clip(bins, 0, _HISTOGRAM_BINS - 1).astype(np.int64)
        cells = np.bincount(flat * _HISTOGRAM_BINS + bins, minlength=count * _HISTOGRAM_BINS)
        histograms.append(cells.reshape(count, _HISTOGRAM_BINS))
    frame = np.zeros(superpixels.shape)
    frame[[0, -1]] += 1
    frame[:, [0, -1]] += 1
    moments = np.zeros((count, 0))
    if cues.inverse_depth is not None:
        moments = plane_moments(cues.inverse_depth, *_image_coordinates(superpixels.shape), superpixels)
        assert moments.shape[1] == NUM_MOMENTS
    return Regions(
        np.bincount(flat, minlength=count).astype(np.float64), np.concatenate(histograms, axis=1).astype(np.float64),
        np.stack([total(cues.lab[..., channel]) for channel in range(3)], axis=1),
        np.stack([total(cues.lab[..., channel] ** 2) for channel in range(3)], axis=1), total(frame), moments)


def _image_coordinates(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Pixels as rays (u, v, 1) of the assumed camera, [h, w] each."""
    focal = ASSUMED_FOCAL * max(shape)
    v, u = np.mgrid[: shape[0], : shape[1]]
    return (u - (shape[1] - 1) / 2) / focal, (v - (shape[0] - 1) / 2) / focal


def _pixel_pairs(cues: PixelCues, superpixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All neighbouring pixels in different superpixels: their ids [p, 2] in order, the point between them [p, 2], the colour edge [p]."""
    u, v = _image_coordinates(superpixels.shape)
    found = []
    for first, second in (
        ((slice(None), slice(None, -1)), (slice(None), slice(1, None))), ((slice(None, -1), slice(None)), (slice(1, None), slice(None))),
    ):
        apart = superpixels[first] != superpixels[second]
        ids = np.sort(np.stack([superpixels[first][apart], superpixels[second][apart]], axis=1), axis=1)
        points = np.stack([(axis[first] + axis[second])[apart] / 2 for axis in (u, v)], axis=1)
        found.append((ids, points, np.maximum(cues.gradient[first], cues.gradient[second])[apart]))
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))


