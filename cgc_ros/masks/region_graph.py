"""Regions of an image and the borders between them: sums over pixels, so that merging two regions adds their rows."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from scipy.sparse import csr_array

from cgc_ros.masks.pixel_cues import PixelCues, image_rays
from cgc_ros.masks.planes import NUM_MOMENTS, creases, plane_moments

_LAB_RANGES = ((0.0, 100.0), (-50.0, 60.0), (-50.0, 70.0))
_HISTOGRAM_BINS = 8  # per channel
_TEXTURE_EDGES = (0.02, 0.05, 0.1, 0.2, 0.4)  # of the colour gradient: bounds of the texture histogram's bins
_STEP_UNIT = 0.01  # relative jump of depth that counts half


@dataclass(frozen=True)
class Regions:
    """Sums over the pixels of n regions."""

    area: np.ndarray  # [n] pixels
    histogram: np.ndarray  # [n, 24] pixels per bin of L, a and b
    texture: np.ndarray  # [n, 6] pixels per bin of the colour gradient
    color: np.ndarray  # [n, 3] Lab
    color_squared: np.ndarray  # [n, 3]
    gradient: np.ndarray  # [n] colour edge
    frame: np.ndarray  # [n] length of border shared with the image's own, pixels
    moments: np.ndarray  # [n, 10] of inverse depth over pixel coordinates (planes.py); [n, 0] without depth

    def __len__(self) -> int:
        return len(self.area)

    @property
    def has_depth(self) -> bool:
        """Whether the regions have planes of inverse depth."""
        return self.moments.shape[1] > 0

    def knows_depth(self) -> np.ndarray:
        """[n] bool: regions with depth on most of their pixels."""
        return self.moments[:, 0] > 0.5 * self.area


@dataclass(frozen=True)
class Borders:
    """Sums over the pixel pairs of e borders between two regions."""

    length: np.ndarray  # [e] pixel pairs
    middle: np.ndarray  # [e, 2] u, v
    gradient: np.ndarray  # [e] colour edge
    step: np.ndarray  # [e] jump of depth, 0..1
    concave: np.ndarray  # [e] sine-like bend of the superpixels' planes towards each other, 0..1
    convex: np.ndarray  # [e] bend away from each other, 0..1


@dataclass(frozen=True)
class RegionGraph:
    """`pairs` [e, 2] int64: the regions each border is between, the smaller index first; each pair once."""

    regions: Regions
    pairs: np.ndarray
    borders: Borders
    noise: float = 0.0  # relative noise of inverse depth

    def merged(self, new_region: np.ndarray, count: int) -> tuple[RegionGraph, np.ndarray]:
        """The graph after region i became part of region `new_region[i]` of `count`.

        Also returns each old border's new one, -1 = gone inside.
        """
        gather = _gather(new_region, count)
        pairs = np.sort(new_region[self.pairs], axis=1)
        outer = pairs[:, 0] != pairs[:, 1]
        keys, border = np.unique(pairs[outer, 0] * count + pairs[outer, 1], return_inverse=True)
        new_border = np.full(len(pairs), -1)
        new_border[outer] = border
        join = _gather(border, len(keys))
        kept = Borders(*(join @ getattr(self.borders, field.name)[outer] for field in fields(Borders)))
        regions = Regions(*(gather @ getattr(self.regions, field.name) for field in fields(Regions)))
        return RegionGraph(regions, np.stack([keys // count, keys % count], axis=1), kept, self.noise), new_border

    def perimeters(self) -> np.ndarray:
        """[n] length of each region's border, the image's own included."""
        n = len(self.regions)
        inner = sum(np.bincount(side, weights=self.borders.length, minlength=n) for side in self.pairs.T)
        return self.regions.frame + inner


def build_region_graph(cues: PixelCues, superpixels: np.ndarray) -> RegionGraph:
    """The graph of superpixels [h, w], ids 0..n-1."""
    count = int(superpixels.max()) + 1
    regions = _regions(cues, superpixels, count)
    found = _pixel_pairs(cues, superpixels)
    keys, border = np.unique(found.ids[:, 0].astype(np.int64) * count + found.ids[:, 1], return_inverse=True)
    pairs = np.stack([keys // count, keys % count], axis=1)
    join = _gather(border, len(keys))
    length, middle = join @ np.ones(len(border)), join @ found.points
    nothing = np.zeros(len(keys))
    borders = Borders(length, middle, join @ found.gradient, join @ found.step, nothing, nothing)
    if regions.has_depth:
        crease = creases(regions.moments, regions.area, pairs)
        borders = replace(
            borders, concave=np.clip(crease, 0.0, 1.0) * length, convex=np.clip(-crease, 0.0, 1.0) * length
        )
    return RegionGraph(regions, pairs, borders, cues.noise)


def _gather(target: np.ndarray, count: int) -> csr_array:
    """[count, n]: sums rows i into rows target[i]."""
    return csr_array((np.ones(len(target)), (target, np.arange(len(target)))), shape=(count, len(target)))


def _regions(cues: PixelCues, superpixels: np.ndarray, count: int) -> Regions:
    flat = superpixels.ravel()

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(flat, weights=values.ravel(), minlength=count)

    def histogram(bins: np.ndarray, num_bins: int) -> np.ndarray:
        cells = np.bincount(flat * num_bins + bins.ravel(), minlength=count * num_bins)
        return cells.reshape(count, num_bins).astype(np.float64)

    colors = []
    for channel, (low, high) in enumerate(_LAB_RANGES):
        bins = (cues.lab[..., channel] - low) * (_HISTOGRAM_BINS / (high - low))
        colors.append(histogram(np.clip(bins, 0, _HISTOGRAM_BINS - 1).astype(np.int64), _HISTOGRAM_BINS))
    frame = np.zeros(superpixels.shape)
    frame[[0, -1]] += 1
    frame[:, [0, -1]] += 1
    moments = np.zeros((count, 0))
    if cues.inverse_depth is not None:
        moments = plane_moments(cues.inverse_depth, *image_rays(superpixels.shape), superpixels)
        assert moments.shape == (count, NUM_MOMENTS)
    return Regions(
        np.bincount(flat, minlength=count).astype(np.float64),
        np.concatenate(colors, axis=1),
        histogram(np.digitize(cues.gradient, _TEXTURE_EDGES), len(_TEXTURE_EDGES) + 1),
        np.stack([total(cues.lab[..., channel]) for channel in range(3)], axis=1),
        np.stack([total(cues.lab[..., channel] ** 2) for channel in range(3)], axis=1),
        total(cues.gradient),
        total(frame),
        moments,
    )


@dataclass(frozen=True)
class _PixelPairs:
    """All p pairs of neighbouring pixels in different superpixels."""

    ids: np.ndarray  # [p, 2], in order
    points: np.ndarray  # [p, 2] u, v between the two
    gradient: np.ndarray  # [p] colour edge
    step: np.ndarray  # [p] jump of depth, 0..1


def _pixel_pairs(cues: PixelCues, superpixels: np.ndarray) -> _PixelPairs:
    u, v = image_rays(superpixels.shape)
    found = []
    for axis in (1, 0):
        first, second = _slices(axis, slice(None, -1)), _slices(axis, slice(1, None))
        apart = superpixels[first] != superpixels[second]
        ids = np.sort(np.stack([superpixels[first][apart], superpixels[second][apart]], axis=1), axis=1)
        points = np.stack([(values[first] + values[second])[apart] / 2 for values in (u, v)], axis=1)
        gradient = np.maximum(cues.gradient[first], cues.gradient[second])[apart]
        if cues.inverse_depth is None:
            step = np.zeros(len(ids))
        else:
            jump = _jumps(cues.inverse_depth, axis)[apart]
            step = jump / (jump + _STEP_UNIT + 3.0 * cues.noise)
        found.append((ids, points, gradient, step))
    return _PixelPairs(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _jumps(inverse_depth: np.ndarray, axis: int) -> np.ndarray:
    """Relative jump between each pixel and the next along `axis`, either side followed along its own slope.

    Samples lie one and three pixels away from the gap: colour and depth edges do not always meet to the pixel. 0 where
    any of them is invalid.
    """
    size = inverse_depth.shape[axis]
    gaps = np.arange(size - 1)

    def at(offset: int) -> np.ndarray:
        return np.take(inverse_depth, np.clip(gaps + offset, 0, size - 1), axis=axis)

    far_left, left, right, far_right = at(-3), at(-1), at(2), at(4)
    jump = (right - left) - 0.75 * ((left - far_left) + (far_right - right))
    nearest = np.maximum(np.maximum(left, right), 1e-6)
    known = (far_left > 0) & (left > 0) & (right > 0) & (far_right > 0)
    # A slope that is itself a jump, beside a thin thing, must not make up a jump: the plain difference bounds it.
    return np.where(known, np.minimum(np.abs(jump), np.abs(right - left)) / nearest, 0.0)


def _slices(axis: int, part: slice) -> tuple[slice, slice]:
    return (slice(None), part) if axis == 1 else (part, slice(None))
