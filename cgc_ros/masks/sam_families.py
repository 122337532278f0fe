"""The members of the segment-anything family: how each is built from its weights, and how it is prompted.

All have an automatic mask generator, which asks for a grid of points, and a predictor, which holds an image's embedding
and takes boxes. The generator's own predictor is made to keep the embedding, so that both take one encoding.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cgc_ros.masks.base import MaskError

Weights = dict[str, Tensor]

#: segment-anything's, by the width of their image encoder.
SEGMENT_ANYTHING_TYPES = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}

#: SAM 2's, by the width and the number of blocks of their image encoder.
SAM2_SIZES = {(96, 12): "t", (96, 16): "s", (112, 24): "b+", (144, 48): "l"}


@dataclass(frozen=True)
class SamFamily:
    """One package's models."""

    name: str
    package: str  # as it is imported
    install: str  # what to give to pip, or where it is
    weights_page: str
    generator: str  # names in the package
    predictor: str
    model_type: Callable[[Weights], str]  # "" where the weights are not of this family
    build: Callable[[ModuleType, str], torch.nn.Module]  # of a type, with random weights
    predict_boxes: Callable[[Any, np.ndarray], tuple[Tensor, Tensor]]  # masks [B, H, W] bool, scores [B]

    def load(self) -> ModuleType:
        """The package, or a MaskError that says how to get it."""
        try:
            return importlib.import_module(self.package)
        except ImportError as error:
            raise MaskError(
                "missing_package", f"these weights need {self.name} ({error}): pip install {self.install}"
            ) from error

    def make_generator(self, model: torch.nn.Module, **options) -> Any:
        """Its automatic mask generator, whose predictor keeps the last image's embedding."""
        generator = _named(self.package, self.generator)(model, **options)
        generator.predictor = _keeping(_named(self.package, self.predictor))(model)
        return generator


def family_of(weights: Weights) -> SamFamily | None:
    """Of which family weights are, by their names; None of none."""
    return next((family for family in FAMILIES if family.model_type(weights)), None)


def _named(package: str, name: str) -> Any:
    module, _, attribute = f"{package}.{name}".rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def _keeping(predictor: type) -> type:
    """A predictor that does not encode the image again that it has encoded last."""

    class Keeping(predictor):
        image: np.ndarray | None = None

        def set_image(self, image: np.ndarray, *arguments) -> None:
            if self.image is None or image.shape != self.image.shape or not np.shares_memory(image, self.image):
                self.image = None
                super().set_image(image, *arguments)
                self.image = image

        def reset_image(self) -> None:
            """The last word of the generator, which would drop the embedding: `forget` is ours."""

        reset_predictor = reset_image  # as SAM 2 calls it

        def forget(self) -> None:
            self.image = None
            (super().reset_predictor if hasattr(predictor, "reset_predictor") else super().reset_image)()

    return Keeping


def _segment_anything_type(weights: Weights) -> str:
    embedding = weights.get("image_encoder.pos_embed")
    return "" if embedding is None else SEGMENT_ANYTHING_TYPES.get(embedding.shape[-1], "")


def _boxes_of_sam(predictor: Any, boxes: np.ndarray) -> tuple[Tensor, Tensor]:
    boxes_px = torch.as_tensor(boxes, device=predictor.device)
    scaled = predictor.transform.apply_boxes_torch(boxes_px, predictor.original_size)
    masks, scores, _ = predictor.predict_torch(None, None, boxes=scaled.float(), multimask_output=False)
    return masks[:, 0], scores[:, 0]


def _mobile_type(weights: Weights) -> str:
    return "vit_t" if "image_encoder.patch_embed.seq.0.c.weight" in weights else ""


def _from_registry(package: ModuleType, model_type: str) -> torch.nn.Module:
    return package.sam_model_registry[model_type](checkpoint=None)


def _sam2_type(weights: Weights) -> str:
    """As its configuration files are named: "sam2.1_hiera_t"."""
    patches = weights.get("image_encoder.trunk.patch_embed.proj.weight")
    if patches is None:
        return ""
    blocks = {int(found[1]) for name in weights if (found := re.match(r"image_encoder\.trunk\.blocks\.(\d+)\.", name))}
    size = SAM2_SIZES.get((patches.shape[0], len(blocks)), "")
    release = "sam2.1" if "no_obj_embed_spatial" in weights else "sam2"
    return f"{release}_hiera_{size}" if size else ""


def _build_sam2(package: ModuleType, model_type: str) -> torch.nn.Module:
    build = importlib.import_module("sam2.build_sam").build_sam2
    return build(f"configs/{model_type.partition('_')[0]}/{model_type}.yaml", None, device="cpu")


def _boxes_of_sam2(predictor: Any, boxes: np.ndarray) -> tuple[Tensor, Tensor]:
    masks, scores, _ = predictor.predict(box=boxes, multimask_output=False)
    height, width = masks.shape[-2:]
    return torch.from_numpy(masks).view(-1, height, width) > 0, torch.from_numpy(scores).view(-1)


FAMILIES = (
    SamFamily(
        "segment-anything",
        "segment_anything",
        "segment-anything",
        "https://github.com/facebookresearch/segment-anything#model-checkpoints",
        "SamAutomaticMaskGenerator",
        "SamPredictor",
        _segment_anything_type,
        _from_registry,
        _boxes_of_sam,
    ),
    SamFamily(
        "MobileSAM",
        "mobile_sam",
        "git+https://github.com/ChaoningZhang/MobileSAM.git",
        "https://github.com/ChaoningZhang/MobileSAM",
        "SamAutomaticMaskGenerator",
        "SamPredictor",
        _mobile_type,
        _from_registry,
        _boxes_of_sam,
    ),
    SamFamily(
        "SAM 2",
        "sam2",
        "sam2",
        "https://github.com/facebookresearch/sam2#model-description",
        "automatic_mask_generator.SAM2AutomaticMaskGenerator",
        "sam2_image_predictor.SAM2ImagePredictor",
        _sam2_type,
        _build_sam2,
        _boxes_of_sam2,
    ),
)
