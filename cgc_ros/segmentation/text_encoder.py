"""Pictures and text in one space: CLIP through open_clip, from a checkpoint on disk; nothing is ever downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F

PRETRAINED_PAGE = "https://github.com/mlfoundations/open_clip#pretrained-models"
BATCH = 16  # pictures encoded at once


class TextEncoderError(ValueError):
    """The encoder cannot be made; the message says why and what to do."""


class TextEncoder(Protocol):
    """What a text query needs of a model. Embeddings are unit vectors [D] float32; a dot product is a similarity."""

    picture_size: int  # pixels: pictures of this size need no scaling

    def pictures(self, pictures: list[np.ndarray]) -> np.ndarray:
        """Embeddings [n, D] of n pictures, [h, w, 3] uint8 RGB each."""
        ...

    def text(self, texts: list[str]) -> np.ndarray:
        """Embeddings [n, D] of n texts."""
        ...


class OpenClipEncoder:
    """A TextEncoder by any open_clip architecture (`model`: "ViT-B-32", ...) and the path of its weights."""

    def __init__(self, checkpoint: str | Path, model: str = "ViT-B-32", device: str = "auto"):
        """Raises TextEncoderError where open_clip, the checkpoint or the architecture is not to be had."""
        try:
            import open_clip
        except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision of another torch
            raise TextEncoderError(
                f"text queries need open_clip ({error}): pip install open_clip_torch, or leave text_encoder_checkpoint "
                "empty"
            ) from error
        if model not in open_clip.list_models():
            raise TextEncoderError(f"open_clip knows no model {model[:80]!r}: its list is at {PRETRAINED_PAGE}")
        text = open_clip.get_model_config(model).get("text_cfg", {})
        if "hf_model_name" in text or "hf_tokenizer_name" in text:
            raise TextEncoderError(
                f"{model} needs a tokenizer of the Hugging Face hub, and nothing is downloaded here: use a model with "
                "open_clip's own, as ViT-B-32, ViT-B-16 or ViT-L-14"
            )
        path = Path(checkpoint).expanduser()
        if not path.is_file():
            raise TextEncoderError(f"text encoder checkpoint {str(checkpoint)!r} is no file: see {PRETRAINED_PAGE}")
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(device)
        try:
            self._model = open_clip.create_model(model, device=self.device)
            open_clip.load_checkpoint(self._model, str(path))  # as plain tensors, which cannot run code
            self._tokenize = open_clip.get_tokenizer(model)
        except Exception as error:  # files of others fail in any way; all mean the same to the user
            raise TextEncoderError(
                f"{path} is no checkpoint of {model} that can be used here ({type(error).__name__}: {error}): give the "
                f"architecture it was trained as, see {PRETRAINED_PAGE}"
            ) from error
        self._model.eval()
        config = open_clip.get_model_preprocess_cfg(self._model)
        size = config.get("size", 224)
        self.picture_size = int(size[0] if isinstance(size, (tuple, list)) else size)
        self._mean = torch.tensor(config["mean"], device=self.device)[:, None, None]
        self._std = torch.tensor(config["std"], device=self.device)[:, None, None]

    @torch.inference_mode()
    def pictures(self, pictures: list[np.ndarray]) -> np.ndarray:
        """Embeddings [n, D] of n pictures, [h, w, 3] uint8 RGB each."""
        batches = [pictures[start : start + BATCH] for start in range(0, len(pictures), BATCH)]
        found = [self._model.encode_image(torch.stack([self._prepared(each) for each in batch])) for batch in batches]
        return F.normalize(torch.cat(found).float(), dim=1).cpu().numpy()

    @torch.inference_mode()
    def text(self, texts: list[str]) -> np.ndarray:
        """Embeddings [n, D] of n texts."""
        tokens = self._tokenize(texts).to(self.device)
        return F.normalize(self._model.encode_text(tokens).float(), dim=1).cpu().numpy()

    def _prepared(self, picture: np.ndarray) -> torch.Tensor:
        """[3, size, size], normalised as the model was trained."""
        image = torch.from_numpy(np.ascontiguousarray(picture)).to(self.device).permute(2, 0, 1).float() / 255
        if image.shape[1:] != (self.picture_size, self.picture_size):
            image = F.interpolate(image[None], (self.picture_size,) * 2, mode="bicubic", antialias=True)[0].clamp(0, 1)
        return (image - self._mean) / self._std
