"""What work takes on a reference machine, in seconds by its size: how a mapper that is driven by hand shares its time,
so that what it does does not depend on the machine.

Fitted to two cores of an Intel Xeon (AVX-512); only the ratios matter.
"""

from __future__ import annotations

from cgc_ros.mapping.keyframes import Keyframe


def step(keyframe: Keyframe, scale: float, gaussians: int) -> float:
    """A step of training on a keyframe at `scale` of its size."""
    return 1.7e-7 * _pixels(keyframe) * scale**2 + 4e-7 * gaussians


def frame(pixels: int, gaussians: int) -> float:
    """Taking a frame in."""
    return 2e-7 * pixels + 4e-7 * gaussians


def stereo(keyframe: Keyframe, working_pixels: int, gaussians: int) -> float:
    """Depth by stereo for a keyframe, and its new Gaussians."""
    return 6.5e-7 * min(working_pixels, _pixels(keyframe)) + 1e-7 * _pixels(keyframe) + 4e-7 * gaussians


def votes(keyframe: Keyframe, vote_scale: float, gaussians: int) -> float:
    """The votes of a keyframe's masks."""
    return 5e-8 * _pixels(keyframe) * vote_scale**2 + 3e-7 * gaussians


def piece_of_objects(keyframes: int, gaussians: int) -> float:
    """A piece of an update of the objects."""
    return 1e-5 * keyframes + 3e-8 * gaussians


def snapshot(gaussians: int) -> float:
    """A copy of the map."""
    return 7e-8 * gaussians


def _pixels(keyframe: Keyframe) -> int:
    return keyframe.image.shape[0] * keyframe.image.shape[1]
