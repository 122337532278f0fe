"""Poses as files bring them: scaled, mirrored, lost. One bad pose costs one frame; a mirrored recording is refused."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

#: Times the columns of an OpenGL camera's pose (y up, z backward): that of the optical frame (y down, z forward).
OPENGL_AXES = np.array([1.0, -1.0, -1.0, 1.0])
_MAX_SCALE = 0.1  # a rotation's scale may be off by so much and is normalised
_MAX_SHEAR = 0.02  # by so much may its axes differ in length
_ROUNDING = 1e-3  # files with three decimals
_MIN_CONVERGENCE = 0.02  # ratio of eigenvalues at which optical axes are said to meet


class PoseFault(NamedTuple):
    """Why a pose costs its frame: `kind` is lost, mirrored or bad."""

    kind: str
    text: str


class CheckedPose(NamedTuple):
    """A pose made rigid; `scale`: its rotation's in the file."""

    world_from_camera: np.ndarray  # [4, 4]
    scale: float


def quaternion_pose(translation, quaternion_xyzw) -> np.ndarray:
    """[4, 4] whose rotation keeps the quaternion's length as its scale, for `check_pose`; NaN and zero stay so."""
    pose = np.full((4, 4), np.nan)
    length = float(np.linalg.norm(quaternion_xyzw))
    if np.isfinite([*translation, length]).all():
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_quat(quaternion_xyzw).as_matrix() * length if length > 0 else 0.0
        pose[:3, 3] = translation
    return pose


def check_pose(matrix: np.ndarray) -> CheckedPose | PoseFault:
    """The rigid pose nearest to a [3, 4] or [4, 4] matrix, or why there is none."""
    if matrix.size == 0:
        return PoseFault("bad", "not 12 or 16 numbers")
    if matrix.shape == (3, 4):
        matrix = np.vstack([matrix, [0.0, 0.0, 0.0, 1.0]])
    if matrix.shape != (4, 4):
        return PoseFault("bad", f"a matrix of {'x'.join(map(str, matrix.shape))}, not 4x4")
    if not np.isfinite(matrix).all():
        return PoseFault("lost", "not finite")
    if np.abs(matrix[3] - (0.0, 0.0, 0.0, 1.0)).max() > _ROUNDING:
        return PoseFault("bad", f"the last row is {matrix[3].tolist()}, not 0 0 0 1 (a transposed matrix?)")
    left, lengths, right = np.linalg.svd(matrix[:3, :3])
    scale = float(lengths.mean())
    if abs(scale - 1.0) > _MAX_SCALE:
        return PoseFault("bad", f"the rotation (or quaternion) has a scale of {scale:.3g}, not 1")
    if lengths[0] - lengths[2] > _MAX_SHEAR:
        return PoseFault("bad", f"the rotation is sheared: its axes have lengths {np.round(lengths, 3).tolist()}")
    rotation = left @ right
    if np.linalg.det(rotation) < 0:
        return PoseFault("mirrored", "the rotation's determinant is -1")
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, matrix[:3, 3]
    return CheckedPose(pose, scale if np.abs(lengths - 1.0).max() > _ROUNDING else 1.0)


def flip_advice(poses: list[np.ndarray]) -> str:
    """Which axis of mirrored poses, in optical axes, to negate: z where the views meet behind the cameras, else y."""
    axes = np.array([pose[:3, 2] / np.linalg.norm(pose[:3, 2]) for pose in poses])
    positions = np.array([pose[:3, 3] for pose in poses])
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]  # onto the plane that each optical axis is normal to
    normal = across.sum(0)
    strengths = np.linalg.eigvalsh(normal)
    if strengths[0] > _MIN_CONVERGENCE * strengths[-1]:
        meeting = np.linalg.solve(normal, np.einsum("nij,nj->i", across, positions))
        if np.median(np.einsum("ni,ni->n", meeting - positions, axes)) < 0:
            return "the views meet behind the cameras: negate the third column (z) of each rotation"
        return "the views meet before the cameras: negate the second column (y) of each rotation"
    return "negate the second column (y) of each rotation, or the third (z) where the views point backward"
