"""The fused loss against torch operators and scikit-image."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from cgc_ros.rendering import photometric_loss
from cgc_ros.rendering.photometric import photometric_loss_torch


def images(height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(height, width, 3, generator=generator)
    return 0.7 * target + 0.3 * torch.rand(height, width, 3, generator=generator), target


@pytest.mark.parametrize("height, width", [(48, 64), (1, 1), (3, 50), (41, 7), (90, 33)])
@pytest.mark.parametrize("masked", [False, True])
def test_loss_and_gradient_equal_those_of_torch_in_float64(height, width, masked):
    rendered, target = images(height, width)
    mask = torch.rand(height, width, generator=torch.Generator().manual_seed(1)) > 0.4 if masked else None
    ours, truth = rendered.clone().requires_grad_(), rendered.double().requires_grad_()
    loss = photometric_loss(ours, target, 0.2, mask)
    expected = photometric_loss_torch(truth, target.double(), 0.2, mask)
    (3.0 * loss).backward()
    (3.0 * expected).backward()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    assert (ours.grad - truth.grad).norm() <= 1e-5 * truth.grad.norm()


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
