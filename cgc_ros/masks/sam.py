"""segment-anything's automatic mask generator as a mask source (Kirillov et al., "Segment Anything", ICCV 2023).

Needs the packages segment-anything and torchvision and a checkpoint on disk; nothing is ever downloaded, and
checkpoints are read as plain tensors, which cannot run code. Made for a GPU: a ViT-B encoder takes seconds to tens of
seconds an image on a CPU.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cgc_ros.declared import Settings, choice, flag, number, text
from cgc_ros.masks.base import MaskError, MaskSource, check_input
from cgc_ros.masks.label_images import flatten_masks

log = logging.getLogger(__name__)

CHECKPOINTS_PAGE = "https://github.com/facebookresearch/segment-anything#model-checkpoints"
_MODEL_TYPES = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}  # by the width of the image encoder
_FEWEST_POINTS = 4  # per batch, when memory runs out


@dataclass(frozen=True)
class SamOptions(Settings):
    """Options of the `sam` source; the generator's thresholds keep segment-anything's own defaults."""

    checkpoint: str | Path = text("", "a .pth file of segment-anything, or the same weights as .safetensors")
    model_type: str = choice(
        "auto", "architecture of the weights; auto: read off them", ("auto", "vit_b", "vit_l", "vit_h")
    )
    device: str = text("auto", "a torch device; auto: cuda where there is one")
    half_precision: bool = flag(True, "float16 on a GPU; a CPU always computes in float32")
    points_per_side: int = number(32, "point prompts along each side of a grid", 1, 256)
    points_per_batch: int = number(64, "prompts decoded at once: less needs less memory", 1, 65_536)
    pred_iou_thresh: float = number(
        0.88, "masks whose IoU the model itself guesses lower are left out; it may exceed 1", 0, 10
    )
    stability_score_thresh: float = number(0.95, "masks that change more with the cut-off are left out", 0, 1)
    box_nms_thresh: float = number(0.7, "of two masks whose boxes overlap more (IoU), the worse leaves", 0, 1)
    duplicate_iou: float = number(0.85, "of two masks that overlap more (IoU), the worse leaves", 0, 1)
    min_area: int = number(100, "smaller masks are left out", 0, 100_000_000, "px")


class SamMaskSource(MaskSource):
    """segment-anything. `model`: a model to use instead of the options' checkpoint."""

    name = "sam"

    def __init__(self, options: SamOptions = SamOptions(), model: torch.nn.Module | None = None):
        generator_class = _import_generator()
        self.options = options
        self.device = _device(options.device)
        if model is None:
            model = _load_model(options)
        self.generator = generator_class(
            model.to(self.device).eval(),
            points_per_side=options.points_per_side,
            points_per_batch=options.points_per_batch,
            pred_iou_thresh=options.pred_iou_thresh,
            stability_score_thresh=options.stability_score_thresh,
            box_nms_thresh=options.box_nms_thresh,
        )

    def segment(self, image: np.ndarray, *, depth: np.ndarray | None = None) -> np.ndarray:
        """image [H, W, 3] uint8 RGB -> [2, H, W] int32 ids 1..n, 0 = no mask: wholes and parts. Depth is not used."""
        check_input(image, depth)
        found = self._generate(np.ascontiguousarray(image))
        masks = np.array([record["segmentation"] for record in found], dtype=bool).reshape(-1, *image.shape[:2])
        scores = np.array([record["predicted_iou"] * record["stability_score"] for record in found])
        return flatten_masks(masks, scores, min_area=self.options.min_area, duplicate_iou=self.options.duplicate_iou)

    def _generate(self, image: np.ndarray) -> list[dict]:
        """The generator's records; fewer prompts at once where memory runs out."""
        while True:
            try:
                with torch.inference_mode(), self._precision():
                    return self.generator.generate(image)
            except torch.cuda.OutOfMemoryError as error:
                torch.cuda.empty_cache()
                batch = self.generator.points_per_batch // 2
                if batch < _FEWEST_POINTS:
                    raise MaskError(
                        "out_of_memory",
                        f"segment-anything ran out of GPU memory with {_FEWEST_POINTS} prompts at once: use vit_b, "
                        "smaller images, or mask_source graph",
                    ) from error
                log.warning("segment-anything ran out of GPU memory: goes on with %d prompts at once", batch)
                self.generator.points_per_batch = batch
            except RuntimeError as error:
                raise MaskError(
                    "failed", f"segment-anything failed on a {image.shape[1]}x{image.shape[0]} image: {error}"
                ) from error

    def _precision(self):
        use_half = self.options.half_precision and self.device.type == "cuda"
        return torch.autocast("cuda", torch.float16) if use_half else contextlib.nullcontext()


def _import_generator():
    """SamAutomaticMaskGenerator, or a MaskError that says which part is missing and how to get it."""
    try:
        import torchvision
    except ImportError as error:
        raise MaskError(
            "missing_package",
            f"mask source sam needs torchvision ({error}): pip install torchvision (in torch's version)",
        ) from error
    except RuntimeError as error:  # "operator torchvision::nms does not exist"
        raise MaskError("missing_operators", _operators_message(error)) from error
    if not torchvision.extension._has_ops():
        raise MaskError("missing_operators", _operators_message("its C++ operators did not load"))
    try:
        from segment_anything import SamAutomaticMaskGenerator
    except ImportError as error:
        raise MaskError(
            "missing_package", f"mask source sam needs segment-anything ({error}): pip install segment-anything"
        ) from error
    return SamAutomaticMaskGenerator


def _operators_message(cause) -> str:
    return (
        f"torchvision's compiled operators do not work here ({cause}): install the torchvision build made for torch "
        f"{torch.__version__} (https://pytorch.org/get-started), or use mask_source graph"
    )


def _device(wanted: str) -> torch.device:
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise MaskError("bad_options", f"device {wanted!r} is not known: use auto, cuda, cuda:1 or cpu") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise MaskError(
            "bad_options",
            f"device {wanted!r} was asked for, and torch {torch.__version__} sees no CUDA device: use auto or cpu",
        )
    return device


def _load_model(options: SamOptions) -> torch.nn.Module:
    from segment_anything import sam_model_registry

    path = Path(options.checkpoint).expanduser()
    if not str(options.checkpoint) or not path.is_file():
        raise MaskError(
            "missing_checkpoint",
            f"sam checkpoint {str(options.checkpoint)!r} is no file: download one from {CHECKPOINTS_PAGE}",
        )
    weights = _read_weights(path)
    width = weights["image_encoder.pos_embed"].shape[-1] if "image_encoder.pos_embed" in weights else None
    model_type = options.model_type if options.model_type != "auto" else _MODEL_TYPES.get(width or 0, "unknown")
    if width is None or model_type not in sam_model_registry:
        raise MaskError(
            "bad_checkpoint",
            f"{path} with model_type {options.model_type!r} is no segment-anything model (vit_b, vit_l and vit_h "
            f"are known): download one from {CHECKPOINTS_PAGE}",
        )
    model = sam_model_registry[model_type](checkpoint=None)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise MaskError(
            "bad_checkpoint",
            f"{path} does not fit model_type {model_type}: by its size it is "
            f"{_MODEL_TYPES.get(width, 'another model')}; use model_type auto",
        ) from error
    return model


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            weights = load_file(path)
        else:
            weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and safetensors each raise their own; all mean the same to the user
        raise MaskError(
            "bad_checkpoint",
            f"{path} cannot be read as weights ({type(error).__name__}): the download is damaged, or it is another "
            f"kind of file; download it again from {CHECKPOINTS_PAGE}",
        ) from error
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise MaskError(
            "bad_checkpoint",
            f"{path} does not hold the weights of one model: download it again from {CHECKPOINTS_PAGE}",
        )
    return weights
