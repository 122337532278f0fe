"""The CPU backend: C++ kernels under autograd. Deterministic, and the same for any number of threads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cgc_ros.rendering.camera import Camera
from cgc_ros.rendering.kernels import WHY_UNAVAILABLE, kernels, num_threads
from cgc_ros.rendering.outputs import BlendWeights, Render

DEVICE = "cpu"


def why_unavailable() -> str:
    """ "" where the kernels are built, else the reason and the remedy."""
    return WHY_UNAVAILABLE


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
    inputs = (means, quats, scales, opacities, colors, features, camera.camera_from_world, background, means2d_grad)
    keep = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in inputs)
    camera_position = position_of(camera) if colors is not None and sh_degree is not None else None
    settings = _Settings(camera, -1 if sh_degree is None else sh_degree, depth, contribution, keep)
    color, features_out, depth_out, alpha, radii, contributions = _Rasterize.apply(
        means,
        quats,
        scales,
        opacities,
        colors,
        features,
        camera.camera_from_world,
        camera_position,
        background,
        means2d_grad,
        settings,
    )
    return Render(color, features_out, depth_out, alpha, radii, contributions)


def blend_weights(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, camera: Camera, pixels: Tensor
) -> BlendWeights:
    offsets, gaussians, values = kernels.pixel_weights(
        view_of(camera), *_arrays(means, quats, scales, opacities), _array(pixels), threads=num_threads()
    )
    return BlendWeights(
        torch.from_numpy(offsets), torch.from_numpy(gaussians), torch.from_numpy(values), num_gaussians=means.shape[0]
    )


def mask_votes(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, camera: Camera, labels: Tensor, num_labels: int
) -> Tensor:
    votes = torch.zeros(means.shape[0], num_labels)
    kernels.mask_votes(
        view_of(camera), *_arrays(means, quats, scales, opacities), _array(labels), votes.numpy(), threads=num_threads()
    )
    return votes


def label_image(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, camera: Camera, object_ids: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    size = (camera.height, camera.width)
    labels, confidence, depth = torch.empty(size, dtype=torch.int32), torch.empty(size), torch.empty(size)
    kernels.label_image(
        view_of(camera),
        *_arrays(means, quats, scales, opacities),
        _array(object_ids),
        labels.numpy(),
        confidence.numpy(),
        depth.numpy(),
        threads=num_threads(),
    )
    return labels, confidence, depth


@dataclass(frozen=True)
class _Settings:
    camera: Camera
    sh_degree: int  # -1: plain colours
    depth: bool
    contribution: bool
    keep: bool  # a backward pass may follow


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx,
        means,
        quats,
        scales,
        opacities,
        colors,
        features,
        camera_from_world,
        camera_position,
        background,
        means2d_grad,
        settings: _Settings,
    ):
        camera = settings.camera
        count, height, width = means.shape[0], camera.height, camera.width
        scene = kernels.Scene(
            view_of(camera),
            *_arrays(means, quats, scales, opacities),
            _optional(colors),
            settings.sh_degree,
            _optional(camera_position),
            _optional(features),
            settings.depth,
            _optional(background),
        )
        color = means.new_empty(height, width, 3) if colors is not None else None
        features_out = means.new_empty(height, width, features.shape[1]) if features is not None else None
        depth = means.new_empty(height, width) if settings.depth else None
        alpha = means.new_empty(height, width)
        radii = torch.empty(count, dtype=torch.int32)
        contribution = means.new_empty(count) if settings.contribution else None
        state = kernels.render(
            scene,
            color=_optional(color),
            features=_optional(features_out),
            depth=_optional(depth),
            alpha=alpha.numpy(),
            radii=radii.numpy(),
            contribution=_optional(contribution),
            keep=settings.keep,
            threads=num_threads(),
        )
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(radii, *(() if contribution is None else (contribution,)))
        if settings.keep:
            # Saved for autograd's check against changes in place: the scene reads the same memory.
            ctx.save_for_backward(means, quats, scales, opacities, colors, features, background, depth)
            ctx.state = state
        return color, features_out, depth, alpha, radii, contribution

    @staticmethod
    @once_differentiable
    def backward(ctx, v_color, v_features, v_depth, v_alpha, _v_radii, _v_contribution):
        means, quats, scales, opacities, colors, features, _background, depth = ctx.saved_tensors
        needs = ctx.needs_input_grad
        count = means.shape[0]

        def wanted(index: int, *shape: int) -> Tensor | None:
            return torch.empty(shape) if needs[index] else None

        grads = {
            "means": wanted(0, count, 3),
            "quats": wanted(1, count, 4),
            "scales": wanted(2, count, 3),
            "opacities": wanted(3, count),
            "colors": wanted(4, *colors.shape) if colors is not None else None,
            "features": wanted(5, *features.shape) if features is not None else None,
            "camera": wanted(6, 3, 4),
            "camera_position": wanted(7, 3),
            "means2d": wanted(9, count, 2),
        }
        ctx.state.backward(
            depth=_optional(depth),
            v_color=_optional(v_color),
            v_features=_optional(v_features),
            v_depth=_optional(v_depth),
            v_alpha=_optional(v_alpha),
            threads=num_threads(),
            **{name: _optional(grad) for name, grad in grads.items()},
        )
        v_camera = None
        if grads["camera"] is not None:
            v_camera = torch.cat([grads["camera"], torch.zeros(1, 4)])
        v_background = None
        if needs[8] and v_color is not None:
            v_background = (torch.from_numpy(ctx.state.transmittance())[..., None] * v_color).sum((0, 1))
        return (
            grads["means"],
            grads["quats"],
            grads["scales"],
            grads["opacities"],
            grads["colors"],
            grads["features"],
            v_camera,
            grads["camera_position"],
            v_background,
            grads["means2d"],
            None,
        )


def view_of(camera: Camera) -> kernels.View:
    """The camera as the kernels take it."""
    return kernels.View(
        camera.width,
        camera.height,
        camera.fx,
        camera.fy,
        camera.cx,
        camera.cy,
        camera.eps2d,
        _array(camera.camera_from_world),
    )


def position_of(camera: Camera) -> Tensor:
    """[3] in the map frame, from the full inverse as gsplat takes it; differentiable."""
    return torch.linalg.inv(camera.camera_from_world)[:3, 3]


def _optional(tensor: Tensor | None) -> np.ndarray | None:
    return None if tensor is None else _array(tensor)


def _array(tensor: Tensor) -> np.ndarray:
    if tensor.dtype == torch.float64:
        raise ValueError("the cpu backend takes float32 tensors, got float64: use .float(), or backend='reference'")
    return tensor.detach().contiguous().numpy()


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [_array(t) for t in tensors]
