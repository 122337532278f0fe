"""Objects by free text: a text encoder compares words with pictures of the objects, cut from the keyframes."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from cgc_ros.mapping.object_crops import PosedImage, object_crops
from cgc_ros.mapping.snapshot import MapSnapshot
from cgc_ros.segmentation.objects import MapObject
from cgc_ros.segmentation.text_encoder import TextEncoder

CROPS = 4  # views of an object whose embeddings are averaged
MARGIN = 0.15  # of the object's extent, left around it
NEW_LOOK = 1.5  # an object is encoded again once so many times more views support it
PLAIN_PHRASES = ("object", "things", "stuff", "texture")  # what a text must beat (Kerr et al., LERF, ICCV 2023)
SHARPNESS = 10.0  # of that comparison, as in LERF


@dataclass
class TextSearch:
    """Encodes each object once, when the first text is asked for, and keeps the embedding. Thread-safe."""

    encoder: TextEncoder
    _known: dict[int, tuple[int, np.ndarray]] = field(default_factory=dict)  # id -> number of views, embedding [D]
    _plain: np.ndarray | None = None  # [4, D]
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def relevance(
        self, text: str, objects: Sequence[MapObject], views: Iterable[PosedImage], snapshot: MapSnapshot
    ) -> dict[int, float]:
        """How well a text describes each object, 0..1, by id; 0.5: no better than the word "object" does.

        Objects that no view shows are left out. `views` are the keyframes of `snapshot`'s map.
        """
        views = tuple(views)
        with self._lock:
            if self._plain is None:
                self._plain = self.encoder.text(list(PLAIN_PHRASES))
            wanted = self.encoder.text([text])[0]
            self._encode([each for each in objects if self._is_new(each)], views, snapshot)
            found = {each.id: self._known[each.id][1] for each in objects if each.id in self._known}
        return {object_id: self._relevance(wanted, embedding) for object_id, embedding in found.items()}

    def clear(self) -> None:
        """Forget all objects: the map was replaced."""
        with self._lock:
            self._known.clear()

    def _is_new(self, item: MapObject) -> bool:
        return item.id not in self._known or item.num_views >= NEW_LOOK * self._known[item.id][0]

    def _encode(self, objects: Sequence[MapObject], views: Sequence[PosedImage], snapshot: MapSnapshot) -> None:
        size = self.encoder.picture_size
        crops = [object_crops(each, views, snapshot, count=CROPS, size=size, margin=MARGIN) for each in objects]
        pictures = [crop.picture for found in crops for crop in found]
        if not pictures:
            return
        embeddings = self.encoder.pictures(pictures)
        ends = np.cumsum([len(found) for found in crops])
        for item, found, end in zip(objects, crops, ends, strict=True):
            if found:
                mean = embeddings[end - len(found) : end].mean(axis=0)
                self._known[item.id] = (item.num_views, mean / max(float(np.linalg.norm(mean)), 1e-9))

    def _relevance(self, wanted: np.ndarray, embedding: np.ndarray) -> float:
        """The worst odds of the text against a plain phrase."""
        lead = embedding @ wanted - (self._plain @ embedding).max()
        return float(1.0 / (1.0 + np.exp(-SHARPNESS * lead)))
