"""Depth in RVL, against an encoder that follows the paper number by number."""

import struct
from types import SimpleNamespace

import made_messages
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cgc_ros.frame import FrameError
from cgc_ros.messages.depth import decode_depth

RNG = np.random.default_rng(0)
SHAPE = (24, 31)


@pytest.mark.parametrize(
    "pixels",
    [
        RNG.integers(0, 65536, SHAPE),
        np.zeros(SHAPE),
        np.full(SHAPE, 65535),
        RNG.integers(500, 520, SHAPE) * (RNG.random(SHAPE) > 0.3),
        np.ones((1, 1)),
    ],
    ids=["noise", "empty", "full", "runs", "one"],
)
def test_rvl_depth_is_decoded(pixels):
    decoded = decode_depth(made_messages.rvl(pixels.astype(np.uint16)))
    np.testing.assert_allclose(decoded, pixels * 1e-3, rtol=1e-6)


def test_words_are_filled_from_the_top_and_numbers_from_their_lowest_bits():
    """By hand: no zeros (0), two pixels (2), 9 = zigzag 18 = 2 + 2 * 8 (nibbles a 2), 8 = -1 = zigzag 1."""
    data = struct.pack("<iffII", 0, 0.0, 0.0, 2, 1) + struct.pack("<I", 0x02A21000)
    message = SimpleNamespace(format="16UC1; compressedDepth rvl", data=np.frombuffer(data, np.uint8))
    np.testing.assert_allclose(decode_depth(message, unit_m=1.0), [[9.0, 8.0]])


def test_rvl_holds_inverse_depth_of_floats_too():
    a, b, depth = 5000.0, -100.0, np.array([[0.5, 2.0], [10.0, 4.0]])
    quantised = np.round(a / depth + b).astype(np.uint16)
    message = made_messages.rvl(quantised, "32FC1; compressedDepth rvl", (a, b))
    np.testing.assert_allclose(decode_depth(message), depth, rtol=2e-3)


def reason_of(message):
    with pytest.raises(FrameError) as caught:
        decode_depth(message)
    return caught.value.reason


def test_damaged_rvl_is_named():
    whole = made_messages.rvl(RNG.integers(1, 65536, SHAPE).astype(np.uint16))
    for length in (200, 15):
        assert reason_of(SimpleNamespace(format=whole.format, data=whole.data[:length])) == "truncated_image"
    claims_more = whole.data.copy()
    claims_more[12:16] = np.frombuffer(struct.pack("<I", 2**31), np.uint8)
    assert reason_of(SimpleNamespace(format=whole.format, data=claims_more)) == "bad_image"


@settings(max_examples=400, deadline=None)
@given(size=st.tuples(st.integers(0, 40), st.integers(0, 40)), content=st.binary(max_size=400))
def test_any_rvl_data_decode_or_are_named(size, content):
    data = np.frombuffer(bytes(12) + struct.pack("<II", *size) + content, np.uint8)
    try:
        depth = decode_depth(SimpleNamespace(format="16UC1; compressedDepth rvl", data=data))
        assert depth.shape == size[::-1]
    except FrameError as error:
        assert error.reason in {"truncated_image", "bad_image"}
