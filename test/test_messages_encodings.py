"""Encodings as cameras really send them: planes, odd numbers of bits, files that say what is in them."""

import numpy as np
import pytest
from made_messages import file, raw
from rosbags.image import message_to_cvimage

from cgc_ros.frame import FrameError
from cgc_ros.messages.depth import decode_depth
from cgc_ros.messages.images import SampleRange, decode_image

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        ("bayer_rggb8; jpeg compressed bgr8", "mono8"),
        ("bayer_rggb8; png compressed mono8", "mono8"),
        ("bayer_rggb8; png compressed bayer_rggb8", "bayer_rggb8"),
        ("bayer_rggb8; png compressed ", "bayer_rggb8"),
        ("bayer_rggb16; png compressed bayer_rggb8", "bayer_rggb8"),
        ("mono8; png compressed ", "mono8"),
    ],
)
def test_what_stands_after_compressed_says_what_a_single_channel_is(form, kind):
    pixels = RNG.integers(0, 256, (8, 8)).astype(np.uint8)
    message = raw(pixels, kind)
    message.__msgtype__ = "sensor_msgs/msg/Image"
    np.testing.assert_array_equal(decode_image(file(pixels, ".png", form)), message_to_cvimage(message, "rgb8"))


def test_a_file_whose_channels_are_said_to_be_rgb_is_not_turned_around():
    """image_transport's subscriber turns what stands as bgr, and nothing else."""
    stored = np.full((8, 8, 3), (200, 100, 0), np.uint8)
    assert (decode_image(file(stored, ".png", "rgb8; png compressed rgb8")) == [200, 100, 0]).all()
    assert (decode_image(file(stored, ".png", "rgb8; png compressed bgr8")) == [0, 100, 200]).all()
    assert (decode_image(file(stored, ".png", "bayer_rggb8; jpeg compressed bgr8")) == [0, 100, 200]).all()


@pytest.mark.parametrize("encoding", ["nv12", "nv21", "i420", "yv12", "NV12"])
@pytest.mark.parametrize("padding", [0, 6])
def test_planes_of_a_quarter_of_the_colours_are_a_picture(encoding, padding):
    """One colour: BT.601's Y, Cb and Cr of pure red in every plane."""
    height, width, (y, blue, red) = 4, 8, (81, 90, 240)
    planes = np.full((height * 3 // 2, width), y, np.uint8)
    colors = planes[height:].reshape(-1)
    first, second = (blue, red) if encoding.lower() in ("nv12", "i420") else (red, blue)
    if encoding.lower().startswith("nv"):
        colors[0::2], colors[1::2] = first, second
    else:
        colors[: len(colors) // 2], colors[len(colors) // 2 :] = first, second
    message = raw(planes, encoding, padding)
    for counted in (height, len(planes)):  # some drivers count the rows of all planes
        message.height = counted
        decoded = decode_image(message)
        assert decoded.shape == (height, width, 3)
        np.testing.assert_allclose(decoded.reshape(-1, 3), [[255, 0, 0]] * (height * width), atol=2)
    message.height, message.data = height, message.data[: -1 - padding]
    with pytest.raises(FrameError) as caught:
        decode_image(message)
    assert caught.value.reason == "truncated_image"


@pytest.mark.parametrize(
    ("encoding", "order"), [("yvyu", (0, 3, 2, 1)), ("uyvy", (1, 0, 3, 2)), ("YUY2", (0, 1, 2, 3))]
)
def test_every_order_of_4_2_2_gives_the_same_picture(encoding, order):
    quads = RNG.integers(0, 256, (4, 4, 4)).astype(np.uint8)  # rows, pairs of pixels, Y U Y V
    expected = decode_image(raw(quads.reshape(4, 8, 2), "yuyv"))
    np.testing.assert_array_equal(decode_image(raw(quads[..., order].reshape(4, 8, 2), encoding)), expected)


@pytest.mark.parametrize("encoding", ["mono16", "bayer_rggb16", "rgb16"])
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_fewer_bits_in_16_are_stretched_by_what_the_stream_shows(encoding, bits):
    samples = SampleRange()
    shape = (4, 4, 3) if encoding == "rgb16" else (4, 4)
    largest = 2**bits - 1
    assert (decode_image(raw(np.full(shape, largest, np.uint16), encoding), samples) == 255).all()
    dark = decode_image(raw(np.full(shape, largest // 2, np.uint16), encoding), samples)
    assert (dark == 127).all(), "a darker image of the same stream stays darker"
    assert (f"{bits} bits" in samples.note()) == (bits < 16)


@pytest.mark.parametrize(("encoding", "bits"), [("mono10", 10), ("mono12", 12), ("bayer_grbg12", 12), ("Y10", 10)])
def test_bits_that_the_encoding_names_are_believed(encoding, bits):
    assert (decode_image(raw(np.full((4, 4), 2**bits - 1, np.uint16), encoding)) == 255).all()
    assert (decode_image(raw(np.full((4, 4), 2**bits // 4, np.uint16), encoding)) == 63).all()


@pytest.mark.parametrize("encoding", ["8UC1", "mono8", "Y8", "grey8"])
def test_a_single_channel_is_a_grey_picture(encoding):
    assert (decode_image(raw(np.full((4, 6), 70, np.uint8), encoding)) == 70).all()


@pytest.mark.parametrize("encoding", ["16UC1", "mono16", "Z16", "z16", "Y16"])
def test_counts_of_depth_go_by_several_names(encoding):
    message = raw(np.full((2, 2), 1500, np.uint16), encoding)
    np.testing.assert_allclose(decode_depth(message), 1.5)
    np.testing.assert_allclose(decode_depth(message, unit_m=2e-4), 0.3)
