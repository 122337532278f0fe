"""Metrics of one rendered view against what the camera recorded."""

from __future__ import annotations

import numpy as np
from skimage.metrics import structural_similarity

#: PSNR of identical images, dB: JSON and tables have no infinity.
PSNR_CEILING = 100.0
FLOATER_DEPTH = 0.6  # of a converged map's: what is rendered nearer floats before the scene
SSIM_REACH = 5  # pixels from a window's centre to its edge


def psnr(rendered: np.ndarray, recorded: np.ndarray, ignore: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio, dB, of 8-bit images [H, W, 3]; one mean squared error over pixels and channels, but
    for ignored pixels ([H, W] bool).
    """
    squares = (rendered.astype(np.float64) - recorded.astype(np.float64)) ** 2
    error = np.mean(squares if ignore is None else squares[~ignore])
    return PSNR_CEILING if error == 0 else min(PSNR_CEILING, float(10 * np.log10(255.0**2 / error)))


def ssim(rendered: np.ndarray, recorded: np.ndarray, ignore: np.ndarray | None = None) -> float:
    """Structural similarity of 8-bit images [H, W, 3]: Wang et al. 2004, sigma 1.5, mean over channels.

    Ignored pixels ([H, W] bool) are alike in both images, and no window's centre.
    """
    if ignore is not None:
        rendered = np.where(ignore[..., None], recorded, rendered)
    mean, windows = structural_similarity(
        rendered,
        recorded,
        channel_axis=2,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    if ignore is None:
        return float(mean)
    inner = np.s_[SSIM_REACH:-SSIM_REACH, SSIM_REACH:-SSIM_REACH]  # as the mean: windows within the image
    centres = ~ignore[inner]
    return float(windows[inner][centres].mean()) if centres.any() else 1.0


def depth_errors(rendered: np.ndarray, measured: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Errors of rendered depth where both the map and the sensor know it.

    rendered: [H, W] float32, metres along z, NaN unknown. measured: [H, W] float32, metres along z, 0 invalid.
    -> absolute errors [M] metres, the same as shares of the measured range [M], number of measured pixels (>= M)
    """
    measured_valid = np.isfinite(measured) & (measured > 0)
    both = measured_valid & np.isfinite(rendered)
    absolute = np.abs(rendered[both] - measured[both])
    return absolute, absolute / measured[both], int(measured_valid.sum())


def floating(rendered: np.ndarray, converged: np.ndarray) -> tuple[int, int]:
    """Pixels where a map has something in front of the scene: nearer than 0.6 of a converged map's depth.

    rendered, converged: [H, W] float32, metres along z, NaN unknown.
    -> their number, and that of all pixels whose depth the converged map knows
    """
    known = np.isfinite(converged)
    return int((rendered[known] < FLOATER_DEPTH * converged[known]).sum()), int(known.sum())
