"""Metrics of one rendered view against what the camera recorded."""

from __future__ import annotations

import numpy as np
from skimage.metrics import structural_similarity

#: PSNR of identical images, dB: JSON and tables have no infinity.
PSNR_CEILING = 100.0


def psnr(rendered: np.ndarray, recorded: np.ndarray) -> float:
    """Peak signal-to-noise ratio, dB, of 8-bit images [H, W, 3]; one mean squared error over pixels and channels."""
    error = np.mean((rendered.astype(np.float64) - recorded.astype(np.float64)) ** 2)
    return PSNR_CEILING if error == 0 else min(PSNR_CEILING, float(10 * np.log10(255.0**2 / error)))


def ssim(rendered: np.ndarray, recorded: np.ndarray) -> float:
    """Structural similarity of 8-bit images [H, W, 3]: Wang et al. 2004, sigma 1.5, mean over channels."""
    return float(
        structural_similarity(
            rendered,
            recorded,
            channel_axis=2,
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


def depth_errors(rendered: np.ndarray, measured: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Errors of rendered depth where both the map and the sensor know it.

    rendered: [H, W] float32, metres along z, NaN unknown. measured: [H, W] float32, metres along z, 0 invalid.
    -> absolute errors [M] metres, the same as shares of the measured range [M], number of measured pixels (>= M)
    """
    measured_valid = np.isfinite(measured) & (measured > 0)
    both = measured_valid & np.isfinite(rendered)
    absolute = np.abs(rendered[both] - measured[both])
    return absolute, absolute / measured[both], int(measured_valid.sum())
