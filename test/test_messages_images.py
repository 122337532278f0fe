"""Image messages to arrays: every encoding against rosbags-image or its bytes, every malformation by name.

Every test runs with each reader of pixels: numpy's, cv_bridge's around a stand-in, and cv_bridge itself where it is
installed.
"""

import struct
import sys
from array import array
from functools import partial

import cv2
import cv_bridge_stand_in
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rosbags.image import message_to_cvimage
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from cgc_ros.frame import FrameError
from cgc_ros.messages.depth import decode_depth
from cgc_ros.messages.encodings import Encoding
from cgc_ros.messages.images import decode_image
from cgc_ros.messages.label_images import decode_masks
from cgc_ros.messages.pixels import NumpyReader
from cgc_ros.ros.conversions.images import encode_image
from cgc_ros.ros.conversions.pixel_readers import CvBridgeReader, machine_reader

RNG = np.random.default_rng(0)
DTYPES = {"8": np.uint8, "16": np.uint16}
READERS = {"numpy": NumpyReader(), "cv_bridge stand-in": CvBridgeReader(cv_bridge_stand_in.CvBridge())}
if isinstance(machine_reader(), CvBridgeReader):
    READERS["cv_bridge"] = machine_reader()


class Decoders:
    """The three decoders with one reader."""

    def __init__(self, reader):
        self.image = partial(decode_image, reader=reader)
        self.depth = partial(decode_depth, reader=reader)
        self.masks = partial(decode_masks, reader=reader)


@pytest.fixture(scope="module", params=READERS.values(), ids=READERS)
def decode(request):
    return Decoders(request.param)


def image_message(pixels, encoding, padding=0, big_endian=False):
    """An Image as a driver may send it: rows padded, bytes in either order."""
    rows = (
        np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder(">" if big_endian else "<")))
        .view(np.uint8)
        .reshape(len(pixels), -1)
    )
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=7)
    message = Image(
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=int(big_endian),
        step=padded.shape[1],
    )
    message.data = array("B", padded.tobytes())
    return message


def random_pixels(encoding, height=6, width=8):
    bits = "16" if encoding.endswith("16") else "8"
    channels = (
        4
        if encoding.startswith(("rgba", "bgra"))
        else 3
        if encoding.startswith(("rgb", "bgr"))
        else 2
        if "yu" in encoding
        else 1
    )
    shape = (height, width) if channels == 1 else (height, width, channels)
    return RNG.integers(0, np.iinfo(DTYPES[bits]).max + 1, shape).astype(DTYPES[bits])


@pytest.mark.parametrize(
    "encoding",
    [
        "rgb8",
        "bgr8",
        "rgba8",
        "bgra8",
        "mono8",
        "mono16",
        "rgb16",
        "bgr16",
        "rgba16",
        "bgra16",
        "bayer_rggb8",
        "bayer_bggr8",
        "bayer_gbrg8",
        "bayer_grbg8",
        "bayer_rggb16",
        "yuv422",
        "yuyv",
    ],
)
@pytest.mark.parametrize("big_endian", [False, True])
def test_colour_images_decode_as_rosbags_image_does(decode, encoding, big_endian):
    pixels = random_pixels(encoding)
    oracle = message_to_cvimage(image_message(pixels, encoding), "rgb8")
    decoded = decode.image(image_message(pixels, encoding, padding=5, big_endian=big_endian))
    assert decoded.dtype == np.uint8 and decoded.flags.c_contiguous
    # rosbags-image converts 16-bit mosaics before it scales, and scales in floating point: one level of rounding.
    assert np.abs(decoded.astype(int) - oracle).max() <= (1 if encoding.endswith("16") else 0)


def test_a_decoded_image_does_not_change_with_its_message(decode):
    message = image_message(random_pixels("rgb8"), "rgb8")
    decoded = decode.image(message)
    before = decoded.copy()
    message.data[0] ^= 255
    np.testing.assert_array_equal(decoded, before)


@pytest.mark.parametrize("big_endian", [False, True])
def test_depth_in_millimetres_becomes_metres(decode, big_endian):
    depth = decode.depth(
        image_message(np.array([[0, 1500], [65535, 1]], np.uint16), "16UC1", padding=2, big_endian=big_endian)
    )
    np.testing.assert_allclose(depth, [[0, 1.5], [65.535, 0.001]], rtol=1e-6)


@pytest.mark.parametrize("big_endian", [False, True])
def test_float_depth_keeps_metres_and_loses_what_is_no_distance(decode, big_endian):
    values = np.array([[1.25, np.nan, np.inf], [-np.inf, -1.0, 0.0]], np.float32)
    np.testing.assert_array_equal(
        decode.depth(image_message(values, "32FC1", big_endian=big_endian)), [[1.25, 0, 0], [0, 0, 0]]
    )


@pytest.mark.parametrize(
    ("encoding", "dtype"),
    [("32SC1", np.int32), ("16UC1", np.uint16), ("mono16", np.uint16), ("8UC1", np.uint8), ("mono8", np.uint8)],
)
def test_mask_ids_survive(decode, encoding, dtype):
    ids = np.array([[0, 1], [200, 7]], dtype)
    masks = decode.masks(image_message(ids, encoding, padding=3))
    assert masks.dtype == np.int32
    np.testing.assert_array_equal(masks, ids)


@pytest.mark.parametrize(
    ("encoding", "dtype", "channels"), [("mono16", np.uint16, 1), ("rgb8", np.uint8, 3), ("32FC1", np.float32, 1)]
)
def test_encoded_images_are_read_back_by_rosbags_image(encoding, dtype, channels):
    pixels = (RNG.random((5, 7, channels)) * 200).astype(dtype)
    pixels = pixels[..., 0] if channels == 1 else pixels
    message = encode_image(pixels, encoding, Header(frame_id="camera"))
    assert message.header.frame_id == "camera" and isinstance(message.data, array)
    np.testing.assert_array_equal(message_to_cvimage(message), pixels)


def compressed(pixels_bgr, extension, form):
    ok, data = cv2.imencode(extension, pixels_bgr)
    assert ok
    return CompressedImage(format=form, data=array("B", data.tobytes()))


def test_jpeg_and_png_give_rgb(decode):
    picture = np.zeros((32, 48, 3), np.uint8)
    picture[..., 0] = 200  # blue in OpenCV's order
    np.testing.assert_array_equal(
        decode.image(compressed(picture, ".png", "bgr8; png compressed bgr8"))[0, 0], [0, 0, 200]
    )
    assert (
        np.abs(decode.image(compressed(picture, ".jpg", "rgb8; jpeg compressed bgr8")).astype(int) - [0, 0, 200]).max()
        <= 3
    )


def test_a_compressed_bayer_mosaic_is_demosaiced(decode):
    mosaic = random_pixels("bayer_rggb8", 8, 8)
    expected = message_to_cvimage(image_message(mosaic, "bayer_rggb8"), "rgb8")
    np.testing.assert_array_equal(decode.image(compressed(mosaic, ".png", "bayer_rggb8; png compressed ")), expected)


def test_compressed_depth_of_both_kinds(decode):
    millimetres = np.array([[0, 1500], [3000, 40000]], np.uint16)
    png = cv2.imencode(".png", millimetres)[1].tobytes()
    plain = CompressedImage(format="16UC1; png compressed", data=array("B", png))
    np.testing.assert_allclose(decode.depth(plain), millimetres * 1e-3, rtol=1e-6)
    wrapped = CompressedImage(format="16UC1; compressedDepth png", data=array("B", struct.pack("<iff", 0, 0, 0) + png))
    np.testing.assert_allclose(decode.depth(wrapped), millimetres * 1e-3, rtol=1e-6)
    # compressed_depth_image_transport: quantised inverse depth, value = a / depth + b
    a, b, depth = 5000.0, -100.0, np.array([[0.5, 2.0], [10.0, 4.0]])
    quantised = np.round(a / depth + b).astype(np.uint16)
    data = struct.pack("<iff", 0, a, b) + cv2.imencode(".png", quantised)[1].tobytes()
    floats = CompressedImage(format="32FC1; compressedDepth png", data=array("B", data))
    np.testing.assert_allclose(decode.depth(floats), depth, rtol=2e-3)


def reason_of(function, message):
    with pytest.raises(FrameError) as caught:
        function(message)
    assert len(str(caught.value)) > 20
    return caught.value.reason


def test_malformed_images_are_named(decode):
    good = image_message(random_pixels("rgb8"), "rgb8")
    assert (
        reason_of(decode.image, Image(height=6, width=8, encoding="rgb9", step=24, data=good.data))
        == "unknown_encoding"
    )
    assert (
        reason_of(decode.image, Image(height=6, width=8, encoding="32FC1", step=32, data=good.data))
        == "unknown_encoding"
    )
    assert (
        reason_of(decode.image, Image(height=6, width=8, encoding="rgb8", step=24, data=good.data[:-1]))
        == "truncated_image"
    )
    assert reason_of(decode.image, Image(height=6, width=8, encoding="rgb8", step=23, data=good.data)) == "bad_image"
    assert reason_of(decode.image, Image(height=0, width=8, encoding="rgb8")) == "bad_image"
    assert (
        reason_of(decode.image, Image(height=2**31, width=2**31, encoding="rgb8", step=2**32 - 1, data=good.data))
        == "bad_image"
    )
    assert reason_of(decode.depth, good) == "unknown_encoding"
    assert reason_of(decode.masks, image_message(np.ones((2, 2), np.float32), "32FC1")) == "unknown_encoding"


@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_a_cut_compressed_image_is_truncated_not_grey(decode, extension):
    whole = compressed(RNG.integers(0, 255, (64, 64, 3)).astype(np.uint8), extension, "jpeg")
    whole.data = whole.data[: len(whole.data) * 3 // 4]
    assert reason_of(decode.image, whole) == "truncated_image"


def test_compressed_data_that_cannot_be_meant_is_named(decode):
    assert reason_of(decode.image, CompressedImage(format="jpeg", data=array("B", b"hello world"))) == "bad_image"
    assert reason_of(decode.image, CompressedImage(format="jpeg")) == "truncated_image"
    assert (
        reason_of(decode.depth, CompressedImage(format="16UC1; jpeg compressed", data=array("B", b"x" * 99)))
        == "unknown_encoding"
    )
    assert (
        reason_of(decode.depth, CompressedImage(format="16UC1; compressedDepth rvl", data=array("B", b"x" * 99)))
        == "bad_image"
    )
    # Pictures of depth, as drivers send them that compress everything.
    for extension in (".png", ".jpg"):
        picture = compressed(np.zeros((8, 8), np.uint8), extension, "16UC1; png compressed")
        assert reason_of(decode.depth, picture) == "unknown_encoding"


def test_a_damaged_header_does_not_fill_memory(decode):
    for extension, offset in ((".png", 18), (".jpg", 0)):
        whole = compressed(np.zeros((64, 64, 3), np.uint8), extension, "x")
        if extension == ".jpg":
            offset = bytes(whole.data).index(b"\xff\xc0") + 7
        whole.data[offset : offset + 2] = array("B", b"\x3f\xff")
        assert reason_of(decode.image, whole) == "bad_image"


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_png_of_any_kind_is_a_picture(decode, channels, dtype):
    pixels = RNG.integers(0, np.iinfo(dtype).max + 1, (6, 8, channels)).astype(dtype)
    expected = pixels[..., [0, 0, 0] if channels == 1 else [2, 1, 0]] // (257 if dtype == np.uint16 else 1)
    np.testing.assert_array_equal(decode.image(compressed(pixels, ".png", "png")), expected)


def test_a_mosaic_that_was_made_a_picture_before_it_was_compressed_stays_one(decode):
    picture = np.full((8, 8, 3), (200, 0, 0), np.uint8)
    decoded = decode.image(compressed(picture, ".png", "bayer_rggb8; jpeg compressed bgr8"))
    assert (decoded == [0, 0, 200]).all()


def test_an_orientation_tag_turns_nothing(decode):
    picture = np.zeros((16, 32, 3), np.uint8)
    data = cv2.imencode(".jpg", picture)[1].tobytes()
    # One little-endian EXIF directory with one entry: orientation (0x0112), a short, 6 = turned by a quarter.
    exif = b"Exif\0\0II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    tagged = data[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(exif)) + exif + data[2:]
    assert cv2.imdecode(np.frombuffer(tagged, np.uint8), cv2.IMREAD_COLOR).shape == (32, 16, 3)
    assert decode.image(CompressedImage(format="jpeg", data=array("B", tagged))).shape == (16, 32, 3)


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_a_message_as_this_machine_stores_images_is_not_copied(reader):
    message = image_message(random_pixels("rgb8"), "rgb8", big_endian=sys.byteorder == "big")
    assert np.shares_memory(reader.pixels(message, Encoding("u1", 3)), np.frombuffer(message.data, np.uint8))


class Installed:
    """A module `cv_bridge` whose bridge reads images with `convert`."""

    def __init__(self, convert):
        self.CvBridge = lambda: self
        self.imgmsg_to_cv2 = convert


@pytest.fixture
def installed(monkeypatch):
    """Puts a module in the place of cv_bridge and says which reader the machine then has; None: there is none."""

    def reader_with(module):
        monkeypatch.setitem(sys.modules, "cv_bridge", module)
        machine_reader.cache_clear()
        return machine_reader()

    yield reader_with
    machine_reader.cache_clear()


def test_cv_bridge_is_taken_where_it_is_installed(installed):
    assert isinstance(installed(cv_bridge_stand_in), CvBridgeReader)
    assert isinstance(installed(None), NumpyReader)


def fails(message, desired_encoding):
    raise AttributeError("_ARRAY_API not found")


@pytest.mark.parametrize("convert", [fails, lambda message, desired_encoding: np.zeros((2, 2), np.uint16)])
def test_a_cv_bridge_that_does_not_work_is_left_out_and_named(installed, convert, caplog):
    assert isinstance(installed(Installed(convert)), NumpyReader)
    assert "cv_bridge is installed and does not work" in caplog.text


def test_a_cv_bridge_that_reads_16_bits_as_8_is_left_out_and_named(installed, caplog):
    class Before(cv_bridge_stand_in.CvBridge):
        def compressed_imgmsg_to_cv2(self, cmprs_img_msg, desired_encoding="passthrough"):
            return cv2.imdecode(np.frombuffer(cmprs_img_msg.data, np.uint8), cv2.IMREAD_ANYCOLOR)

    module = Installed(None)
    module.CvBridge = Before
    assert isinstance(installed(module), NumpyReader)
    assert "cv_bridge of Jazzy or later is needed" in caplog.text


def test_what_cv_bridge_refuses_is_a_bad_image():
    def refuse(message, desired_encoding):
        raise cv_bridge_stand_in.CvBridgeError("not today")

    reader = CvBridgeReader(Installed(refuse))
    assert reason_of(Decoders(reader).image, image_message(random_pixels("rgb8"), "rgb8")) == "bad_image"


ENCODINGS = st.sampled_from(
    [
        "rgb8",
        "bgr8",
        "mono16",
        "16UC1",
        "32FC1",
        "32SC1",
        "64FC1",
        "bayer_rggb8",
        "yuyv",
        "nv12",
        "",
        "ÿ",
        "8UC3",
        "bayer_grbg16",
    ]
)
SIZES = st.one_of(st.integers(0, 20), st.sampled_from([2**16, 2**31, 2**32 - 1]))


@settings(max_examples=1500, deadline=None)
@given(
    height=SIZES, width=SIZES, step=SIZES, encoding=ENCODINGS, endian=st.integers(0, 255), data=st.binary(max_size=600)
)
def test_any_image_message_decodes_or_is_named(decode, height, width, step, encoding, endian, data):
    message = Image(
        height=height, width=width, step=step, encoding=encoding, is_bigendian=endian, data=array("B", data)
    )
    for decoder in (decode.image, decode.depth, decode.masks):
        rows = {height, height * 2 // 3} if encoding == "nv12" else {height}  # some count the rows of all planes
        try:
            decoded = decoder(message)
            assert decoded.shape[0] in rows and decoded.shape[1] == width
        except FrameError as error:
            assert error.reason in {"unknown_encoding", "truncated_image", "bad_image"}


JPEG = cv2.imencode(".jpg", np.full((8, 8, 3), 90, np.uint8))[1].tobytes()
PNG = cv2.imencode(".png", np.full((8, 8), 900, np.uint16))[1].tobytes()
FORMATS = st.sampled_from(
    [
        "jpeg",
        "png",
        "rgb8; jpeg compressed bgr8",
        "16UC1; compressedDepth png",
        "32FC1; compressedDepth",
        "bayer_rggb8; png",
        ";;;",
        "",
    ]
)


@settings(max_examples=800, deadline=None)
@given(
    form=FORMATS,
    base=st.sampled_from([JPEG, PNG, b"\0" * 12 + PNG]),
    place=st.integers(0, 500),
    noise=st.binary(max_size=8),
    cut=st.integers(0, 200),
)
def test_any_compressed_message_decodes_or_is_named(decode, form, base, place, noise, cut):
    place %= len(base)
    data = base[:place] + noise + base[place + len(noise) : len(base) - cut]
    message = CompressedImage(format=form, data=array("B", data))
    for decoder in (decode.image, decode.depth, decode.masks):
        try:
            assert decoder(message).ndim >= 2
        except FrameError as error:
            assert error.reason in {"unknown_encoding", "truncated_image", "bad_image"}
