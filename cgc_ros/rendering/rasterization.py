"""The one call behind which all rasterisers stand; conventions are gsplat 1.5.3's (docs/rasteriser.md)."""

from __future__ import annotations

import torch
from torch import Tensor

from cgc_ros.rendering.backends import backend_module, choose_backend
from cgc_ros.rendering.camera import Camera
from cgc_ros.rendering.outputs import BlendWeights, Render


def rasterize(
    means: Tensor,  # [N, 3]
    quats: Tensor,  # [N, 4] w x y z, normalised inside
    scales: Tensor,  # [N, 3]
    opacities: Tensor,  # [N]
    camera: Camera,
    colors: Tensor | None = None,  # [N, 3] or [N, K, 3]
    sh_degree: int | None = None,
    features: Tensor | None = None,  # [N, F]
    depth: bool = False,
    background: Tensor | None = None,  # [3]
    means2d_grad: Tensor | None = None,  # [N, 2]
    backend: str = "auto",
    contribution: bool = False,
) -> Render:
    """Render Gaussians in one pass; channels that are not asked for cost nothing.

    Args:
        means: [N, 3] metres, map frame.
        quats: [N, 4] w x y z, of any length but zero.
        scales: [N, 3] standard deviations along the axes, metres.
        opacities: [N] 0..1.
        camera: the view; gradients flow to `camera.camera_from_world` where it requires them.
        colors: [N, 3], or [N, K, 3] spherical harmonics with K >= (sh_degree + 1)^2.
        sh_degree: 0..3; None: `colors` are plain.
        features: [N, F], any F.
        depth: expected depth wanted.
        background: [3], seen where the Gaussians are transparent.
        means2d_grad: [N, 2] zeros that require grad: receive the gradient of the projected means, pixels.
        backend: auto, gsplat, cpu or reference.
        contribution: sums of weights wanted, without gradient.

    Raises:
        ValueError: shapes or types that do not fit.
        BackendError: a backend that cannot run here.
    """
    _check_gaussians(means, quats, scales, opacities, camera)
    n = means.shape[0]
    if colors is None and sh_degree is not None:
        raise ValueError("sh_degree is given without colors")
    if colors is not None and sh_degree is None:
        _check("colors", colors, (n, 3), means)
    if colors is not None and sh_degree is not None:
        if sh_degree not in (0, 1, 2, 3):
            raise ValueError(f"sh_degree must be 0 to 3, got {sh_degree}")
        _check("colors", colors, (n, None, 3), means)
        if colors.shape[1] < (sh_degree + 1) ** 2:
            needed = (sh_degree + 1) ** 2
            raise ValueError(f"sh_degree {sh_degree} needs {needed} coefficients, colors hold {colors.shape[1]}")
    if features is not None:
        _check("features", features, (n, None), means)
    if background is not None:
        _check("background", background, (3,), means)
    if means2d_grad is not None:
        _check("means2d_grad", means2d_grad, (n, 2), means)
    module = backend_module(choose_backend(backend, means.device))
    return module.rasterize(
        means,
        quats,
        scales,
        opacities,
        camera,
        colors=colors,
        sh_degree=sh_degree,
        features=features,
        depth=depth,
        background=background,
        means2d_grad=means2d_grad,
        contribution=contribution,
    )


@torch.no_grad()
def blend_weights(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    camera: Camera,
    pixels: Tensor | None,
    backend: str = "auto",
) -> BlendWeights:
    """The weights alpha * T of all Gaussians at some pixels, a sparse matrix.

    Args:
        pixels: [P] int64, flat indices row * width + column in any order, repeats allowed; None: the whole view.
    """
    _check_gaussians(means, quats, scales, opacities, camera)
    if pixels is None:
        pixels = torch.arange(camera.width * camera.height, device=means.device)
    if pixels.ndim != 1 or pixels.dtype != torch.int64:
        raise ValueError(f"pixels must be [P] int64, got {list(pixels.shape)} {pixels.dtype}")
    last = camera.width * camera.height - 1
    if pixels.numel() and not 0 <= int(pixels.min()) <= int(pixels.max()) <= last:
        raise ValueError(f"pixels must lie in 0..{last}, got {int(pixels.min())}..{int(pixels.max())}")
    module = backend_module(choose_backend(backend, means.device))
    return module.blend_weights(means, quats, scales, opacities, camera, pixels)


@torch.no_grad()
def mask_votes(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    camera: Camera,
    labels: Tensor,
    num_labels: int,
    backend: str = "auto",
) -> Tensor:
    """How much each Gaussian is seen inside each label: sums of alpha * T over pixels, [N, num_labels] float32.

    Args:
        labels: [H, W] int32; values outside 0..num_labels - 1 vote for nothing.
    """
    _check_gaussians(means, quats, scales, opacities, camera)
    size = (camera.height, camera.width)
    if labels.shape != size or labels.dtype != torch.int32:
        raise ValueError(f"labels must be {list(size)} int32, got {list(labels.shape)} {labels.dtype}")
    module = backend_module(choose_backend(backend, means.device))
    return module.mask_votes(means, quats, scales, opacities, camera, labels, num_labels)


@torch.no_grad()
def label_image(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    camera: Camera,
    object_ids: Tensor,
    backend: str = "auto",
) -> tuple[Tensor, Tensor, Tensor]:
    """Per pixel the id whose Gaussians weigh most.

    Args:
        object_ids: [N] int32, negative = none: such Gaussians occlude but are no candidates.

    Returns:
        labels [H, W] int32, -1 where no id is seen; confidence [H, W] float32, that id's sum of weights (at most
        alpha); expected depth [H, W] float32 of everything seen there.
    """
    _check_gaussians(means, quats, scales, opacities, camera)
    if object_ids.shape != (means.shape[0],) or object_ids.dtype != torch.int32:
        found = f"{list(object_ids.shape)} {object_ids.dtype}"
        raise ValueError(f"object_ids must be [{means.shape[0]}] int32, got {found}")
    module = backend_module(choose_backend(backend, means.device))
    return module.label_image(means, quats, scales, opacities, camera, object_ids)


def _check_gaussians(means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, camera: Camera) -> None:
    if means.ndim != 2 or means.shape[1] != 3:
        raise ValueError(f"means must be [N, 3], got {list(means.shape)}")
    if means.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"means must be float32 (float64 for the reference backend), got {means.dtype}")
    n = means.shape[0]
    _check("quats", quats, (n, 4), means)
    _check("scales", scales, (n, 3), means)
    _check("opacities", opacities, (n,), means)
    _check("camera.camera_from_world", camera.camera_from_world, (4, 4), means)
    if camera.width < 1 or camera.height < 1:
        raise ValueError(f"the image must be at least 1x1, got {camera.width}x{camera.height}")


def _check(name: str, tensor: Tensor, shape: tuple[int | None, ...], like: Tensor) -> None:
    """`None` in `shape` stands for any size."""
    fits = tensor.ndim == len(shape) and all(want in (None, got) for want, got in zip(shape, tensor.shape, strict=True))
    if not fits:
        wanted = ", ".join("any" if want is None else str(want) for want in shape)
        raise ValueError(f"{name} must be [{wanted}], got {list(tensor.shape)}")
    if tensor.dtype != like.dtype or tensor.device != like.device:
        found = f"{tensor.dtype} on {tensor.device}"
        raise ValueError(f"{name} must be {like.dtype} on {like.device} like the means, got {found}")
