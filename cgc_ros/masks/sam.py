"""The segment-anything family as a mask source (Kirillov et al., "Segment Anything", ICCV 2023; Ravi et al., "SAM 2",
2024; Zhang et al., "Faster Segment Anything", 2023).

Needs torchvision, the family's package and a checkpoint on disk; nothing is ever downloaded, and checkpoints are read
as plain tensors, which cannot run code. Made for a GPU: a ViT-B encoder takes seconds to tens of seconds an image on a
CPU.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cgc_ros.declared import Settings, choice, flag, number, text
from cgc_ros.masks.base import MaskError, MaskSource, check_input
from cgc_ros.masks.label_images import flatten_masks
from cgc_ros.masks.prompts import Prompts, grid, prompts_for
from cgc_ros.masks.sam_families import FAMILIES, SamFamily, Weights, family_of

log = logging.getLogger(__name__)

MODEL_TYPES = ("auto", "vit_b", "vit_l", "vit_h", "vit_t")
_FEWEST_POINTS = 4  # per batch, when memory runs out
_BOXES_PER_BATCH = 16
_PAGES = ", ".join(f"{family.name}: {family.weights_page}" for family in FAMILIES)


@dataclass(frozen=True)
class SamOptions(Settings):
    """Options of the `sam` source; the generator's thresholds keep segment-anything's own defaults."""

    checkpoint: str | Path = text(
        "", "weights of segment-anything, MobileSAM, SAM 2 or SAM 2.1: a .pth or .pt file, or the same as .safetensors"
    )
    model_type: str = choice("auto", "refuse weights of another architecture; auto: read it off them", MODEL_TYPES)
    device: str = text("auto", "a torch device; auto: cuda where there is one")
    half_precision: bool = flag(True, "float16 on a GPU; a CPU always computes in float32")
    points_per_side: int = number(32, "point prompts along each side of a grid", 1, 256)
    prompts: str = choice(
        "news",
        "grid: all of it in every image; news: its points where the map explains nothing yet, and a box round "
        "each object that it knows",
        ("news", "grid"),
    )
    full_grid_every: int = number(10, "every so many images take the whole grid with prompts news, too", 1, 1000)
    points_per_batch: int = number(64, "prompts decoded at once: less needs less memory", 1, 65_536)
    pred_iou_thresh: float = number(
        0.88, "masks whose IoU the model itself guesses lower are left out; it may exceed 1", 0, 10
    )
    stability_score_thresh: float = number(0.95, "masks that change more with the cut-off are left out", 0, 1)
    box_nms_thresh: float = number(0.7, "of two masks whose boxes overlap more (IoU), the worse leaves", 0, 1)
    duplicate_iou: float = number(0.85, "of two masks that overlap more (IoU), the worse leaves", 0, 1)
    min_area: int = number(100, "smaller masks are left out", 0, 100_000_000, "px")


class SamMaskSource(MaskSource):
    """A model of the family. `model`: one of segment-anything to use instead of the options' checkpoint, or with
    `family` one of that.
    """

    name = "sam"

    def __init__(
        self,
        options: SamOptions = SamOptions(),
        model: torch.nn.Module | None = None,
        family: SamFamily = FAMILIES[0],
    ):
        _check_torchvision()
        self.options = options
        self.device = _device(options.device)
        self.uses_known = options.prompts == "news"
        if model is None:
            family, model = _load_model(options)
        family.load()
        self.family = family
        self.generator = family.make_generator(
            model.to(self.device).eval(),
            points_per_side=None,
            point_grids=[grid(options.points_per_side)],
            points_per_batch=options.points_per_batch,
            pred_iou_thresh=options.pred_iou_thresh,
            stability_score_thresh=options.stability_score_thresh,
            box_nms_thresh=options.box_nms_thresh,
        )
        self._images_with_news = 0

    def segment(self, image: np.ndarray, *, depth: np.ndarray | None = None) -> np.ndarray:
        """image [H, W, 3] uint8 RGB -> [2, H, W] int32 ids 1..n, 0 = no mask: wholes and parts. Depth is not used."""
        check_input(image, depth)
        return self._segment(image, Prompts(grid(self.options.points_per_side), np.zeros((0, 4))))

    def segment_news(self, image: np.ndarray, known: np.ndarray, *, depth: np.ndarray | None = None) -> np.ndarray:
        """The same by `prompts_for` what the map knows, but for every `full_grid_every`-th image: what the map holds
        for one object may be two.
        """
        check_input(image, depth)
        self._images_with_news += 1
        if self._images_with_news % self.options.full_grid_every == 0:
            return self.segment(image, depth=depth)
        return self._segment(image, prompts_for(known, self.options.points_per_side, self.options.min_area))

    def _segment(self, image: np.ndarray, prompts: Prompts) -> np.ndarray:
        masks, scores = self._answers(np.ascontiguousarray(image), prompts)
        return flatten_masks(masks, scores, min_area=self.options.min_area, duplicate_iou=self.options.duplicate_iou)

    def _answers(self, image: np.ndarray, prompts: Prompts) -> tuple[np.ndarray, np.ndarray]:
        """Masks [M, H, W] bool and their scores; fewer prompts at once where memory runs out."""
        while True:
            try:
                with torch.inference_mode(), self._precision():
                    return self._asked(image, prompts)
            except torch.cuda.OutOfMemoryError as error:
                torch.cuda.empty_cache()
                batch = self.generator.points_per_batch // 2
                if batch < _FEWEST_POINTS:
                    raise MaskError(
                        "out_of_memory",
                        f"{self.family.name} ran out of GPU memory with {_FEWEST_POINTS} prompts at once: use a "
                        "smaller model, smaller images, or mask_source graph",
                    ) from error
                log.warning("%s ran out of GPU memory: goes on with %d prompts at once", self.family.name, batch)
                self.generator.points_per_batch = batch
            except RuntimeError as error:
                raise MaskError(
                    "failed", f"{self.family.name} failed on a {image.shape[1]}x{image.shape[0]} image: {error}"
                ) from error
            finally:
                self.generator.predictor.forget()

    def _asked(self, image: np.ndarray, prompts: Prompts) -> tuple[np.ndarray, np.ndarray]:
        masks, scores = [np.zeros((0, *image.shape[:2]), bool)], [np.zeros(0)]
        if len(prompts.points):
            self.generator.point_grids = [prompts.points]
            found = self.generator.generate(image)
            masks += [record["segmentation"][None] for record in found]
            scores += [np.array([record["predicted_iou"] * record["stability_score"]]) for record in found]
        if len(prompts.boxes):
            self.generator.predictor.set_image(image)
        for first in range(0, len(prompts.boxes), _BOXES_PER_BATCH):
            boxes = prompts.boxes[first : first + _BOXES_PER_BATCH]
            of_boxes, rated = self.family.predict_boxes(self.generator.predictor, boxes)
            good = rated >= self.options.pred_iou_thresh
            masks.append(of_boxes[good].cpu().numpy().astype(bool))
            scores.append(rated[good].float().cpu().numpy())
        return np.concatenate(masks), np.concatenate(scores)

    def _precision(self):
        use_half = self.options.half_precision and self.device.type == "cuda"
        return torch.autocast("cuda", torch.float16) if use_half else contextlib.nullcontext()


def _check_torchvision() -> None:
    """MaskError, with the remedy, where it is missing or does not work."""
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


def _load_model(options: SamOptions) -> tuple[SamFamily, torch.nn.Module]:
    path = Path(options.checkpoint).expanduser()
    if not str(options.checkpoint) or not path.is_file():
        FAMILIES[0].load()  # the package is the first thing to get
        raise MaskError(
            "missing_checkpoint", f"sam checkpoint {str(options.checkpoint)!r} is no file: download one from {_PAGES}"
        )
    weights = _read_weights(path)
    family = family_of(weights)
    if family is None:
        raise MaskError(
            "bad_checkpoint", f"{path} holds no model of the segment-anything family: download one from {_PAGES}"
        )
    model_type = family.model_type(weights)
    if options.model_type not in ("auto", model_type):
        raise MaskError(
            "bad_checkpoint",
            f"{path} is no {options.model_type}, but {family.name} {model_type}: use model_type auto",
        )
    model = family.build(family.load(), model_type)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise MaskError(
            "bad_checkpoint", f"{path} looks like {family.name} {model_type} and does not fit it: {str(error)[:200]}"
        ) from error
    return family, model


def _read_weights(path: Path) -> Weights:
    weights: Any
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
            f"kind of file; download it again from {_PAGES}",
        ) from error
    if isinstance(weights, dict) and set(weights) == {"model"}:  # as SAM 2's come
        weights = weights["model"]
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise MaskError("bad_checkpoint", f"{path} does not hold the weights of one model: download it from {_PAGES}")
    return weights
