"""Maps as .spz, read by a decoder that is written from the format's own description."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cgc_ros.gaussians.model import GaussianModel
from cgc_ros.gaussians.spz import write_gaussian_spz


def decoded(path) -> dict[str, np.ndarray]:
    """As the file has it, in right, up, back: positions, alphas 0..1, f_dc, log scales, quaternions x y z w, sh."""
    data = gzip.decompress(path.read_bytes())
    magic, version, count, degree, fraction, flags, reserved = struct.unpack_from("<IIIBBBB", data)
    assert (magic, version, flags, reserved) == (0x5053474E, 3, 0, 0)
    at = 16

    def take(width: int) -> np.ndarray:
        nonlocal at
        found = np.frombuffer(data, np.uint8, count * width, at).reshape(count, width).astype(np.int64)
        at += count * width
        return found

    low, middle, high = take(9).reshape(count, 3, 3).transpose(2, 0, 1)
    fixed = low | middle << 8 | high << 16
    found = {
        "positions": np.where(fixed & 0x800000, fixed - (1 << 24), fixed) / 2**fraction,
        "alphas": take(1)[:, 0] / 255,
        "colors": (take(3) / 255 - 0.5) / 0.15,
        "scales": take(3) / 16 - 10,
    }
    quats = np.zeros((count, 4))
    for row, (b0, b1, b2, b3) in enumerate(take(4)):
        word = int(b0 | b1 << 8 | b2 << 16 | b3 << 24)
        largest = word >> 30
        for axis in (3, 2, 1, 0):
            if axis != largest:
                size = np.sqrt(0.5) * (word & 511) / 511
                quats[row, axis] = -size if word >> 9 & 1 else size
                word >>= 10
        quats[row, largest] = np.sqrt(max(0.0, 1 - (quats[row] ** 2).sum()))
    found["quats"] = quats
    found["sh"] = (take(3 * ((degree + 1) ** 2 - 1)).reshape(count, (degree + 1) ** 2 - 1, 3) - 128) / 128
    assert at == len(data)
    return found


def model_of(count: int, degree: int, seed: int = 0) -> GaussianModel:
    generator = torch.Generator().manual_seed(seed)
    model = GaussianModel(degree)
    model.parameters = {
        "means": 3 * torch.randn(count, 3, generator=generator),
        "quats": 2 * torch.randn(count, 4, generator=generator),
        "log_scales": torch.rand(count, 3, generator=generator) * 6 - 8,
        "logit_opacities": torch.randn(count, generator=generator),
        "sh": 0.3 * torch.randn(count, (degree + 1) ** 2, 3, generator=generator),
        "features": torch.zeros(count, 16),
    }
    model.uids = torch.arange(count)
    return model


def rotation(xyzw: np.ndarray) -> np.ndarray:
    x, y, z, w = xyzw.T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.array(rows).transpose(2, 0, 1)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_what_is_read_back_is_the_map_within_the_formats_steps(tmp_path, degree):
    model = model_of(200, degree)
    origin = np.array([10.0, -20.0, 30.0])
    np.testing.assert_array_equal(write_gaussian_spz(tmp_path / "map.spz", model, origin), origin)
    found = decoded(tmp_path / "map.spz")
    flip = np.diag([1.0, -1.0, -1.0])
    own = {name: value.double().numpy() for name, value in model.parameters.items()}
    np.testing.assert_allclose(found["positions"] @ flip, own["means"] + origin, atol=0.51 / 4096)
    np.testing.assert_allclose(found["alphas"], model.opacities, atol=0.51 / 255)
    np.testing.assert_allclose(found["scales"], own["log_scales"], atol=0.51 / 16)
    np.testing.assert_allclose(found["colors"], np.clip(own["sh"][:, 0], -3.33, 3.33), atol=0.51 / 255 / 0.15)
    quats = own["quats"] / np.linalg.norm(own["quats"], axis=1, keepdims=True)
    turned = flip @ rotation(quats[:, [1, 2, 3, 0]]) @ flip
    np.testing.assert_allclose(rotation(found["quats"]), turned, atol=6e-3)
    steps = np.where(np.arange(found["sh"].shape[1]) < 3, 8, 16)[:, None] / 128
    flipped = own["sh"][:, 1:].clip(-1, 1)
    assert (np.abs(np.abs(found["sh"]) - np.abs(flipped)) <= 0.51 * steps + 1 / 128).all()


def test_colours_from_every_side_stay_what_they_are(tmp_path):
    """Harmonics of mirrored axes, seen along mirrored directions."""
    from cgc_ros.rendering.spherical_harmonics import basis

    model = model_of(20, 3, seed=1)
    write_gaussian_spz(tmp_path / "map.spz", model)
    found = decoded(tmp_path / "map.spz")
    harmonics = np.concatenate([found["colors"][:, None], found["sh"]], axis=1)
    directions = torch.nn.functional.normalize(torch.randn(20, 3, generator=torch.Generator().manual_seed(2)), dim=1)
    ours = (basis(3, directions)[:, :, None] * model.sh.clamp(-1, 1)).sum(dim=1)
    mirrored = basis(3, directions * torch.tensor([1.0, -1.0, -1.0]))
    theirs = (mirrored[:, :, None] * torch.from_numpy(harmonics).float()).sum(dim=1)
    assert (ours - theirs).abs().mean() < 0.06


@given(st.lists(st.floats(-1, 1, width=32), min_size=4, max_size=4))
def test_any_rotation_is_kept(tmp_path_factory, numbers):
    quats = np.array([numbers])
    length = np.linalg.norm(quats)
    model = model_of(1, 0)
    model.parameters["quats"] = torch.tensor(quats, dtype=torch.float32)
    path = tmp_path_factory.mktemp("spz") / "map.spz"
    write_gaussian_spz(path, model)
    flip = np.diag([1.0, -1.0, -1.0])
    expected = rotation((quats / length)[:, [1, 2, 3, 0]]) if length > 1e-6 else np.eye(3)[None]
    if length > 1e-6 or length == 0:
        np.testing.assert_allclose(rotation(decoded(path)["quats"]), flip @ expected @ flip, atol=6e-3)


def test_a_map_far_from_its_worlds_origin_is_written_about_its_own(tmp_path):
    model = model_of(5, 0)
    offset = write_gaussian_spz(tmp_path / "map.spz", model, np.array([500_000.0, 4_000_000.0, 0.0]))
    assert not offset.any()
    positions = decoded(tmp_path / "map.spz")["positions"] * (1, -1, -1)
    np.testing.assert_allclose(positions, model.means.numpy(), atol=0.51 / 4096)
    write_gaussian_spz(tmp_path / "empty.spz", GaussianModel(1))
    assert len(decoded(tmp_path / "empty.spz")["positions"]) == 0
