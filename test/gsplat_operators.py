"""gsplat on the CPU: its own Python, argument checks included, over plain PyTorch in place of its compiled operators.

The operators have the signatures of gsplat 1.5.3's `ext.cpp` and refuse what its host code refuses. Tile lists and
harmonics are gsplat's `_torch_impl`; projection and blending are our reference, because `_torch_impl` differs from the
CUDA kernels there (it has no radius by opacity, and no limits of alpha). They compute in float64 and return float32.
Memory that gsplat leaves unwritten is NaN.
"""

from __future__ import annotations

import sys
import types

import pytest
import torch
from dispatched_operators import DispatchedOperators
from torch import Tensor

from cgc_ros.rendering import Camera, backends, gsplat_backend, gsplat_library
from cgc_ros.rendering.reference import Projected, blend, project

CHANNELS = {1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 64, 65, 128, 129, 256, 257, 512, 513}


@pytest.fixture
def gsplat_on_cpu(monkeypatch):
    """For one test, the backend "gsplat" works, on CPU tensors."""
    pytest.importorskip("gsplat", reason="requirements/gpu.txt is not installed")
    monkeypatch.setitem(sys.modules, gsplat_library.COMPILED, _Operators())
    monkeypatch.setattr(gsplat_library, "has_gpu", lambda: True)
    monkeypatch.setattr(gsplat_backend, "DEVICE", "cpu")
    _forget()
    yield
    _forget()


def _forget() -> None:
    """What gsplat and we found out about the compiled operators."""
    sys.modules.pop("gsplat.cuda._backend", None)
    backends.why_unavailable.cache_clear()


class _Operators:
    """The compiled module, `gsplat.csrc`."""

    PINHOLE = "pinhole"
    CameraModelType = types.SimpleNamespace(PINHOLE=PINHOLE)

    def __getattribute__(self, name: str):
        found = object.__getattribute__(self, name)
        return _as_operator(found) if callable(found) else found

    def projection_ewa_3dgs_fused_fwd(
        self,
        means,
        covars,
        quats,
        scales,
        opacities,
        viewmats,
        Ks,
        width,
        height,
        eps2d,
        near,
        far,
        radius_clip,
        compensate,
        camera_model,
    ):
        assert covars is None and not compensate and (near, far, radius_clip) == (0.01, 1e10, 0.0)
        assert camera_model == self.PINHOLE and viewmats.shape == (1, 4, 4)
        camera = _camera(viewmats[0].double(), Ks, width, height, eps2d)
        projected = project(means.double(), quats.double(), scales.double(), opacities.double(), camera)
        unseen = ~(projected.radii > 0).all(dim=-1)

        def written(values: Tensor) -> Tensor:
            values = values.float().clone()
            values[unseen] = float("nan")
            return values[None]

        radii = projected.radii.clone()
        radii[unseen] = 0
        return radii[None], *map(written, (projected.means, projected.depths, projected.conics)), None

    def projection_ewa_3dgs_fused_bwd(
        self,
        means,
        covars,
        quats,
        scales,
        viewmats,
        Ks,
        width,
        height,
        eps2d,
        camera_model,
        radii,
        conics,
        compensations,
        v_means2d,
        v_depths,
        v_conics,
        v_compensations,
        of_camera,
    ):
        rows = (radii[0] > 0).all(dim=-1)
        leaves = _leaves(means[rows], quats[rows], scales[rows], viewmats)
        with torch.enable_grad():
            camera = _camera(leaves[3][0], Ks, width, height, eps2d)
            projected = project(*leaves[:3], torch.ones(int(rows.sum()), dtype=torch.float64), camera)
            outputs = (projected.means, projected.depths, projected.conics)
            seeds = [v[0, rows].double() for v in (v_means2d, v_depths, v_conics)]
            found = torch.autograd.grad(outputs, leaves, seeds)
        gradients = []
        for whole, part in zip((means, quats, scales), found[:3], strict=True):
            gradients.append(torch.zeros_like(whole))
            gradients[-1][rows] = part.float()
        v_means, v_quats, v_scales = gradients
        return v_means, None, v_quats, v_scales, found[3].float() if of_camera else None

    def intersect_tile(
        self, means2d, radii, depths, image_ids, gaussian_ids, images, tile_size, columns, rows, sort, segmented
    ):
        from gsplat.cuda._torch_impl import _isect_tiles

        assert images == 1 and sort and not segmented
        return _isect_tiles(means2d, radii, depths, tile_size, columns, rows)

    def intersect_offset(self, isect_ids, images, columns, rows):
        from gsplat.cuda._torch_impl import _isect_offset_encode

        return _isect_offset_encode(isect_ids, images, columns, rows)

    def rasterize_to_pixels_3dgs_fwd(
        self, means2d, conics, colors, opacities, backgrounds, masks, width, height, tile_size, offsets, flatten_ids
    ):
        assert colors.shape[-1] in CHANNELS and masks is None
        geometry = [tensor[0].double() for tensor in (means2d, conics, colors, opacities)]
        image, alpha = _blended(*geometry, width, height, tile_size, offsets, flatten_ids)
        if backgrounds is not None:
            image = image + (1 - alpha) * backgrounds[0].double()
        return image.float()[None], alpha.float()[None], torch.full((1, height, width), -1, dtype=torch.int32)

    def rasterize_to_pixels_3dgs_bwd(
        self,
        means2d,
        conics,
        colors,
        opacities,
        backgrounds,
        masks,
        width,
        height,
        tile_size,
        offsets,
        flatten_ids,
        alphas,
        last_ids,
        v_colors,
        v_alphas,
        absgrad,
    ):
        assert colors.shape[-1] in CHANNELS and not absgrad
        leaves = _leaves(means2d[0], conics[0], colors[0], opacities[0])
        with torch.enable_grad():
            image, alpha = _blended(*leaves, width, height, tile_size, offsets, flatten_ids)
            if backgrounds is not None:
                image = image + (1 - alpha) * backgrounds[0].double()
            outputs = (image, alpha)
            touched = [each for each in zip(outputs, (v_colors[0], v_alphas[0]), strict=True) if each[0].requires_grad]
            loss = sum((output * seed.double()).sum() for output, seed in touched)
            found = [torch.zeros_like(leaf) for leaf in leaves]
            if touched:
                found = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
        return None, *(gradient.float()[None] for gradient in found)

    def rasterize_to_indices_3dgs(
        self,
        range_start,
        range_end,
        transmittances,
        means2d,
        conics,
        opacities,
        width,
        height,
        tile_size,
        offsets,
        flatten_ids,
    ):
        assert range_start == 0
        assert set(transmittances.unique().tolist()) <= {0.0, 1.0}  # 0: the first Gaussian would already exhaust it
        entries = [torch.zeros(2, 0, dtype=torch.int64)]
        geometry = [tensor[0].double() for tensor in (means2d, conics)]
        for pixels, gaussians, weights, _ in _tiles(
            *geometry, opacities[0].double(), width, height, tile_size, offsets, flatten_ids
        ):
            wanted = (weights > 0) & (transmittances.flatten()[pixels] > 0)[:, None]
            rows, columns = torch.nonzero(wanted, as_tuple=True)
            entries.append(torch.stack([pixels[rows], gaussians[columns]]))
        pixels, gaussians = torch.cat(entries, dim=1)
        order = torch.sort(pixels, stable=True).indices
        return gaussians[order], pixels[order]

    def spherical_harmonics_fwd(self, degree, dirs, coeffs, masks):
        from gsplat.cuda._torch_impl import _spherical_harmonics

        colors = _spherical_harmonics(degree, dirs.double(), coeffs.double()).float()
        colors[~masks] = float("nan")
        return colors

    def spherical_harmonics_bwd(self, bases, degree, dirs, coeffs, masks, v_colors, of_dirs):
        from gsplat.cuda._torch_impl import _spherical_harmonics

        leaves = _leaves(dirs, coeffs)
        with torch.enable_grad():
            colors = _spherical_harmonics(degree, *leaves)
            seeds = v_colors[masks].double()
            found = torch.autograd.grad(colors[masks], leaves, seeds, allow_unused=True, materialize_grads=True)
        v_dirs, v_coeffs = (gradient.float() for gradient in found)
        return v_coeffs, v_dirs if of_dirs else None

    def adam(self, param, param_grad, exp_avg, exp_avg_sq, valid, lr, b1, b2, eps):
        assert len(param) > 0, "the host code divides by the number of rows"
        assert param.shape == param_grad.shape == exp_avg.shape == exp_avg_sq.shape
        assert valid is None or (valid.dtype == torch.bool and valid.shape == param.shape[:1])
        rows = slice(None) if valid is None else valid
        exp_avg[rows] = b1 * exp_avg[rows] + (1 - b1) * param_grad[rows]
        exp_avg_sq[rows] = b2 * exp_avg_sq[rows] + (1 - b2) * param_grad[rows].square()
        param[rows] -= lr * exp_avg[rows] / (exp_avg_sq[rows].sqrt() + eps)


def _as_operator(function):
    """Outside autograd, counted as nothing, and with gsplat's checks of every tensor."""

    def call(*arguments):
        for argument in arguments:
            if isinstance(argument, Tensor):
                assert argument.is_contiguous(), f"{function.__name__}: a tensor must be contiguous"
                assert not argument.is_floating_point() or argument.dtype == torch.float32, function.__name__
        with torch.no_grad(), DispatchedOperators.paused():
            return function(*arguments)

    return call


def _leaves(*tensors: Tensor) -> list[Tensor]:
    return [tensor.detach().double().requires_grad_() for tensor in tensors]


def _camera(camera_from_world: Tensor, Ks: Tensor, width: int, height: int, eps2d: float) -> Camera:
    (fx, _, cx), (_, fy, cy), _ = Ks[0].tolist()
    return Camera(width, height, fx, fy, cx, cy, camera_from_world, eps2d)


def _blended(means2d, conics, colors, opacities, width, height, tile_size, offsets, flatten_ids):
    """Image [H, W, C] and alpha [H, W, 1]."""
    image, alpha = colors.new_zeros(height * width, colors.shape[-1]), colors.new_zeros(height * width)
    for pixels, gaussians, weights, behind in _tiles(
        means2d, conics, opacities, width, height, tile_size, offsets, flatten_ids
    ):
        image = image.index_copy(0, pixels, weights @ colors[gaussians])
        alpha = alpha.index_copy(0, pixels, 1 - behind)
    return image.view(height, width, -1), alpha.view(height, width, 1)


def _tiles(means2d, conics, opacities, width, height, tile_size, offsets, flatten_ids):
    projected = Projected(means2d, conics, None, None)
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
        yield (ys * width + xs).flatten(), gaussians, *blend(projected, opacities, gaussians, centres)
