"""Where a view agrees with the map, where it sees through it, and where something stands before it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from cgc_ros.frame import Frame
from cgc_ros.gaussians.model import GaussianModel
from cgc_ros.ignored_pixels import touched_resized
from cgc_ros.mapping.change_config import ComparisonConfig
from cgc_ros.rendering import Camera, rasterize

UNKNOWN = -1  # of a pixel's level: neither depth is known, or a border runs here


_WINDOW = np.ones((3, 3), np.uint8)


@dataclass(frozen=True)
class ViewComparison:
    """A view held against the map, small."""

    camera: Camera
    levels: np.ndarray  # [h, w] int32, `depth_levels`
    differs: np.ndarray  # [h, w] bool: looks otherwise than the map
    settled: np.ndarray  # [h, w] bool: what the map shows here has been borne out by views
    margins: int  # of depth, that levels count

    @property
    def telling(self) -> np.ndarray:
        """The levels, where what lies behind the map looks otherwise, too: misaligned depth alone says nothing."""
        behind = (self.levels > 0) & (self.levels <= self.margins)
        return np.where(behind & ~self.differs, UNKNOWN, self.levels).astype(np.int32)


@dataclass(frozen=True)
class Told:
    """What a view tells of something, in pixels (of a blend: parts of them)."""

    agrees: float
    through: float  # the view sees what is behind it
    nearer: float  # something stands before it

    @property
    def both(self) -> float:
        """All that is not hidden."""
        return self.agrees + self.through


@torch.no_grad()
def compare_view(model: GaussianModel, frame: Frame, config: ComparisonConfig, backend: str) -> ViewComparison:
    """Render the map, small, from a frame's pose, and hold the frame against it."""
    camera = small_camera(frame, config.width, model)
    trusted = (model.agreed >= config.settled_views).float()[:, None]
    view = rasterize(
        *model.geometry,
        camera,
        colors=model.sh.detach(),
        sh_degree=model.sh_degree,
        background=model.background,
        features=trusted,
        depth=True,
        backend=backend,
    )
    settled = view.features[..., 0].cpu().numpy() >= config.min_alpha
    alpha, depth = view.alpha.cpu().numpy(), view.depth.cpu().numpy()
    image = cv2.resize(frame.image, (camera.width, camera.height), interpolation=cv2.INTER_AREA) / np.float32(255)
    solid = alpha >= config.min_alpha
    if frame.ignore is not None:
        solid &= ~touched_resized(frame.ignore, camera.width, camera.height)
    differs = color_differs(image, view.color.cpu().numpy(), solid, config)
    measured = np.zeros_like(depth) if frame.depth is None else resized_depth(frame.depth, camera)
    return ViewComparison(
        camera, depth_levels(measured, np.where(solid, depth, 0.0), config), differs, settled, len(config.margins)
    )


def small_camera(frame: Frame, width: int, model: GaussianModel) -> Camera:
    """A frame's camera at a width, no larger than it is."""
    camera = Camera.from_intrinsics(frame.intrinsics, frame.world_from_camera, model.device)
    width = min(width, camera.width)
    return camera.scaled_to(width, max(1, round(camera.height * width / camera.width)))


def resized_depth(depth: np.ndarray, camera: Camera) -> np.ndarray:
    """Depth [H, W] (metres, 0 = invalid) at a small camera's size: every pixel is one that was measured."""
    rows = ((np.arange(camera.height) + 0.5) * depth.shape[0] / camera.height).astype(int)
    columns = ((np.arange(camera.width) + 0.5) * depth.shape[1] / camera.width).astype(int)
    return depth[rows[:, None], columns].astype(np.float32)


def num_levels(config: ComparisonConfig) -> int:
    """Levels that a pixel may have: 0 and as many to either side as there are margins."""
    return 1 + 2 * len(config.margins)


def depth_levels(measured: np.ndarray, rendered: np.ndarray, config: ComparisonConfig) -> np.ndarray:
    """By how much depth differs from what is rendered ([h, w] metres each, 0 = unknown), [h, w] int32: 0 within all
    margins; k beyond the first k of them, behind the map; K + k as much before it; UNKNOWN.

    A pixel agrees where any neighbour does, and differs where all do: calibrations and maps are off by a pixel.
    """
    both = (measured > 0) & (rendered > 0)
    levels = np.full(measured.shape, UNKNOWN, np.int32)
    nearest = cv2.erode(np.where(measured > 0, measured, np.float32(1e6)).astype(np.float32), _WINDOW)
    farthest = cv2.dilate(np.where(measured > 0, measured, np.float32(0)).astype(np.float32), _WINDOW)
    away = np.divide(nearest - rendered, rendered, out=np.zeros_like(nearest), where=both)
    before = np.divide(rendered - farthest, rendered, out=np.zeros_like(nearest), where=both)
    behind, ahead = (np.searchsorted(config.margins, each) for each in (away, before))
    levels[both] = np.where(behind > 0, behind, np.where(ahead > 0, len(config.margins) + ahead, 0))[both]
    high = cv2.dilate(rendered, _WINDOW)
    low = cv2.erode(np.where(rendered > 0, rendered, np.float32(1e6)).astype(np.float32), _WINDOW)
    levels[(levels > 0) & (high - low > config.step * rendered)] = UNKNOWN
    return levels


def told(counts: np.ndarray, level: int) -> Told:
    """What counts of every level ([2 K + 1] pixels) tell, by the margin `level` (0 is the first)."""
    margins = (len(counts) - 1) // 2
    behind, ahead = counts[1 : margins + 1], counts[margins + 1 :]
    through, nearer = float(behind[level:].sum()), float(ahead[level:].sum())
    return Told(float(counts.sum()) - through - nearer, through, nearer)


def color_differs(image: np.ndarray, rendered: np.ndarray, solid: np.ndarray, config: ComparisonConfig) -> np.ndarray:
    """Where an image looks otherwise than the map, [h, w] bool; colours [h, w, 3] 0..1, the map's known where `solid`.

    The exposure is fitted first, by gain and offset of every channel, twice: without what does not fit the second time.
    """
    if solid.sum() < 16:
        return np.zeros(solid.shape, bool)
    fits = solid
    fitted = rendered
    for _ in range(2):
        fitted = np.stack([_fitted(rendered[..., c], image[..., c], fits) for c in range(3)], axis=2)
        residual = cv2.blur(np.abs(image - fitted).mean(axis=2).astype(np.float32), (3, 3))
        typical = float(np.median(residual[solid]))
        fits = solid & (residual <= 2.0 * max(typical, 1e-3))
        if fits.sum() < 16:
            fits = solid
    return solid & (residual > max(config.least_color, config.color_margin * typical))


def _fitted(rendered: np.ndarray, image: np.ndarray, where: np.ndarray) -> np.ndarray:
    x, y = rendered[where], image[where]
    spread = float(x.var())
    gain = float(np.clip(((x - x.mean()) * (y - y.mean())).mean() / max(spread, 1e-6), 0.4, 2.5))
    return gain * (rendered - x.mean()) + float(y.mean())


def large_patches(mask: np.ndarray, differs: np.ndarray, least: int, share: float) -> np.ndarray:
    """The connected parts of a mask [h, w] bool of which so many pixels, and such a share, are of `differs`, once thin
    ones are gone.
    """
    opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    count, labels = cv2.connectedComponents(opened, connectivity=8)
    area = np.bincount(labels.ravel(), minlength=count)
    other = np.bincount(labels.ravel(), weights=differs.ravel(), minlength=count)
    large = (other >= least) & (other >= share * area)
    large[0] = False
    return large[labels]
