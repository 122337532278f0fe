"""Parts beside objects: where keyframes' masks come at two levels of detail, the finer ones vote here."""

from __future__ import annotations

from collections import deque

import numpy as np
import torch
from torch import Tensor

from cgc_ros.gaussians.model import GaussianModel
from cgc_ros.gaussians.storage import SavedState
from cgc_ros.mapping.config import SegmentationConfig
from cgc_ros.mapping.keyframes import Keyframe, KeyframeStore
from cgc_ros.mapping.vote_images import VoteImage, keyframe_votes
from cgc_ros.segmentation import ObjectState
from cgc_ros.segmentation.parts import PartLayer


class PartSegmenter:
    """Keeps the parts of a map's objects. Objects come first: parts vote when nothing else waits, and are cut anew
    every `parts_every` steps.
    """

    def __init__(self, model: GaussianModel, keyframes: KeyframeStore, config: SegmentationConfig, backend: str):
        self.model, self.keyframes, self.config, self.backend = model, keyframes, config, backend
        self.layer = PartLayer(
            config,
            min_views=config.min_views,
            min_gaussians=config.min_gaussians,
            parts=config.parts,
            labelling=config.labelling,
        )
        self.masks: dict[int, VoteImage] = {}
        self.waiting: deque[int] = deque()  # keyframes whose finer masks have not voted yet
        self.unheard: set[int] = set()  # keyframes of a file without votes: until they vote, its parts stay
        self.updated_step = 0

    def add_masks(self, keyframe: Keyframe, masks: np.ndarray) -> None:
        """Take a keyframe's finer masks ([H, W] int32, 0 = no mask)."""
        self.masks[keyframe.id] = VoteImage.of(masks, keyframe.ignore, self.config)
        if keyframe.id not in self.waiting:
            self.waiting.append(keyframe.id)

    def renew_masks(self, keyframe: Keyframe) -> None:
        """Other pixels of a keyframe are ignored: its finer masks vote once more, without them."""
        if keyframe.id in self.masks and keyframe.masks is not None:
            self.add_masks(keyframe, keyframe.masks[1])

    def drop_keyframe(self, keyframe_id: int) -> None:
        """Forget a keyframe that has left, and its votes."""
        self.masks.pop(keyframe_id, None)
        self.unheard.discard(keyframe_id)
        self.layer.votes.pop(keyframe_id, None)

    def to(self, device: torch.device, backend: str) -> None:
        """Go on on another device; nothing is held on one here."""
        self.backend = backend

    def saved(self) -> SavedState:
        """For a map file; masks are their keyframes'."""
        info = {
            "part_keyframes": list(self.masks),
            "waiting_for_parts": list(self.waiting),
            "unheard_of_parts": sorted(self.unheard),
            "parts_step": self.updated_step,
        }
        return SavedState.joined([SavedState({}, info), self.layer.saved(self.model.uids.cpu().numpy())])

    def restore(self, state: SavedState) -> None:
        """Go on from what `saved` gave, with the masks that the keyframes have. Keyframes whose votes the file lacks
        vote again, all of them before parts are cut anew.

        KeyError, TypeError or ValueError where it lacks or garbles something.
        """
        info = state.info
        self.layer.restore(state, self.model.uids.cpu().numpy())
        known = list(map(int, info.get("part_keyframes", [])))
        fine = {each.id: each.masks[1] for each in self.keyframes if each.masks is not None and each.masks.ndim == 3}
        unheard = [key for key in fine if key not in known]
        for key in [*known, *unheard]:
            self.masks[key] = VoteImage.of(fine[key], self.keyframes.keyframes[key].ignore, self.config)
        self.waiting = deque([*map(int, info.get("waiting_for_parts", [])), *unheard])
        self.unheard = {*map(int, info.get("unheard_of_parts", [])), *unheard}
        self.updated_step = int(info.get("parts_step", info["steps"]))

    def wants_votes(self) -> bool:
        """Whether a keyframe's finer masks are to vote."""
        return bool(self.waiting) and len(self.model) > 0

    def vote(self) -> None:
        """Let the next of them vote."""
        self._vote(self.waiting.popleft())

    def wants_update(self, step: int) -> bool:
        """Whether objects are to be cut into parts anew at this training step."""
        if not self.masks or len(self.model) == 0 or self.unheard:
            return False
        return step - self.updated_step >= self.config.parts_every

    def update(self, step: int, objects: ObjectState) -> None:
        """Cut all objects into parts anew."""
        self.updated_step = step
        uids = self.model.uids.cpu().numpy()
        ids = objects.ids_of(uids)
        things = [record.id for record in objects.records.values() if not record.background]
        self.layer.update(uids, np.where(np.isin(ids, things), ids, -1))

    def refresh(self, step: int, objects: ObjectState) -> None:
        """Let every keyframe vote on the map as it is now: for a map that is to be kept."""
        if not self.masks or len(self.model) == 0:
            return
        self.waiting.clear()
        for keyframe_id in self.masks:
            self._vote(keyframe_id)
        self.update(step, objects)

    def part_ids(self) -> Tensor:
        """Part of every Gaussian, [N] int32, -1 = none."""
        return torch.from_numpy(self.layer.state.ids_of(self.model.uids.cpu().numpy())).to(self.model.device)

    def _vote(self, keyframe_id: int) -> None:
        image, keyframe = self.masks.get(keyframe_id), self.keyframes.keyframes.get(keyframe_id)
        self.unheard.discard(keyframe_id)
        if image is not None and keyframe is not None:
            votes = keyframe_votes(self.model, keyframe, image, self.backend, self.config.min_vote_weight)
            self.layer.votes[keyframe_id] = votes
