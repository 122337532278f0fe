"""MobileSAM and SAM 2 as sources: their own packages' models, small ones with random weights."""

from __future__ import annotations

import sys
from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torchvision_stand_in import working_torchvision

from cgc_ros.masks import MaskError


@pytest.fixture(scope="module", autouse=True)
def torchvision_ops():
    if find_spec("torchvision") is None:
        pytest.skip("requirements/sam.txt is not installed")
    with working_torchvision():
        yield


def tiny_mobile_sam():
    from mobile_sam.modeling import MaskDecoder, PromptEncoder, Sam, TinyViT, TwoWayTransformer

    torch.manual_seed(0)
    encoder = TinyViT(
        img_size=1024,
        embed_dims=[8, 8, 16, 320],  # the package's own condition for what it does not shrink
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 1, 1],
        window_sizes=[4, 4, 4, 4],
        num_classes=2,
    )
    prompts = PromptEncoder(
        embed_dim=256, image_embedding_size=(64, 64), input_image_size=(1024, 1024), mask_in_chans=16
    )
    transformer = TwoWayTransformer(depth=1, embedding_dim=256, mlp_dim=32, num_heads=2)
    return Sam(encoder, prompts, MaskDecoder(transformer_dim=256, transformer=transformer))


def tiny_sam2():
    from sam2.modeling.backbones.hieradet import Hiera
    from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
    from sam2.modeling.memory_attention import MemoryAttention, MemoryAttentionLayer
    from sam2.modeling.memory_encoder import CXBlock, Fuser, MaskDownSampler, MemoryEncoder
    from sam2.modeling.position_encoding import PositionEmbeddingSine
    from sam2.modeling.sam.transformer import RoPEAttention
    from sam2.modeling.sam2_base import SAM2Base

    torch.manual_seed(0)
    width = 256  # the decoder's, which is not chosen
    encoder = ImageEncoder(
        Hiera(
            embed_dim=8,
            num_heads=1,
            stages=(1, 1, 1, 1),
            global_att_blocks=(),
            window_pos_embed_bkg_spatial_size=(7, 7),
        ),
        FpnNeck(
            PositionEmbeddingSine(width), width, [64, 32, 16, 8], fpn_top_down_levels=[2, 3], fpn_interp_model="nearest"
        ),
        scalp=1,
    )
    attention = partial(RoPEAttention, embedding_dim=width, num_heads=1, downsample_rate=1, feat_sizes=(64, 64))
    layer = MemoryAttentionLayer(
        "relu", attention(kv_in_dim=64, rope_k_repeat=True), width, 32, 0.0, False, True, False, attention()
    )
    memory = MemoryEncoder(
        64, MaskDownSampler(kernel_size=3, stride=2, padding=1), Fuser(CXBlock(width), 1), PositionEmbeddingSine(64)
    )
    return SAM2Base(
        encoder,
        MemoryAttention(width, True, layer, 1),
        memory,
        image_size=1024,
        directly_add_no_mem_embed=True,
        use_high_res_features_in_sam=True,
        multimask_output_in_sam=True,
        iou_prediction_use_sigmoid=True,
        no_obj_embed_spatial=True,
    )


def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("package", "make", "name"), [("mobile_sam", tiny_mobile_sam, "MobileSAM"), ("sam2", tiny_sam2, "SAM 2")]
)
def test_its_weights_are_known_for_what_they_are_and_its_model_segments(package, make, name, tmp_path, monkeypatch):
    pytest.importorskip(package, reason=f"{package} is not installed (optional)")
    from cgc_ros.masks import create_mask_source, sam_families

    model = make()
    checkpoint = tmp_path / "tiny.pt"
    weights = model.state_dict()
    torch.save({"model": weights} if package == "sam2" else weights, checkpoint)
    if package == "sam2":  # the blocks of a released size, for the weights' names alone
        assert sam_families.family_of(weights) is None
        monkeypatch.setitem(sam_families.SAM2_SIZES, (8, 4), "t")
        monkeypatch.setattr("sam2.build_sam.build_sam2", lambda config, *_, **__: make())
    else:
        import mobile_sam

        monkeypatch.setitem(mobile_sam.sam_model_registry, "vit_t", lambda checkpoint: make())
    settings = {"points_per_side": 3, "min_area": 20, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}
    source = create_mask_source("sam", checkpoint=checkpoint, device="cpu", **settings)
    assert source.family.name == name
    prompts, encodings = [], []
    decoder = model_part(source, "mask_decoder")
    decoder.register_forward_hook(lambda module, arguments, output: prompts.append(len(output[0])))
    model_part(source, "image_encoder").register_forward_hook(lambda *_: encodings.append(1))
    labels = source.segment(image())
    assert labels.shape == (2, 48, 64) and labels.max() >= 1 and (sum(prompts), len(encodings)) == (9, 1)
    known = np.ones((48, 64), np.int32)
    known[:, 40:] = 0
    prompts.clear(), encodings.clear()
    assert source.segment_news(image(), known).shape == (2, 48, 64)
    assert (sum(prompts), len(encodings)) == (3 + 1, 1)


def model_part(source, name: str) -> torch.nn.Module:
    model = source.generator.predictor.model
    return getattr(model, name if hasattr(model, name) else f"sam_{name}")


@pytest.mark.parametrize("size", ["t", "s", "b+", "l"])
@pytest.mark.parametrize("release", ["sam2", "sam2.1"])
def test_every_release_of_sam2_is_told_by_its_weights(release, size):
    """By the package's own configuration files, whose models are too large to be built here."""
    pytest.importorskip("sam2", reason="sam2 is not installed (optional)")
    from hydra import compose

    from cgc_ros.masks.sam_families import family_of

    model = compose(config_name=f"configs/{release}/{release}_hiera_{size}.yaml").model
    trunk = model.image_encoder.trunk
    blocks = range(sum(trunk.get("stages", (2, 3, 16, 3))))  # Hiera's own default, by which base plus is
    weights = {f"image_encoder.trunk.blocks.{block}.norm1.weight": torch.zeros(1) for block in blocks}
    weights["image_encoder.trunk.patch_embed.proj.weight"] = torch.zeros(trunk.embed_dim, 3, 7, 7)
    if model.get("no_obj_embed_spatial"):
        weights["no_obj_embed_spatial"] = torch.zeros(1, 64)
    family = family_of(weights)
    assert family.name == "SAM 2" and family.model_type(weights) == f"{release}_hiera_{size}"


def test_a_missing_package_is_named_by_the_weights_that_need_it(tmp_path, monkeypatch):
    from cgc_ros.masks import create_mask_source

    monkeypatch.setitem(sys.modules, "mobile_sam", None)
    checkpoint = tmp_path / "mobile_sam.pt"
    torch.save({"image_encoder.patch_embed.seq.0.c.weight": torch.zeros(2, 3, 3, 3)}, checkpoint)
    with pytest.raises(MaskError, match="need MobileSAM .*pip install git") as caught:
        create_mask_source("sam", checkpoint=checkpoint, device="cpu")
    assert caught.value.reason == "missing_package"
