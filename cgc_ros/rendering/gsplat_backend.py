"""gsplat on CUDA behind the same call.

Only gsplat's differentiable primitives are used (projection, tile lists, blending), not its `rasterization()`: the
gradient of the projected means is wanted, and the queries below share the projection.
"""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from cgc_ros.rendering.camera import Camera
from cgc_ros.rendering.gsplat_library import why_unavailable
from cgc_ros.rendering.outputs import BlendWeights, Render

__all__ = ["DEVICE", "adam", "blend_weights", "label_image", "mask_votes", "rasterize", "why_unavailable"]

DEVICE = "cuda"

TILE = 16  # pixels
CHANNEL_CHUNK = 32  # channels blended at once: gsplat's own limit for speed
ALPHA_MAX = 0.999


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
    if means.shape[0] == 0:
        return _empty_view(camera, colors, features, depth, background, contribution)
    screen = _Screen.project(means, quats, scales, opacities, camera, means2d_grad)
    if colors is not None and sh_degree is not None:
        colors = _colors_from_harmonics(colors, sh_degree, means, camera, screen.visible)
    parts = [part for part in (colors, features, screen.depths.view(-1, 1) if depth else None) if part is not None]
    channels = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0] if parts else torch.zeros_like(means[:, :1])
    behind = None
    if background is not None and colors is not None:
        behind = functional.pad(background, (0, channels.shape[1] - 3)) if len(parts) > 1 else background
    sums, alpha = screen.blend(channels, behind)
    first = 0 if colors is None else 3
    depth_image = None
    if depth:
        sums, depth_image, alpha = _ExpectedDepth.apply(sums, alpha)
    return Render(
        color=sums[..., :3] if colors is not None else None,
        features=sums[..., first : first + features.shape[1]] if features is not None else None,
        depth=depth_image,
        alpha=alpha,
        radii=screen.largest_radii,
        contribution=screen.weight_sums(torch.ones_like(alpha)[..., None])[:, 0] if contribution else None,
    )


def blend_weights(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, camera: Camera, pixels: Tensor
) -> BlendWeights:
    count, num_pixels = means.shape[0], camera.width * camera.height
    gaussians = at_pixels = torch.zeros(0, dtype=torch.int64, device=means.device)
    weights = means.new_zeros(0)
    if count:
        wanted = torch.zeros(num_pixels, dtype=torch.bool, device=means.device)
        wanted[pixels] = True
        screen = _Screen.project(means, quats, scales, opacities, camera, None)
        gaussians, at_pixels, weights = screen.weights_at(wanted)
    # The list is ordered by pixel, front to back within one; rows are copied out in the order asked for.
    per_pixel = torch.bincount(at_pixels, minlength=num_pixels)
    first = per_pixel.cumsum(0) - per_pixel
    counts = per_pixel[pixels]
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    rows = torch.repeat_interleave(torch.arange(len(pixels), device=means.device), counts)
    source = first[pixels][rows] + torch.arange(len(rows), device=means.device) - offsets[rows]
    return BlendWeights(offsets, gaussians[source].to(torch.int32), weights[source], count)


def mask_votes(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, camera: Camera, labels: Tensor, num_labels: int
) -> Tensor:
    votes = means.new_zeros(means.shape[0] * num_labels)
    if means.shape[0] and num_labels:
        screen = _Screen.project(means, quats, scales, opacities, camera, None)
        labels = labels.flatten()
        gaussians, pixels, weights = screen.weights_at((labels >= 0) & (labels < num_labels))
        votes.index_add_(0, gaussians * num_labels + labels[pixels], weights)
    return votes.view(means.shape[0], num_labels)


def label_image(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, camera: Camera, object_ids: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    size = (camera.height, camera.width)
    labels = torch.full(size, -1, dtype=torch.int32, device=means.device)
    confidence, depth = means.new_zeros(size), means.new_zeros(size)
    if means.shape[0] == 0:
        return labels, confidence, depth
    screen = _Screen.project(means, quats, scales, opacities, camera, None)
    seen = object_ids[screen.visible & (object_ids >= 0)].unique()
    depth_sum, alpha = screen.blend(screen.depths[0][:, None])
    depth = depth_sum[..., 0] / alpha.clamp_min(1e-10)
    for ids in seen.split(CHANNEL_CHUNK) if len(seen) else ():  # nothing splits into one empty part
        sums, _ = screen.blend((object_ids[:, None] == ids).to(means.dtype))
        best, index = sums.max(dim=-1)
        better = best > confidence
        confidence = torch.where(better, best, confidence)
        labels = torch.where(better, ids[index], labels)
    return labels, confidence, depth


def adam(
    parameter: Tensor,
    *,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    valid: Tensor | None,
    rate: float,
    betas: tuple[float, float],
    epsilon: float,
) -> None:
    """Adam's step of the rows `valid` [N] bool (None: all) of a parameter [N, ...] and its moments, in one launch."""
    from gsplat.cuda._wrapper import adam as fused

    if len(parameter):  # gsplat divides by the number of rows
        fused(parameter, gradient.contiguous(), first, second, valid, rate, *betas, epsilon)


class _ExpectedDepth(torch.autograd.Function):
    """Splits blended sums whose last channel is of depth, its gradient written out: by autograd of slices and of the
    division it takes ten operators more.
    """

    @staticmethod
    def forward(ctx, sums: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[H, W, C + 1] and alpha [H, W] -> [H, W, C], expected depth [H, W], and alpha."""
        covered = alpha.clamp_min(1e-10)
        depth = sums[..., -1] / covered
        ctx.save_for_backward(covered, depth)
        ctx.set_materialize_grads(False)
        ctx.num_channels = sums.shape[-1] - 1
        return sums[..., :-1], depth, alpha.view_as(alpha)

    @staticmethod
    @once_differentiable
    def backward(ctx, of_channels: Tensor | None, of_depth: Tensor | None, of_alpha: Tensor | None):
        covered, depth = ctx.saved_tensors
        if of_channels is None:
            of_channels = depth.new_zeros(()).expand(*depth.shape, ctx.num_channels)
        if of_depth is None:
            return torch.cat([of_channels, torch.zeros_like(depth)[..., None]], dim=-1), of_alpha
        of_sum = of_depth / covered
        if of_alpha is None:
            of_alpha = of_depth.new_zeros(())
        of_sums = torch.cat([of_channels, of_sum[..., None]], dim=-1)
        return of_sums, torch.addcmul(of_alpha, of_sum, depth, value=-1.0)  # no sum, so no depth, where alpha is 0


@dataclass(frozen=True)
class _Screen:
    """Gaussians projected into one camera and sorted into tiles; gsplat's leading axis of cameras is 1.

    gsplat never writes rows of Gaussians that are not visible. No tile lists them, so that it never reads them either.
    """

    means: Tensor  # [1, N, 2] pixels
    conics: Tensor  # [1, N, 3]
    opacities: Tensor  # [1, N]
    depths: Tensor  # [1, N]
    radii: Tensor  # [1, N, 2] int32
    tile_offsets: Tensor  # [1, tiles_y, tiles_x]
    tile_gaussians: Tensor  # [pairs]
    width: int
    height: int

    @staticmethod
    def project(
        means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, camera: Camera, means2d_grad: Tensor | None
    ) -> _Screen:
        from gsplat import fully_fused_projection, isect_offset_encode, isect_tiles

        intrinsics = _intrinsics(camera.fx, camera.fy, camera.cx, camera.cy, means.device)
        radii, screen_means, depths, conics, _ = fully_fused_projection(
            means,
            None,
            quats,
            scales,
            camera.camera_from_world[None],
            intrinsics,
            camera.width,
            camera.height,
            eps2d=camera.eps2d,
            near_plane=0.01,
            far_plane=1e10,
            packed=False,
            opacities=opacities,
        )
        if means2d_grad is not None:
            screen_means = screen_means + means2d_grad[None]
        tiles_x, tiles_y = -(-camera.width // TILE), -(-camera.height // TILE)
        _, tile_ids, tile_gaussians = isect_tiles(screen_means, radii, depths, TILE, tiles_x, tiles_y)
        tile_offsets = isect_offset_encode(tile_ids, 1, tiles_x, tiles_y)
        return _Screen(
            screen_means,
            conics,
            opacities[None],
            depths,
            radii,
            tile_offsets,
            tile_gaussians,
            camera.width,
            camera.height,
        )

    @functools.cached_property
    def largest_radii(self) -> Tensor:
        """[N] int32 pixels, 0 where a Gaussian is not visible: gsplat has both radii or none."""
        return self.radii[0].amax(dim=-1)

    @functools.cached_property
    def visible(self) -> Tensor:
        """[N] bool."""
        return self.largest_radii > 0

    def blend(self, channels: Tensor, background: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Blend `channels` [N, C], C >= 1, over a `background` [C], into ([H, W, C], alpha [H, W])."""
        from gsplat import rasterize_to_pixels

        sums: list[Tensor] = []
        alpha: Any = None
        for first in range(0, channels.shape[1], CHANNEL_CHUNK):
            part = channels[:, first : first + CHANNEL_CHUNK]
            blended, part_alpha = rasterize_to_pixels(
                self.means,
                self.conics,
                part[None],
                self.opacities,
                self.width,
                self.height,
                TILE,
                self.tile_offsets,
                self.tile_gaussians,
                backgrounds=None if background is None else background[None, first : first + CHANNEL_CHUNK],
            )
            sums.append(blended.squeeze(0))
            alpha = part_alpha.view(self.height, self.width) if alpha is None else alpha
        return sums[0] if len(sums) == 1 else torch.cat(sums, dim=-1), alpha

    def weight_sums(self, images: Tensor) -> Tensor:
        """[N, C] sums over pixels of weight * image [H, W, C]: the adjoint of blending, its gradient by channel."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        tensors: dict[str, Any] = {name: each.detach() for name, each in values.items() if isinstance(each, Tensor)}
        detached = replace(self, **tensors)
        with torch.enable_grad():
            channels = images.new_zeros(self.means.shape[1], images.shape[-1], requires_grad=True)
            sums, _ = detached.blend(channels)
            (gradient,) = torch.autograd.grad(sums, channels, images.detach())
        return gradient

    def weights_at(self, wanted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gaussians, pixels and alpha * T of all blends at the pixels `wanted` [H * W] bool, by pixel and front to back
        within one. Takes about 100 bytes a blend meanwhile.
        """
        from gsplat import rasterize_to_indices_in_range

        gaussians, pixels, _ = rasterize_to_indices_in_range(
            0,
            2**30,
            wanted.to(self.means.dtype).view(1, self.height, self.width),  # without transmittance a pixel takes nothing
            self.means,
            self.conics,
            self.opacities,
            self.width,
            self.height,
            TILE,
            self.tile_offsets,
            self.tile_gaussians,
        )
        centres = torch.stack([pixels % self.width, pixels // self.width], dim=-1).to(self.means.dtype) + 0.5
        dx, dy = (centres - self.means[0, gaussians]).unbind(-1)
        xx, xy, yy = self.conics[0, gaussians].unbind(-1)
        sigma = 0.5 * (xx * dx * dx + yy * dy * dy) + xy * dx * dy
        alphas = (self.opacities[0, gaussians] * torch.exp(-sigma)).clamp_max(ALPHA_MAX)
        log_passed = torch.log1p(-alphas.double())
        log_before = log_passed.cumsum(0) - log_passed  # over all pixels: double keeps differences exact enough
        starts = torch.ones_like(pixels, dtype=torch.bool)
        starts[1:] = pixels[1:] != pixels[:-1]
        of_pixel = log_before[starts][starts.long().cumsum(0) - 1]
        return gaussians, pixels, (alphas * torch.exp(log_before - of_pixel)).to(self.means.dtype)


@functools.lru_cache(maxsize=256)  # a keyframe's are the same at every step
def _intrinsics(fx: float, fy: float, cx: float, cy: float, device: torch.device) -> Tensor:
    """[1, 3, 3]."""
    return torch.tensor([[[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]], dtype=torch.float32, device=device)


def _colors_from_harmonics(coefficients: Tensor, degree: int, means: Tensor, camera: Camera, visible: Tensor) -> Tensor:
    from gsplat import spherical_harmonics

    if "viewmats" in inspect.signature(spherical_harmonics).parameters:  # gsplat 1.6 finds the directions itself
        pose = camera.camera_from_world[None]
        colors = spherical_harmonics(degree, means, pose, coefficients, masks=visible[None])[0]
    else:
        camera_position = torch.linalg.inv_ex(camera.camera_from_world).inverse[:3, 3]  # `inv` would wait for the GPU
        colors = spherical_harmonics(degree, means - camera_position, coefficients, masks=visible)
    return functional.relu(colors + 0.5)


def _empty_view(
    camera: Camera,
    colors: Tensor | None,
    features: Tensor | None,
    depth: bool,
    background: Tensor | None,
    contribution: bool,
) -> Render:
    """gsplat divides by the number of Gaussians."""
    zeros = torch.zeros(camera.height, camera.width, device=camera.camera_from_world.device)
    color = (torch.zeros(3, device=zeros.device) if background is None else background).expand(*zeros.shape, 3)
    return Render(
        color=color if colors is not None else None,
        features=None if features is None else zeros[..., None].expand(-1, -1, features.shape[1]),
        depth=zeros if depth else None,
        alpha=zeros,
        radii=torch.zeros(0, dtype=torch.int32, device=zeros.device),
        contribution=zeros.new_zeros(0) if contribution else None,
    )
