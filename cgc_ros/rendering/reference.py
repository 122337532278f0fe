"""The oracle: a rasteriser in plain PyTorch, differentiated by autograd, in float32 or float64, on any device.

It states gsplat 1.5.3's conventions as directly as possible; the fast backends are tested against it. A tile's pixels
and Gaussians form a dense matrix of alphas: memory is bounded by the busiest tile, but autograd keeps all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from cgc_ros.rendering.camera import Camera
from cgc_ros.rendering.outputs import BlendWeights, Render
from cgc_ros.rendering.quaternions import rotation_matrices
from cgc_ros.rendering.spherical_harmonics import colors_from_harmonics

DEVICE = None  # any

TILE = 16  # pixels
NEAR, FAR = 0.01, 1e10  # metres
ALPHA_MIN, ALPHA_MAX = 1 / 255, 0.999
TRANSMITTANCE_MIN = 1e-4
EXTENT_MAX = 3.33  # standard deviations


@dataclass(frozen=True)
class Projected:
    """Gaussians on the screen, all [N]-sized; rows that are not visible hold nothing of use."""

    means: Tensor  # [N, 2] pixels
    conics: Tensor  # [N, 3] inverse covariance: xx, xy, yy
    depths: Tensor  # [N]
    radii: Tensor  # [N, 2] int32 pixels, 0 where not visible


@dataclass(frozen=True)
class Tile:
    """The blend of a tile's pixels."""

    pixels: Tensor  # [P] int64, flat indices
    gaussians: Tensor  # [K] int64, front to back
    weights: Tensor  # [P, K] alpha * T
    transmittance: Tensor  # [P] behind everything


def rasterize(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    camera: Camera,
    *,
    colors: Tensor | None,
    sh_degree: int | None,
    features: Tensor | None,
    depth: bool,
    background: Tensor | None,
    means2d_grad: Tensor | None,
    contribution: bool,
) -> Render:
    projected = project(means, quats, scales, opacities, camera)
    if means2d_grad is not None:
        projected = Projected(projected.means + means2d_grad, projected.conics, projected.depths, projected.radii)
    if colors is not None and sh_degree is not None:
        colors = colors_from_harmonics(colors, sh_degree, means, camera.camera_from_world)
    parts = [colors, features, projected.depths[:, None] if depth else None]
    sizes = [0 if part is None else part.shape[1] for part in parts]
    channels = torch.cat([part for part in parts if part is not None] or [means.new_zeros(means.shape[0], 0)], dim=1)

    num_pixels = camera.width * camera.height
    pixel_order, blended, transmittances = [], [], []
    contributions = means.new_zeros(means.shape[0])
    for tile in blend_tiles(projected, opacities, camera):
        pixel_order.append(tile.pixels)
        blended.append(tile.weights @ channels[tile.gaussians])
        transmittances.append(tile.transmittance)
        contributions.index_add_(0, tile.gaussians, tile.weights.detach().sum(0))
    rows = torch.empty(num_pixels, dtype=torch.int64, device=means.device)
    rows[torch.cat(pixel_order)] = torch.arange(num_pixels, device=means.device)
    image = torch.cat(blended)[rows].view(camera.height, camera.width, -1)
    transmittance = torch.cat(transmittances)[rows].view(camera.height, camera.width)
    color, feature_image, depth_sum = image.split(sizes, dim=-1)
    alpha = 1 - transmittance
    if background is not None:
        color = color + transmittance[..., None] * background if colors is not None else color
    return Render(
        color=color if colors is not None else None,
        features=feature_image if features is not None else None,
        depth=depth_sum[..., 0] / alpha.clamp_min(1e-10) if depth else None,
        alpha=alpha,
        radii=projected.radii.amax(dim=1),
        contribution=contributions if contribution else None,
    )


def project(means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, camera: Camera) -> Projected:
    """EWA splatting (Zwicker et al., 2002) with the Jacobian's x/z and y/z limited to 1.3 half-widths of the view."""
    rotation, translation = camera.camera_from_world[:3, :3], camera.camera_from_world[:3, 3]
    points = means @ rotation.T + translation  # [N, 3] camera frame
    x, y, z = points.unbind(-1)
    in_range = (z >= NEAR) & (z <= FAR)
    z = torch.where(in_range, z, torch.ones_like(z))  # keeps what is rejected finite

    margin_x, margin_y = 0.3 * 0.5 * camera.width / camera.fx, 0.3 * 0.5 * camera.height / camera.fy
    tx = z * (x / z).clamp(-(camera.cx / camera.fx + margin_x), (camera.width - camera.cx) / camera.fx + margin_x)
    ty = z * (y / z).clamp(-(camera.cy / camera.fy + margin_y), (camera.height - camera.cy) / camera.fy + margin_y)
    zero = torch.zeros_like(z)
    jacobian = torch.stack(
        [
            torch.stack([camera.fx / z, zero, -camera.fx * tx / z**2], dim=-1),
            torch.stack([zero, camera.fy / z, -camera.fy * ty / z**2], dim=-1),
        ],
        dim=-2,
    )  # [N, 2, 3]

    half = jacobian @ rotation @ rotation_matrices(quats) * scales[:, None, :]  # [N, 2, 3], covariance = half half^T
    covariances = half @ half.transpose(1, 2)
    xx, xy, yy = covariances[:, 0, 0] + camera.eps2d, covariances[:, 0, 1], covariances[:, 1, 1] + camera.eps2d
    determinants = xx * yy - xy * xy
    screen_means = torch.stack([camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy], dim=-1)

    with torch.no_grad():
        extent = (2 * torch.log((opacities / ALPHA_MIN).clamp_min(1.0))).sqrt().clamp_max(EXTENT_MAX)
        radii = torch.ceil(extent[:, None] * torch.stack([xx, yy], dim=-1).sqrt())
        size = torch.tensor([camera.width, camera.height], dtype=means.dtype, device=means.device)
        on_screen = ((screen_means + radii > 0) & (screen_means - radii < size)).all(dim=-1)
        visible = in_range & (determinants > 0) & (opacities >= ALPHA_MIN) & on_screen & (radii > 0).any(dim=-1)
        radii = torch.where(visible[:, None], radii, torch.zeros_like(radii)).to(torch.int32)
    determinants = torch.where(visible, determinants, torch.ones_like(determinants))
    conics = torch.stack([yy, -xy, xx], dim=-1) / determinants[:, None]
    return Projected(screen_means, conics, z, radii)


def blend_tiles(projected: Projected, opacities: Tensor, camera: Camera) -> Iterator[Tile]:
    """Every tile of the image, row by row."""
    visible = torch.nonzero((projected.radii > 0).any(dim=-1))[:, 0]
    order = torch.sort(projected.depths.detach()[visible].float(), stable=True).indices  # ties by index
    visible = visible[order]
    means, radii = projected.means.detach()[visible], projected.radii[visible]
    low, high = means - radii, means + radii
    for top in range(0, camera.height, TILE):
        bottom = min(top + TILE, camera.height)
        in_rows = (low[:, 1] < bottom) & (high[:, 1] > top)
        row = visible[in_rows]
        row_low, row_high = low[in_rows, 0], high[in_rows, 0]
        for left in range(0, camera.width, TILE):
            right = min(left + TILE, camera.width)
            gaussians = row[(row_low < right) & (row_high > left)]
            ys, xs = torch.meshgrid(
                torch.arange(top, bottom, device=means.device),
                torch.arange(left, right, device=means.device),
                indexing="ij",
            )
            pixels = (ys * camera.width + xs).flatten()
            centres = torch.stack([xs, ys], dim=-1).view(-1, 2).to(means.dtype) + 0.5
            yield Tile(pixels, gaussians, *blend(projected, opacities, gaussians, centres))


def blend(projected: Projected, opacities: Tensor, gaussians: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Weights [P, K] of Gaussians [K], front to back, at pixel centres [P, 2], and the transmittance [P] behind."""
    dx, dy = (centres[:, None, :] - projected.means[gaussians][None]).unbind(-1)
    xx, xy, yy = projected.conics[gaussians].unbind(-1)
    sigma = 0.5 * (xx * dx * dx + yy * dy * dy) + xy * dx * dy
    alphas = (opacities[gaussians] * torch.exp(-sigma)).clamp_max(ALPHA_MAX)
    alphas = torch.where((sigma >= 0) & (alphas >= ALPHA_MIN), alphas, torch.zeros_like(alphas))
    log_after = torch.log1p(-alphas).cumsum(dim=1)
    # Transmittance only falls, so whatever comes after the Gaussian that would exhaust it is cut off with it.
    alphas = torch.where(torch.exp(log_after.detach()) > TRANSMITTANCE_MIN, alphas, torch.zeros_like(alphas))
    log_after = torch.log1p(-alphas).cumsum(dim=1)
    log_before = torch.cat([torch.zeros_like(log_after[:, :1]), log_after[:, :-1]], dim=1)[:, : alphas.shape[1]]
    behind = torch.exp(log_after[:, -1]) if alphas.shape[1] else torch.ones_like(centres[:, 0])
    return alphas * torch.exp(log_before), behind


def blend_weights(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, camera: Camera, pixels: Tensor
) -> BlendWeights:
    projected = project(means, quats, scales, opacities, camera)
    rows: dict[int, tuple[Tensor, Tensor]] = {}
    wanted = torch.zeros(camera.width * camera.height, dtype=torch.bool, device=means.device)
    wanted[pixels] = True
    for tile in blend_tiles(projected, opacities, camera):
        for k in torch.nonzero(wanted[tile.pixels])[:, 0].tolist():
            used = tile.weights[k] > 0
            rows[int(tile.pixels[k])] = (tile.gaussians[used], tile.weights[k][used])
    found = [rows[p] for p in pixels.tolist()]
    counts = torch.tensor([0] + [len(gaussians) for gaussians, _ in found], device=means.device)
    empty = [(means.new_zeros(0, dtype=torch.int64), means.new_zeros(0))]
    gaussians, values = (torch.cat(part) for part in zip(*(found + empty), strict=True))
    return BlendWeights(counts.cumsum(0), gaussians.to(torch.int32), values, means.shape[0])


def mask_votes(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, camera: Camera, labels: Tensor, num_labels: int
) -> Tensor:
    projected = project(means, quats, scales, opacities, camera)
    votes = means.new_zeros(means.shape[0], num_labels)
    for tile in blend_tiles(projected, opacities, camera):
        tile_labels = labels.flatten()[tile.pixels].long()
        one_hot = (tile_labels[:, None] == torch.arange(num_labels, device=means.device)).to(means.dtype)
        votes.index_add_(0, tile.gaussians, tile.weights.T @ one_hot)
    return votes.to(torch.float32)


def label_image(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, camera: Camera, object_ids: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    projected = project(means, quats, scales, opacities, camera)
    num_pixels = camera.width * camera.height
    labels = torch.full((num_pixels,), -1, dtype=torch.int32, device=means.device)
    confidence, depth = means.new_zeros(num_pixels), means.new_zeros(num_pixels)
    for tile in blend_tiles(projected, opacities, camera):
        depth_sum = tile.weights @ projected.depths[tile.gaussians]
        depth[tile.pixels] = depth_sum / (1 - tile.transmittance).clamp_min(1e-10)
        ids = object_ids[tile.gaussians]
        candidates = torch.unique(ids[ids >= 0])
        if len(candidates) == 0:
            continue
        best, index = (tile.weights @ (ids[:, None] == candidates).to(means.dtype)).max(dim=1)
        labels[tile.pixels] = torch.where(best > 0, candidates[index], torch.full_like(candidates[index], -1))
        confidence[tile.pixels] = best
    size = (camera.height, camera.width)
    return labels.view(size), confidence.to(torch.float32).view(size), depth.to(torch.float32).view(size)
