"""The segment-anything source: the real generator on a tiny, randomly initialised model, and each missing part by
name.
"""

from __future__ import annotations

import sys
from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torchvision_stand_in import working_torchvision

pytestmark = [
    pytest.mark.skipif(
        find_spec(package) is None, reason=f"{package} is not installed (optional): pip install --no-deps {package}"
    )
    for package in ("segment_anything", "torchvision")
]


@pytest.fixture(scope="module")
def torchvision_ops():
    with working_torchvision():
        yield


def tiny_sam(checkpoint=None):
    """segment-anything's own modules, small; `checkpoint` as in its registry."""
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    assert checkpoint is None
    torch.manual_seed(0)
    encoder = ImageEncoderViT(
        img_size=128,
        patch_size=16,
        embed_dim=32,
        depth=1,
        num_heads=2,
        mlp_ratio=2,
        out_chans=32,
        qkv_bias=True,
        use_rel_pos=True,
        window_size=4,
        global_attn_indexes=(0,),
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
    )
    prompts = PromptEncoder(embed_dim=32, image_embedding_size=(8, 8), input_image_size=(128, 128), mask_in_chans=16)
    transformer = TwoWayTransformer(depth=2, embedding_dim=32, mlp_dim=64, num_heads=2)
    decoder = MaskDecoder(
        num_multimask_outputs=3, transformer=transformer, transformer_dim=32, iou_head_depth=2, iou_head_hidden_dim=32
    )
    return Sam(encoder, prompts, decoder)


@pytest.fixture
def options(torchvision_ops):
    from cgc_ros.masks.sam import SamOptions

    return partial(
        SamOptions, device="cpu", points_per_side=3, min_area=20, pred_iou_thresh=0.0, stability_score_thresh=0.0
    )


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)


def test_the_generator_runs_and_gives_wholes_and_parts(options, image):
    from cgc_ros.masks.sam import SamMaskSource

    source = SamMaskSource(options(), model=tiny_sam())
    labels = source.segment(image, depth=np.ones((48, 64), np.float32))
    assert (labels.shape, labels.dtype, source.name) == ((2, 48, 64), np.int32, "sam")
    for level in labels:
        ids, areas = np.unique(level[level > 0], return_counts=True)
        assert len(ids) >= 1 and list(ids) == list(range(1, len(ids) + 1)) and areas.min() >= 20
    np.testing.assert_array_equal(labels[0] > 0, labels[1] > 0)
    assert labels[0].max() <= labels[1].max()
    np.testing.assert_array_equal(labels, source.segment(image))


def test_no_mask_at_all_is_an_empty_label_image(options, image):
    from cgc_ros.masks.sam import SamMaskSource

    source = SamMaskSource(options(pred_iou_thresh=10.0), model=tiny_sam())
    assert not source.segment(image).any()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_checkpoint_is_loaded_and_its_model_type_read_off_it(options, image, tmp_path, monkeypatch, suffix):
    import segment_anything
    from safetensors.torch import save_file

    from cgc_ros.masks import create_mask_source, sam, sam_families

    model = tiny_sam()
    weights = model.state_dict()
    path = tmp_path / f"tiny{suffix}"
    save_file(weights, path) if suffix == ".safetensors" else torch.save(weights, path)
    monkeypatch.setitem(segment_anything.sam_model_registry, "tiny", tiny_sam)
    monkeypatch.setitem(sam_families.SEGMENT_ANYTHING_TYPES, 32, "tiny")
    expected = sam.SamMaskSource(options(), model=model).segment(image)
    source = create_mask_source(
        "sam",
        checkpoint=path,
        device="cpu",
        points_per_side=3,
        min_area=20,
        pred_iou_thresh=0.0,
        stability_score_thresh=0.0,
    )
    np.testing.assert_array_equal(source.segment(image), expected)


@pytest.mark.filterwarnings("ignore")
def test_it_works_in_a_process_of_its_own_as_in_this_one(options, image, tmp_path, monkeypatch):
    """The other process gets the same torchvision and the tiny model from a sitecustomize module."""
    from cgc_ros.masks.process import MaskProcess
    from cgc_ros.masks.sam import SamMaskSource

    (tmp_path / "sitecustomize.py").write_text(
        "from test_masks_sam import tiny_sam, working_torchvision\n"
        "working = working_torchvision()\n"
        "working.__enter__()\n"
        "import segment_anything\n"
        "from cgc_ros.masks import sam_families\n"
        "segment_anything.sam_model_registry['tiny'] = tiny_sam\n"
        "sam_families.SEGMENT_ANYTHING_TYPES[32] = 'tiny'\n"
    )
    model = tiny_sam()
    torch.save(model.state_dict(), tmp_path / "tiny.pth")
    monkeypatch.syspath_prepend(tmp_path)
    chosen = options(checkpoint=tmp_path / "tiny.pth")
    source = MaskProcess("sam", **vars(chosen)).wait_until_ready()
    try:
        assert (source.name, source.uses_depth, source.uses_known) == ("sam", False, True)
        here, known = SamMaskSource(chosen, model=model), np.zeros((48, 64), np.int32)
        known[:30, :40] = 1
        np.testing.assert_array_equal(source.segment(image), here.segment(image))
        np.testing.assert_array_equal(source.segment_news(image, known), here.segment_news(image, known))
    finally:
        source.close()


def reason_and_text(call) -> tuple[str, str]:
    from cgc_ros.masks import MaskError

    with pytest.raises(MaskError) as caught:
        call()
    return caught.value.reason, str(caught.value)


def test_checkpoints_that_are_none_are_named(options, tmp_path):
    from cgc_ros.masks.sam import SamMaskSource

    reason, text = reason_and_text(lambda: SamMaskSource(options(checkpoint=tmp_path / "absent.pth")))
    assert reason == "missing_checkpoint" and "absent.pth" in text and "github.com/facebookresearch" in text
    garbage = tmp_path / "garbage.pth"
    garbage.write_bytes(b"<html>not found</html>")
    assert reason_and_text(lambda: SamMaskSource(options(checkpoint=garbage)))[0] == "bad_checkpoint"
    other = tmp_path / "other.pth"
    torch.save({"conv.weight": torch.zeros(3)}, other)
    assert (
        "no model of the segment-anything family"
        in reason_and_text(lambda: SamMaskSource(options(checkpoint=other)))[1]
    )


class Malicious:
    """Unpickling it would create the file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_checkpoint_cannot_run_code(options, tmp_path):
    from cgc_ros.masks.sam import SamMaskSource

    evil = tmp_path / "evil.pth"
    torch.save({"image_encoder.pos_embed": Malicious(tmp_path / "owned")}, evil)
    assert reason_and_text(lambda: SamMaskSource(options(checkpoint=evil)))[0] == "bad_checkpoint"
    assert not (tmp_path / "owned").exists()


def test_a_checkpoint_of_another_model_type_says_which_it_is(options, tmp_path, monkeypatch):
    import segment_anything

    from cgc_ros.masks.sam import SamMaskSource

    weights = {"image_encoder.pos_embed": torch.zeros(1, 64, 64, 1280)}
    path = tmp_path / "large.pth"
    torch.save(weights, path)
    monkeypatch.setitem(segment_anything.sam_model_registry, "vit_b", tiny_sam)
    reason, text = reason_and_text(lambda: SamMaskSource(options(checkpoint=path, model_type="vit_b")))
    assert reason == "bad_checkpoint" and "vit_h" in text


def test_missing_packages_and_operators_are_named_with_the_remedy(options, monkeypatch):
    import torchvision

    from cgc_ros.masks.sam import SamMaskSource

    with monkeypatch.context() as patch:
        patch.setattr(torchvision.extension, "_has_ops", lambda: False)
        reason, text = reason_and_text(lambda: SamMaskSource(options()))
        assert reason == "missing_operators" and torch.__version__ in text and "graph" in text
    for package in ("segment_anything", "torchvision"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            reason, text = reason_and_text(lambda: SamMaskSource(options()))
            assert reason == "missing_package" and f"pip install {package.replace('_', '-')}" in text


def test_memory_running_out_is_met_with_fewer_prompts_then_named(options, image, monkeypatch):
    from cgc_ros.masks.sam import SamMaskSource

    source = SamMaskSource(options(points_per_batch=16), model=tiny_sam())
    expected = source.segment(image)
    generate, batches = source.generator.generate, []

    def short_of_memory(picture):
        batches.append(source.generator.points_per_batch)
        if source.generator.points_per_batch > 4:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return generate(picture)

    monkeypatch.setattr(source.generator, "generate", short_of_memory)
    np.testing.assert_array_equal(source.segment(image), expected)
    assert batches == [16, 8, 4]

    def always(picture):
        raise torch.cuda.OutOfMemoryError("out of memory")

    monkeypatch.setattr(source.generator, "generate", always)
    assert reason_and_text(lambda: source.segment(image))[0] == "out_of_memory"


def test_a_device_that_is_not_there_is_named(options):
    from cgc_ros.masks.sam import SamMaskSource

    assert "abacus" in reason_and_text(lambda: SamMaskSource(options(device="abacus")))[1]
    if not torch.cuda.is_available():
        assert "no CUDA device" in reason_and_text(lambda: SamMaskSource(options(device="cuda")))[1]
