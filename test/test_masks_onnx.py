"""ONNX segmenters by their signatures: tiny models made here, whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from cgc_ros.masks import MaskError, create_mask_source

onnx = pytest.importorskip("onnx", reason="onnx is not installed (requirements/test.txt)")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (requirements/test.txt)")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402


def save(path, nodes, inputs, outputs, constants=()):
    """A model of opset 17 that any onnxruntime of the last years runs."""
    initializers = [numpy_helper.from_array(value, name) for name, value in constants]
    graph = helper.make_graph(nodes, "segmenter", inputs, outputs, initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def picture(height=96, width=160) -> np.ndarray:
    """Black, a red box and a green one."""
    image = np.zeros((height, width, 3), np.uint8)
    image[20:60, 30:70] = (250, 0, 0)
    image[40:80, 100:150] = (0, 250, 0)
    return image


BOXES = [(slice(20, 60), slice(30, 70)), (slice(40, 80), slice(100, 150))]


def iou(mask: np.ndarray, box: tuple[slice, slice]) -> float:
    other = np.zeros_like(mask)
    other[box] = True
    return (mask & other).sum() / (mask | other).sum()


def assert_both_boxes(labels: np.ndarray, least: float = 0.97) -> None:
    levels = labels if labels.ndim == 3 else labels[None]
    for level in levels:
        assert level.max() == 2
        for box in BOXES:
            best = max(iou(level == each, box) for each in (1, 2))
            assert best >= least, best


SIZES = {"fixed": (64, 128), "free": ("height", "width")}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.UINT8])
def test_a_label_image(tmp_path, size, kind):
    """Red is 7, green 3: where a channel is bright and the other is not."""
    shape = (1, 3, *SIZES[size])
    nodes = [
        helper.make_node("Cast", ["image"], ["as_float"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["as_float", "unit"], ["pixels"]),
        helper.make_node("Greater", ["pixels", "half"], ["bright"]),
        helper.make_node("Cast", ["bright"], ["ones"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["ones", "ids"], ["each"]),
        helper.make_node("ReduceSum", ["each", "axis"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["labels"], to=TensorProto.INT64),
    ]
    constants = [
        ("unit", np.float32(255 if kind == TensorProto.UINT8 else 1)),
        ("half", np.float32(0.7)),
        ("ids", np.array([7, 3, 0], np.float32).reshape(1, 3, 1, 1)),
        ("axis", np.array([1], np.int64)),
    ]
    model = save(
        tmp_path / "labels.onnx",
        nodes,
        [helper.make_tensor_value_info("image", kind, shape)],
        [helper.make_tensor_value_info("labels", TensorProto.INT64, None)],
        constants,
    )
    labels = create_mask_source("onnx", model=model).segment(picture())
    assert labels.shape == (96, 160) and labels.dtype == np.int32
    assert_both_boxes(labels, 1.0 if size == "free" else 0.85)


def masks_model(path, scores=True):
    """Shares of the red and the green channel, of half the size, with scores 0.9 and 0.3."""
    nodes = [
        helper.make_node("AveragePool", ["image"], ["small"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Slice", ["small", "from", "to", "axis"], ["masks"]),
        helper.make_node("Identity", ["rated"], ["scores"]),
    ]
    outputs = [helper.make_tensor_value_info("masks", TensorProto.FLOAT, None)]
    outputs += [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [2])] if scores else []
    constants = [(name, np.array([value], np.int64)) for name, value in (("from", 0), ("to", 2), ("axis", 1))]
    constants.append(("rated", np.array([0.9, 0.3], np.float32)))
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 3, "h", "w"))]
    return save(path, nodes if scores else nodes[:2], inputs, outputs, constants)


def test_masks_with_and_without_scores(tmp_path):
    rated = masks_model(tmp_path / "rated.onnx")
    labels = create_mask_source("onnx", model=rated, score_thresh=0.2).segment(picture())
    assert labels.shape == (2, 96, 160)
    assert_both_boxes(labels)
    assert create_mask_source("onnx", model=rated, score_thresh=0.5).segment(picture()).max() == 1
    assert_both_boxes(create_mask_source("onnx", model=masks_model(tmp_path / "plain.onnx", False)).segment(picture()))


@pytest.mark.parametrize("shape", [(96, 160), (192, 320), (480, 360)])
def test_masks_of_yolos_export(tmp_path, shape):
    """FastSAM's signature, 128x128: three boxes, one of them a worse double, over two prototypes of red and green."""
    image = picture()
    if shape != image.shape[:2]:
        image = (
            np.repeat(np.repeat(image, 2, axis=0), 2, axis=1)
            if shape == (192, 320)
            else np.zeros((*shape, 3), np.uint8)
        )
    if shape == (480, 360):
        image[100:300, 60:260] = (250, 0, 0)
    scale = 128 / max(image.shape[:2])
    boxes = [(30, 20, 70, 60), (100, 40, 150, 80)] if shape != (480, 360) else [(60, 100, 260, 300)]
    factor = 2 if shape == (192, 320) else 1
    rows = []
    for number, box in enumerate(boxes):
        left, top, right, bottom = np.array(box) * factor * scale
        middle_and_size = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
        rows.append([*middle_and_size, 0.9, *(4 * np.eye(2)[number]), -1.0])
    rows.append([*(np.array(rows[0][:4]) + 0.5), 0.6, *rows[0][5:]])
    rows.append([64, 64, 128, 128, 0.1, 1, 1, 0])  # rated too low
    predictions = np.array(rows, np.float32).T[None]
    nodes = [
        helper.make_node("AveragePool", ["image"], ["small"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Mul", ["small", "two"], ["doubled"]),
        helper.make_node("Sub", ["doubled", "shift"], ["output1"]),
        helper.make_node("Identity", ["found"], ["output0"]),
    ]
    constants = [
        ("found", predictions),
        ("two", np.array([2, 2, 0], np.float32).reshape(1, 3, 1, 1)),
        ("shift", np.array([1, 1, 0], np.float32).reshape(1, 3, 1, 1)),
    ]
    model = save(
        tmp_path / "fast.onnx",
        nodes,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 3, 128, 128))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("output0", "output1")],
        constants,
    )
    labels = create_mask_source("onnx", model=model).segment(image)
    assert labels.shape == (2, *image.shape[:2]) and labels[0].max() == len(boxes)
    for box in boxes:
        left, top, right, bottom = (factor * value for value in box)
        mask = np.zeros(image.shape[:2], bool)
        mask[top:bottom, left:right] = True
        found = labels[0] == labels[0][(top + bottom) // 2, (left + right) // 2]
        assert (mask & found).sum() / (mask | found).sum() > 0.85


def test_what_is_no_model_or_has_another_signature_is_named(tmp_path):
    def reason_and_text(model) -> tuple[str, str]:
        with pytest.raises(MaskError) as caught:
            create_mask_source("onnx", model=model).segment(picture())
        return caught.value.reason, str(caught.value)

    assert reason_and_text("")[0] == "missing_checkpoint"
    assert "absent.onnx" in reason_and_text(tmp_path / "absent.onnx")[1]
    (tmp_path / "garbage.onnx").write_bytes(b"<html>not found</html>")
    assert reason_and_text(tmp_path / "garbage.onnx")[0] == "bad_checkpoint"
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 1, 8, 8))]
    outputs = [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)]
    grey = save(tmp_path / "grey.onnx", [helper.make_node("Identity", ["image"], ["out"])], inputs, outputs)
    assert (
        reason_and_text(grey) == ("bad_model", reason_and_text(grey)[1]) and "[1, 1, 8, 8]" in reason_and_text(grey)[1]
    )
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 3, 8, 8))]
    nodes = [helper.make_node("ReduceMean", ["image"], ["out"], axes=[1, 2, 3], keepdims=0)]
    single = save(tmp_path / "single.onnx", nodes, inputs, outputs)
    assert reason_and_text(single)[0] == "bad_model" and "(1,)" in reason_and_text(single)[1]


def test_a_missing_runtime_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(MaskError, match="pip install onnxruntime"):
        create_mask_source("onnx", model=masks_model(tmp_path / "model.onnx"))
