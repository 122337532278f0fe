"""gsplat 1.5.3's primitives with its signatures and leading axes, in plain PyTorch on the CPU.

For testing what our backend does around them where there is no GPU. What gsplat leaves unwritten is NaN here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cgc_ros.rendering import Camera
from cgc_ros.rendering.reference import Projected, blend, project
from cgc_ros.rendering.spherical_harmonics import basis


def fully_fused_projection(
    means,
    covars,
    quats,
    scales,
    viewmats,
    Ks,
    width,
    height,
    eps2d=0.3,
    near_plane=0.01,
    far_plane=1e10,
    radius_clip=0.0,
    packed=False,
    sparse_grad=False,
    calc_compensations=False,
    camera_model="pinhole",
    opacities=None,
):
    assert covars is None and not packed and (near_plane, far_plane) == (0.01, 1e10)
    assert viewmats.shape == (1, 4, 4) and Ks.shape == (1, 3, 3)
    k = Ks[0].double()
    camera = Camera(width, height, k[0, 0].item(), k[1, 1].item(), k[0, 2].item(), k[1, 2].item(), viewmats[0], eps2d)
    projected = project(means, quats, scales, opacities, camera)
    visible = (projected.radii > 0).all(dim=-1)

    def written(values: Tensor) -> Tensor:
        mask = visible.view(-1, *[1] * (values.ndim - 1))
        return torch.where(mask, values, torch.full_like(values, float("nan")))[None]

    return projected.radii[None], written(projected.means), written(projected.depths), written(projected.conics), None


def isect_tiles(means2d, radii, depths, tile_size, tile_width, tile_height):
    assert means2d.shape == radii.shape == (1, depths.shape[1], 2)
    pairs = []
    for index in torch.nonzero((radii[0] > 0).all(dim=-1))[:, 0].tolist():
        low = torch.floor((means2d[0, index].detach() - radii[0, index]) / tile_size).long().clamp_min(0)
        high = torch.ceil((means2d[0, index].detach() + radii[0, index]) / tile_size).long()
        for ty in range(int(low[1]), min(int(high[1]), tile_height)):
            for tx in range(int(low[0]), min(int(high[0]), tile_width)):
                pairs.append((ty * tile_width + tx, depths[0, index].detach().float().item(), index))
    pairs.sort()
    tile_ids = torch.tensor([tile << 32 for tile, _, _ in pairs], dtype=torch.int64)
    return None, tile_ids, torch.tensor([index for _, _, index in pairs], dtype=torch.int32)


def isect_offset_encode(isect_ids, n_images, tile_width, tile_height):
    assert n_images == 1
    counts = torch.bincount(isect_ids >> 32, minlength=tile_width * tile_height)
    return (counts.cumsum(0) - counts).to(torch.int32).view(1, tile_height, tile_width)


def rasterize_to_pixels(
    means2d,
    conics,
    colors,
    opacities,
    image_width,
    image_height,
    tile_size,
    isect_offsets,
    flatten_ids,
    backgrounds=None,
):
    count = means2d.shape[1]
    assert count > 0 and 0 < colors.shape[-1] <= 513
    assert colors.shape[:2] == conics.shape[:2] == means2d.shape[:2] == opacities.shape
    image = colors.new_zeros(image_height * image_width, colors.shape[-1])
    alpha = colors.new_zeros(image_height * image_width)
    for pixels, gaussians, weights, behind in _tiles(
        means2d, conics, opacities, image_width, image_height, tile_size, isect_offsets, flatten_ids
    ):
        image = image.index_copy(0, pixels, weights @ colors[0, gaussians])
        alpha = alpha.index_copy(0, pixels, 1 - behind)
    size = (1, image_height, image_width)
    return image.view(*size, -1), alpha.view(*size, 1)


def rasterize_to_indices_in_range(
    range_start,
    range_end,
    transmittances,
    means2d,
    conics,
    opacities,
    image_width,
    image_height,
    tile_size,
    isect_offsets,
    flatten_ids,
):
    assert range_start == 0 and transmittances.shape == (1, image_height, image_width)
    assert set(transmittances.unique().tolist()) <= {0.0, 1.0}  # 0: the first Gaussian would already exhaust it
    entries = []
    for pixels, gaussians, weights, _ in _tiles(
        means2d, conics, opacities, image_width, image_height, tile_size, isect_offsets, flatten_ids
    ):
        wanted = (weights > 0) & (transmittances.flatten()[pixels] > 0)[:, None]
        rows, columns = torch.nonzero(wanted, as_tuple=True)
        entries.append(torch.stack([pixels[rows], gaussians[columns]]))
    pixels, gaussians = torch.cat(entries, dim=1)
    order = torch.sort(pixels, stable=True).indices
    return gaussians[order], pixels[order], torch.zeros_like(pixels)


def spherical_harmonics(degrees_to_use, dirs, coeffs, masks=None):
    weights = basis(degrees_to_use, torch.nn.functional.normalize(dirs, dim=-1))
    colors = (weights[..., None] * coeffs[:, : weights.shape[-1]]).sum(1)
    return torch.where(masks[:, None], colors, torch.full_like(colors, float("nan")))


def _tiles(means2d, conics, opacities, width, height, tile_size, offsets, flatten_ids):
    projected = Projected(means2d[0], conics[0], None, None)
    ends = torch.cat([offsets.flatten(), torch.tensor([len(flatten_ids)])])
    for tile in range(offsets.numel()):
        top, left = tile // offsets.shape[2] * tile_size, tile % offsets.shape[2] * tile_size
        ys, xs = torch.meshgrid(
            torch.arange(top, min(top + tile_size, height)),
            torch.arange(left, min(left + tile_size, width)),
            indexing="ij",
        )
        centres = torch.stack([xs, ys], dim=-1).view(-1, 2).to(means2d.dtype) + 0.5
        gaussians = flatten_ids[ends[tile] : ends[tile + 1]].long()
        yield (ys * width + xs).flatten(), gaussians, *blend(projected, opacities[0], gaussians, centres)
