"""The fused loss against torch operators and scikit-image."""

import numpy as np
import pytest
import torch
from dispatched_operators import DispatchedOperators
from skimage.metrics import structural_similarity
from torch.nn import functional

from cgc_ros.rendering import photometric_loss
from cgc_ros.rendering.photometric import photometric_loss_torch


def images(height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(height, width, 3, generator=generator)
    return 0.7 * target + 0.3 * torch.rand(height, width, 3, generator=generator), target


def definition(rendered, target, ssim_weight=0.2, mask=None):
    """The loss as published, differentiated by autograd."""
    x, y = rendered.permute(2, 0, 1)[:, None], target.permute(2, 0, 1)[:, None]
    keep = torch.ones_like(x[:1]) if mask is None else mask.to(x.dtype)[None, None]
    x, y = x * keep, y * keep
    values = (3 * keep.sum()).clamp_min(1)
    taps = torch.exp(-((torch.arange(11, dtype=x.dtype) - 5) ** 2) / (2 * 1.5**2))
    window = (taps[:, None] * taps / taps.sum() ** 2)[None, None]
    mean_x, mean_y, xx, yy, xy = (functional.conv2d(image, window, padding=5) for image in (x, y, x * x, y * y, x * y))
    c1, c2 = 0.01**2, 0.03**2
    ssim = (2 * mean_x * mean_y + c1) * (2 * (xy - mean_x * mean_y) + c2)
    ssim = ssim / ((mean_x**2 + mean_y**2 + c1) * (xx - mean_x**2 + yy - mean_y**2 + c2))
    return (1 - ssim_weight) * (x - y).abs().sum() / values + ssim_weight * (1 - (ssim * keep).sum() / values)


@pytest.mark.parametrize("loss", [photometric_loss, photometric_loss_torch])
@pytest.mark.parametrize("height, width", [(48, 64), (1, 1), (3, 50), (41, 7), (90, 33)])
@pytest.mark.parametrize("masked", [False, True])
def test_loss_and_gradient_are_those_of_the_definition_in_float64(loss, height, width, masked):
    rendered, target = images(height, width)
    mask = torch.rand(height, width, generator=torch.Generator().manual_seed(1)) > 0.4 if masked else None
    ours, truth = rendered.clone().requires_grad_(), rendered.double().requires_grad_()
    found = loss(ours, target, 0.2, mask)
    expected = definition(truth, target.double(), 0.2, mask)
    (3.0 * found).backward()
    (3.0 * expected).backward()
    assert found.item() == pytest.approx(expected.item(), abs=1e-6)
    assert (ours.grad - truth.grad).norm() <= 2e-5 * truth.grad.norm()


@pytest.mark.parametrize("texture", [0.005, 0.02, 0.08])
def test_gradients_hold_on_bright_surfaces_of_little_texture(texture):
    """There the variances are small differences of means near 1, the first to suffer from rounding."""
    generator = torch.Generator().manual_seed(4)
    target = 0.9 + texture * torch.randn(40, 50, 3, generator=generator)
    rendered = (target + 0.5 * texture * torch.randn(40, 50, 3, generator=generator)).requires_grad_()
    truth = rendered.detach().double().requires_grad_()
    photometric_loss_torch(rendered, target, 1.0).backward()
    definition(truth, target.double(), 1.0).backward()
    assert (rendered.grad - truth.grad).norm() <= 2e-3 * truth.grad.norm()


def test_windows_are_depthwise_convolutions_which_no_tf32_touches():
    rendered, target = images(12, 14)
    with DispatchedOperators() as dispatched:
        photometric_loss_torch(rendered, target)
    weights = [arguments[1].shape[:2] for name, arguments in dispatched.calls if name == "convolution"]
    assert weights == [(12, 1), (12, 1), (9, 1), (9, 1)]


def test_ssim_is_scikit_images_away_from_the_border():
    rendered, target = images(60, 60)
    _, full = structural_similarity(
        rendered.double().numpy(),
        target.double().numpy(),
        gaussian_weights=True,
        sigma=1.5,
        truncate=3.5,
        use_sample_covariance=False,
        data_range=1.0,
        channel_axis=2,
        full=True,
    )
    inner = torch.zeros(60, 60, 3, dtype=torch.float64)

    def ssim_of(rows):
        # Local SSIM by differences of sums: only windows inside the image count.
        return (1 - photometric_loss_torch(rendered[rows].double(), target[rows].double(), 1.0)).item()

    assert inner.shape == full.shape
    whole = ssim_of(slice(0, 60)) * 60 * 60 * 3
    padded_r, padded_t = (np.pad(i.double().numpy(), ((5, 5), (5, 5), (0, 0))) for i in (rendered, target))
    _, padded = structural_similarity(
        padded_r,
        padded_t,
        gaussian_weights=True,
        sigma=1.5,
        truncate=3.5,
        use_sample_covariance=False,
        data_range=1.0,
        channel_axis=2,
        full=True,
    )
    assert whole == pytest.approx(padded[5:-5, 5:-5].sum(), rel=1e-6)


def test_equal_images_cost_nothing_and_a_mask_hides_what_it_excludes():
    rendered, target = images(30, 30)
    assert photometric_loss(target, target).item() == pytest.approx(0.0, abs=1e-6)
    mask = torch.ones(30, 30, dtype=torch.bool)
    mask[:, 15:] = False
    changed = rendered.clone()
    changed[:, 15:] = 0.123
    changed.requires_grad_()
    loss = photometric_loss(changed, target, mask=mask)
    loss.backward()
    assert loss.item() == pytest.approx(photometric_loss(rendered, target, mask=mask).item(), abs=1e-7)
    assert changed.grad[:, 15:].abs().max() == 0 and changed.grad[:, :15].abs().max() > 0


def test_an_empty_mask_is_no_loss():
    rendered, target = images(8, 8)
    rendered.requires_grad_()
    loss = photometric_loss(rendered, target, mask=torch.zeros(8, 8, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0.0 and rendered.grad.abs().max() == 0


def test_shapes_that_do_not_fit_are_named():
    rendered, target = images(8, 8)
    with pytest.raises(ValueError, match=r"\[8, 7, 3\]"):
        photometric_loss(rendered, target[:, :7])
    with pytest.raises(ValueError, match="mask must be"):
        photometric_loss(rendered, target, mask=torch.ones(4, 8, dtype=torch.bool))
