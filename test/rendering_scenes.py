"""Random scenes with the cases that break rasterisers, and a way to render one with all its gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cgc_ros.rendering import Camera, Render, rasterize
from cgc_ros.rendering.camera import EPS2D


@dataclass
class Scene:
    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    harmonics: Tensor  # [N, 16, 3]
    features: Tensor  # [N, F]
    camera_from_world: Tensor
    background: Tensor
    width: int
    height: int
    focal: float
    eps2d: float = EPS2D  # pixels^2

    def camera(self) -> Camera:
        cx, cy = 0.52 * self.width, 0.47 * self.height
        return Camera(
            self.width, self.height, self.focal, 1.03 * self.focal, cx, cy, self.camera_from_world, self.eps2d
        )

    def to(self, dtype: torch.dtype) -> Scene:
        """A copy in another precision whose tensors are leaves that require gradients."""
        fields = {
            name: value.detach().to(dtype).clone().requires_grad_() if isinstance(value, Tensor) else value
            for name, value in vars(self).items()
        }
        return Scene(**fields)

    @property
    def gaussians(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.means, self.quats, self.scales, self.opacities


def random_scene(
    count: int, width: int = 64, height: int = 48, num_features: int = 5, seed: int = 0, hard: bool = True
) -> Scene:
    """Gaussians in front of the camera; with `hard`, also behind it, on the near plane, huge, needles, nearly
    transparent, opaque, far off the axis, and of equal depth."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    depth = 2.0 + 4.0 * uniform(count)
    means = torch.stack([normal(count) * 0.45 * depth, normal(count) * 0.35 * depth, depth], dim=1)
    scales = torch.exp(normal(count, 3) * 0.7 - 3.0)
    opacities = uniform(count)
    if hard:
        tenth = max(count // 10, 1)
        means[:tenth, 2] -= 7.0
        means[tenth : 2 * tenth, 2] = 0.005 + 0.02 * uniform(len(means[tenth : 2 * tenth]))
        scales[2 * tenth : 2 * tenth + 3] = 2.0
        scales[2 * tenth + 3 : 3 * tenth, 0] = 0.6
        scales[2 * tenth + 3 : 3 * tenth, 1:] = 1e-4
        opacities[3 * tenth : 4 * tenth] = 0.004 * uniform(len(opacities[3 * tenth : 4 * tenth])) + 0.003
        opacities[4 * tenth : 5 * tenth] = 1.0
        means[5 * tenth : 6 * tenth, 0] *= 4.0
        means[6 * tenth : 7 * tenth, 2] = 3.0
    angle = 0.0 if hard else 0.15  # equal depths stay equal only where the camera looks along z
    cos, sin = math.cos(angle), math.sin(angle)
    camera_from_world = torch.tensor([[cos, 0, sin, 0.1], [0, 1, 0, -0.05], [-sin, 0, cos, 0.2], [0, 0, 0, 1]])
    return Scene(
        means,
        normal(count, 4),
        scales,
        opacities,
        normal(count, 16, 3) * 0.3,
        normal(count, num_features),
        camera_from_world,
        torch.tensor([0.1, 0.5, 0.9]),
        width,
        height,
        0.85 * width,
    )


@dataclass
class Result:
    outputs: dict[str, Tensor]
    gradients: dict[str, Tensor]
    render: Render


def render_with_gradients(
    scene: Scene, dtype: torch.dtype, backend: str, sh_degree: int = 3, device: str = "cpu"
) -> Result:
    """Render everything and differentiate a random weighting of all outputs; results come back as float64."""
    scene = scene.to(dtype)
    leaves = {name: value for name, value in vars(scene).items() if isinstance(value, Tensor)}
    probe = torch.zeros(len(scene.means), 2, dtype=dtype, requires_grad=True)
    moved = Scene(
        **{name: value.to(device) if isinstance(value, Tensor) else value for name, value in vars(scene).items()}
    )
    render = rasterize(
        *moved.gaussians,
        moved.camera(),
        colors=moved.harmonics,
        sh_degree=sh_degree,
        features=moved.features,
        depth=True,
        background=moved.background,
        means2d_grad=probe.to(device),
        backend=backend,
        contribution=True,
    )
    outputs = {"color": render.color, "features": render.features, "depth": render.depth, "alpha": render.alpha}
    generator = torch.Generator().manual_seed(99)
    loss = sum(
        (output * torch.randn(output.shape, generator=generator).to(device, dtype)).sum() for output in outputs.values()
    )
    leaves["means2d_grad"] = probe
    found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, materialize_grads=True)
    gradients = dict(zip(leaves, found, strict=True))
    outputs["contribution"] = render.contribution
    return Result(
        {name: value.detach().double().cpu() for name, value in outputs.items()},
        {name: value.double().cpu() for name, value in gradients.items()},
        render,
    )


def relative_error(value: Tensor, truth: Tensor) -> float:
    """Relative L2 error; 0 where both are zero."""
    scale = truth.norm()
    difference = (value - truth).norm()
    return float(difference / scale) if scale > 0 else float(difference)


def outlier_share(value: Tensor, truth: Tensor, tolerance: float = 1e-4) -> float:
    """Of values that differ by more than `tolerance`; 0 of none."""
    return float(((value - truth).abs() > tolerance).double().sum() / max(value.numel(), 1))
