"""Parts beside objects: where keyframes' masks come at two levels of detail, the finer ones vote here."""

from __future__ import annotations

from collections import deque

import numpy as np
import torch
from torch import Tensor

from cgc_ros.gaussians.model import GaussianModel
from cgc_ros.mapping.config import SegmentationConfig
from cgc_ros.mapping.keyframes import Keyframe, KeyframeStore
from cgc_ros.mapping.segmenter import VoteImage, keyframe_votes
from cgc_ros.segmentation import ObjectState
from cgc_ros.segmentation.parts import PartLayer


class PartSegmenter:
    """Keeps the parts of a map's objects. Objects come first: parts vote when nothing else waits, and are cut anew
    every `parts_every` steps.
    """

    def __init__(self, model: GaussianModel, config: SegmentationConfig, backend: str):
        self.model, self.config, self.backend = model, config, backend
        self.layer = PartLayer(
            config,
            min_views=config.min_views,
            min_gaussians=config.min_gaussians,
            parts=config.parts,
            labelling=config.labelling,
        )
        self.masks: dict[int, VoteImage] = {}
        self.waiting: deque[int] = deque()  # keyframes whose finer masks have not voted yet
        self.updated_step = 0

    def add_masks(self, keyframe: Keyframe, masks: np.ndarray) -> None:
        """Take a keyframe's finer masks ([H, W] int32, 0 = no mask)."""
        self.masks[keyframe.id] = VoteImage.of(masks, self.config)
        self.waiting.append(keyframe.id)

    def drop_keyframe(self, keyframe_id: int) -> None:
        self.masks.pop(keyframe_id, None)
        self.layer.votes.pop(keyframe_id, None)

    def step(self, keyframes: KeyframeStore, step: int, objects: ObjectState) -> None:
        """Do what is due at this training step."""
        if not self.masks or len(self.model) == 0:
            return
        if self.waiting and step % self.config.part_votes_every == 0:
            self._vote(keyframes, self.waiting.popleft())
        if step - self.updated_step >= self.config.parts_every:
            self.update(step, objects)

    def update(self, step: int, objects: ObjectState) -> None:
        """Cut all objects into parts anew."""
        self.updated_step = step
        uids = self.model.uids.cpu().numpy()
        ids = objects.ids_of(uids)
        things = [record.id for record in objects.records.values() if not record.background]
        self.layer.update(uids, np.where(np.isin(ids, things), ids, -1))

    def refresh(self, keyframes: KeyframeStore, step: int, objects: ObjectState) -> None:
        """Let every keyframe vote on the map as it is now: for a map that is to be kept."""
        if not self.masks or len(self.model) == 0:
            return
        self.waiting.clear()
        for keyframe_id in self.masks:
            self._vote(keyframes, keyframe_id)
        self.update(step, objects)

    def part_ids(self) -> Tensor:
        """Part of every Gaussian, [N] int32, -1 = none."""
        return torch.from_numpy(self.layer.state.ids_of(self.model.uids.cpu().numpy())).to(self.model.device)

    def _vote(self, keyframes: KeyframeStore, keyframe_id: int) -> None:
        image, keyframe = self.masks.get(keyframe_id), keyframes.keyframes.get(keyframe_id)
        if image is not None and keyframe is not None:
            votes = keyframe_votes(self.model, keyframe, image, self.backend, self.config.min_vote_weight)
            self.layer.votes[keyframe_id] = votes
