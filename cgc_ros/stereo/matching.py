"""How well depth hypotheses explain posed views: warping into each source, and correlation of windows.

Everything here works at one image size at a time (`MatchLevel`) and in inverse depth, `w` (1 / depth along the
reference's z), because equal steps in `w` are nearly equal steps in the image. `w` is either one value a plane,
[C, 1, 1], or one a pixel, [C, h, w]. A score is a zero-mean normalised cross-correlation (ZNCC), -1..1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cgc_ros.frame import Intrinsics
from cgc_ros.stereo.geometry import SourceProjection, typical_rate

#: Image elements scored at once on a CPU, so that they stay in its cache; a GPU takes all planes at once.
CPU_CHUNK = 320_000


class MatchLevel:
    """Reference and sources at one working size, with the projection of any inverse depth into each source."""

    def __init__(
        self,
        reference: Tensor,  # [h, w] grey, 0..1
        sources: Sequence[Tensor],  # [hs, ws] each
        reference_intrinsics: Intrinsics,  # at the size of `reference`
        source_intrinsics: Sequence[Intrinsics],
        source_from_reference: Sequence[np.ndarray],  # [4, 4] float64 each
        noise: float,  # grey-level noise, of 1; keeps flat windows from correlating
        hidden: float,  # score that a source may cost a point, see `over_sources`
    ):
        self.reference = reference - 0.5  # centred: window variances lose fewer digits
        self.noise_variance = noise * noise
        self.hidden = hidden
        self.sources = [_nan_frame(source - 0.5) for source in sources]
        height, width = reference.shape
        projections = [
            SourceProjection.between(reference_intrinsics, intrinsics, transform)
            for intrinsics, transform in zip(source_intrinsics, source_from_reference, strict=True)
        ]
        self.pixels_per_inverse_depth = typical_rate(projections, width, height)
        self._infinity, self._parallax = [], []
        for projection, intrinsics in zip(projections, source_intrinsics, strict=True):
            infinity, parallax = _in_grid_units(projection, width, height, intrinsics)
            self._infinity.append(torch.as_tensor(infinity, dtype=torch.float32, device=reference.device))
            self._parallax.append(parallax.tolist())

    @property
    def size(self) -> tuple[int, int]:
        """(h, w)."""
        height, width = self.reference.shape
        return height, width

    @property
    def chunk(self) -> int:
        """How many planes to score at once."""
        return max(1, CPU_CHUNK // self.reference.numel()) if self.reference.device.type == "cpu" else 256

    def source_grid(self, index: int, w: Tensor) -> Tensor:
        """Where the points at inverse depth `w` land in a source, [C, h, w, 2], grid_sample's units (image = -1..1)."""
        infinity, parallax = self._infinity[index], self._parallax[index]
        reciprocal = (infinity[2] + w * parallax[2]).clamp_(min=1e-6).reciprocal_()  # behind the camera: far outside
        grid = torch.empty(*reciprocal.shape, 2, device=w.device)
        torch.mul(infinity[0] + w * parallax[0], reciprocal, out=grid[..., 0])
        torch.mul(infinity[1] + w * parallax[1], reciprocal, out=grid[..., 1])
        return grid

    def warp(self, index: int, w: Tensor) -> Tensor:
        """A source's grey values at the points of inverse depth `w`, [C, h, w], NaN outside its image."""
        grid = self.source_grid(index, w)
        image = self.sources[index].expand(grid.shape[0], 1, -1, -1)
        return F.grid_sample(image, grid, padding_mode="border", align_corners=False)[:, 0]

    def parallax(self, w: Tensor) -> Tensor:
        """Pixels by which a point at `w` [h, w] lies from where it would at infinity, in the source that shows most."""
        most = torch.zeros_like(w)
        for index, source in enumerate(self.sources):
            grid = self.source_grid(index, w[None])[0]
            moved = grid - self.source_grid(index, torch.zeros_like(w)[None])[0]
            pixels = torch.hypot(moved[..., 0] * (0.5 * source.shape[1]), moved[..., 1] * (0.5 * source.shape[0]))
            most = torch.where((grid.abs() < 1.0).all(-1), torch.maximum(most, pixels), most)
        return most


class BoxWindow:
    """ZNCC over square windows, plain sums: the fast score, for whole cost volumes."""

    def __init__(self, level: MatchLevel, window: int):
        self.level, self.window = level, window
        image = level.reference[None]
        self._mean = _box_mean(image, window)
        variance = _box_mean(image * image, window).sub_(self._mean.square()).clamp_(min=0)
        self._variance = variance.add_(level.noise_variance)

    @property
    def contrast(self) -> Tensor:
        """Standard deviation of the reference's grey value in each window, [h, w], 0 at the rim; noise taken off."""
        return self._with_rim((self._variance - self.level.noise_variance).clamp(min=0).sqrt(), 0.0)[0]

    def __call__(self, w: Tensor) -> Tensor:
        """[C, h, w] scores over all sources (`over_sources`); -1 where nothing sees the point and at the rim."""
        scores = [self._score(index, w) for index in range(len(self.level.sources))]
        return self._with_rim(over_sources(scores, self.level.hidden), -1.0)

    def _score(self, index: int, w: Tensor) -> Tensor:
        warped = self.level.warp(index, w)
        count = warped.shape[0]
        moments = torch.empty(3 * count, *warped.shape[1:], device=warped.device)
        moments[:count] = warped
        torch.mul(warped, warped, out=moments[count : 2 * count])
        torch.mul(warped, self.level.reference, out=moments[2 * count :])
        mean, square, product = _box_mean(moments, self.window).split(count)
        variance = square.addcmul_(mean, mean, value=-1).clamp_(min=0).add_(self.level.noise_variance)
        covariance = product.addcmul_(mean, self._mean, value=-1)
        return covariance.mul_(variance.mul_(self._variance).rsqrt_())

    def _with_rim(self, inner: Tensor, fill: float) -> Tensor:
        rim = self.window // 2
        return F.pad(inner, (rim, rim, rim, rim), value=fill)


class SupportWindow:
    """ZNCC over windows whose pixels weigh by likeness of colour to the centre (Yoon and Kweon, PAMI 2006).

    Next to an edge only the centre's own side votes, so a foreground does not fatten over its background; a side with
    no texture of its own scores low instead of borrowing the edge's. Dearer than `BoxWindow`: for few hypotheses.
    """

    def __init__(self, level: MatchLevel, color: Tensor, taps: int, stride: int, color_sigma: float):
        """`color` [3, h, w], 0..1; `taps` x `taps` samples, `stride` pixels apart; `color_sigma` of 1."""
        self.level, self._reach = level, taps // 2 * stride
        reach, (height, width) = self._reach, level.size
        colors = F.pad(color[None], (reach,) * 4, mode="replicate")[0]
        greys = F.pad(level.reference[None, None], (reach,) * 4, mode="replicate")[0, 0]
        offsets = range(-reach, reach + 1, stride)
        spread = 2.0 * max(reach * 0.75, 1.0) ** 2
        samples = []
        for dy in offsets:
            for dx in offsets:
                where = (slice(reach + dy, reach + dy + height), slice(reach + dx, reach + dx + width))
                unlike = (colors[:, where[0], where[1]] - color).square().sum(0).mul_(-0.5 / color_sigma**2)
                samples.append((where, unlike.sub_((dy * dy + dx * dx) / spread).exp_(), greys[where]))
        total = sum((weight for _, weight, _ in samples), torch.zeros_like(samples[0][1]))
        mean = sum((weight * grey for _, weight, grey in samples), torch.zeros_like(total)) / total
        self._taps = [(where, weight / total, weight / total * (grey - mean)) for where, weight, grey in samples]
        second = sum((weight * grey * grey for _, weight, grey in samples), torch.zeros_like(total)) / total
        self._variance = (second - mean.square()).clamp_(min=0).add_(level.noise_variance)

    def __call__(self, w: Tensor) -> Tensor:
        """[C, h, w] scores over all sources (`over_sources`); -1 where nothing sees the point."""
        scores = [self._score(index, w) for index in range(len(self.level.sources))]
        return over_sources(scores, self.level.hidden)

    def _score(self, index: int, w: Tensor) -> Tensor:
        warped = F.pad(self.level.warp(index, w)[:, None], (self._reach,) * 4, mode="replicate")[:, 0]
        return torch.stack([self._correlate(image) for image in warped])

    def _correlate(self, image: Tensor) -> Tensor:
        square = image * image
        mean, second, product = (torch.zeros(self.level.size, device=image.device) for _ in range(3))
        for where, weight, centred in self._taps:
            mean.addcmul_(weight, image[where])
            second.addcmul_(weight, square[where])
            product.addcmul_(centred, image[where])
        variance = second.addcmul_(mean, mean, value=-1).clamp_(min=0).add_(self.level.noise_variance)
        return product.mul_(variance.mul_(self._variance).rsqrt_())


def over_sources(scores: Sequence[Tensor], hidden: float) -> Tensor:
    """One score of several sources': their mean, but never more than `hidden` below their better half; -1 if none sees.

    NaN is a source that does not see the point. Others may look at what hides it, often those on one side, and say
    nothing of its depth (Kang, Szeliski, Chai, CVPR 2001). The better half are the best two of three or more, else one.
    """
    if len(scores) == 1:
        return torch.nan_to_num(scores[0], nan=-1.0)
    none = torch.zeros_like(scores[0])
    seen = sum(((~score.isnan()).float() for score in scores), none)
    mean = sum((torch.nan_to_num(score, nan=0.0) for score in scores), none).div_(seen.clamp(min=1.0))
    scores = [torch.nan_to_num(score, nan=-1.0) for score in scores]
    first, second = torch.maximum(scores[0], scores[1]), torch.minimum(scores[0], scores[1])
    for score in scores[2:]:
        second = torch.maximum(second, torch.minimum(first, score))
        first = torch.maximum(first, score)
    better = torch.where(seen > 2, 0.5 * (first + second), first)
    return torch.where(seen > 0, torch.maximum(mean, better - hidden), -1.0)


def _in_grid_units(
    projection: SourceProjection, width: int, height: int, source: Intrinsics
) -> tuple[np.ndarray, np.ndarray]:
    """`infinity` [3, h, w] and `parallax` [3]: infinity + w * parallax is where a point at w lands in the source.

    Homogeneous, in grid_sample's units.
    """
    to_grid = np.array(
        [[2 / source.width, 0, 1 / source.width - 1], [0, 2 / source.height, 1 / source.height - 1], [0, 0, 1]]
    )
    scaled = SourceProjection(to_grid @ projection.columns, to_grid @ projection.parallax)
    return scaled.infinity(np.arange(width), np.arange(height)[:, None]), scaled.parallax


def _nan_frame(image: Tensor) -> Tensor:
    """The image with its outermost pixels NaN: with border padding, whatever is sampled outside is NaN, and says so."""
    framed = torch.full_like(image, math.nan)
    framed[1:-1, 1:-1] = image[1:-1, 1:-1]
    return framed


def _box_mean(images: Tensor, window: int) -> Tensor:
    """Means over windows, [C, h, w] -> [C, h - window + 1, w - window + 1]. Shifted sums are faster than pooling."""
    for axis in (-1, -2):
        length = images.shape[axis] - window + 1
        total = images.narrow(axis, 0, length) + images.narrow(axis, 1, length)
        for offset in range(2, window):
            total += images.narrow(axis, offset, length)
        images = total
    return images.mul_(1.0 / (window * window))
