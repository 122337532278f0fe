"""Segmentation beside training: votes of keyframes' masks, association, and the contrastive feature field."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial import cKDTree
from torch import Tensor

from cgc_ros.gaussians.model import FEATURE_DIM, GaussianModel
from cgc_ros.gaussians.optimizer import GaussianAdam
from cgc_ros.gaussians.storage import SavedState
from cgc_ros.mapping.config import SegmentationConfig
from cgc_ros.mapping.fresh_matter import FreshMatter
from cgc_ros.mapping.keyframes import Keyframe, KeyframeStore
from cgc_ros.mapping.vote_images import VoteImage, keyframe_votes
from cgc_ros.rendering import blend_weights
from cgc_ros.segmentation import (
    ObjectLayer,
    ObjectState,
    contrastive_clustering_loss,
    spatial_similarity_loss,
)
from cgc_ros.segmentation.membership import rows_among
from cgc_ros.segmentation.votes import MaskVotes, without


class MapSegmenter:
    """Keeps the object layer and the feature field of a map up to date, a little at every training step."""

    def __init__(
        self, model: GaussianModel, keyframes: KeyframeStore, config: SegmentationConfig, backend: str, seed: int
    ):
        self.model, self.keyframes, self.config, self.backend = model, keyframes, config, backend
        self.layer = ObjectLayer(
            config,
            min_views=config.min_views,
            min_gaussians=config.min_gaussians,
            labelling=config.labelling,
            strays=config.strays,
            background=config.background,
        )
        self.optimizer = GaussianAdam(model)
        self.rng = np.random.default_rng(seed)
        self.is_urgent = False  # something new has come into the world: it is to be named an object soon
        self.fresh = FreshMatter()  # what came later than some keyframes
        self.masks: dict[int, VoteImage] = {}
        self.waiting: deque[int] = deque()  # keyframes whose masks have not voted yet
        self.unheard: set[int] = set()  # keyframes of a file without votes: until they vote, its objects stay
        self.clustered_step = self.revoted_step = 0
        self.new_votes = 0  # keyframes that voted for the first time since objects were last updated
        self._update: Iterator[None] | None = None  # of objects, under way
        self.prototype_ids = np.zeros(0, dtype=np.int64)  # object ids, sorted
        self.prototypes = torch.zeros(0, FEATURE_DIM, device=model.device)  # [O, 16] unit, one per object

    def add_masks(self, keyframe: Keyframe, masks: np.ndarray) -> None:
        """Take a keyframe's masks ([H, W] int32, 0 = no mask); they vote at one of the next steps.

        Better masks of a keyframe that has voted take its former masks' place at once.
        """
        image = self.masks[keyframe.id] = VoteImage.of(masks, keyframe.ignore, self.config)
        if keyframe.id in self.layer.votes:
            self.layer.mask_objects.pop(keyframe.id, None)  # numbers of its former masks
            self.layer.set_votes(self._votes(keyframe, image))
        elif keyframe.id not in self.waiting:
            self.waiting.append(keyframe.id)

    def renew_masks(self, keyframe: Keyframe) -> None:
        """Other pixels of a keyframe are ignored: its masks say without them what they said."""
        if keyframe.id in self.masks and keyframe.masks is not None:
            self.add_masks(keyframe, keyframe.masks if keyframe.masks.ndim == 2 else keyframe.masks[0])

    def withdraw(self, object_id: int) -> None:
        """An object's Gaussians leave the map; its id stays taken (`ObjectLayer.withdraw`)."""
        self._update = None  # what is under way still knows it
        self.layer.withdraw(object_id)

    def renumber(self, object_id: int, new_id: int) -> None:
        """Give an object the id of one that was withdrawn."""
        self._update = None
        self.layer.renumber(object_id, new_id)
        self.prototype_ids = np.where(self.prototype_ids == object_id, new_id, self.prototype_ids)
        order = np.argsort(self.prototype_ids)
        self.prototype_ids, self.prototypes = self.prototype_ids[order], self.prototypes[torch.from_numpy(order)]

    def drop_keyframe(self, keyframe_id: int) -> None:
        """Forget a keyframe that has left; its votes live on in the memory."""
        self.masks.pop(keyframe_id, None)
        self.unheard.discard(keyframe_id)
        self.layer.drop_keyframe(keyframe_id)

    def to(self, device: torch.device, backend: str) -> None:
        """Go on on another device."""
        self.backend, self.prototypes = backend, self.prototypes.to(device)

    def saved(self) -> SavedState:
        """For a map file; masks are their keyframes'. An update of objects that is under way begins again."""
        self._update = None
        arrays = {"prototypes/ids": self.prototype_ids, "prototypes/features": self.prototypes.cpu().numpy()}
        info = {
            "voted_steps": [[key, image.voted_step] for key, image in self.masks.items()],
            "waiting": list(self.waiting),
            "unheard": sorted(self.unheard),
            "clustered_step": self.clustered_step,
            "new_votes": self.new_votes,
        }
        layer = self.layer.saved(self.model.uids.cpu().numpy())
        return SavedState.joined([SavedState(arrays, info), layer])

    def restore(self, state: SavedState) -> None:
        """Go on from what `saved` gave, with the masks that the keyframes have. Keyframes whose votes the file lacks
        vote again, all of them before objects are updated.

        KeyError, TypeError or ValueError where it lacks or garbles something.
        """
        arrays, info = state
        self.layer.restore(state, self.model.uids.cpu().numpy())
        # None in files of before they were kept.
        ids = arrays.get("prototypes/ids", np.zeros(0, np.int64))
        features = arrays.get("prototypes/features", np.zeros((0, FEATURE_DIM), np.float32))
        if features.shape != (len(ids), FEATURE_DIM) or not np.isfinite(features).all():
            raise ValueError(f"prototypes have shape {features.shape}, wanted {(len(ids), FEATURE_DIM)} finite numbers")
        self.prototype_ids, self.prototypes = ids, torch.from_numpy(features).to(self.model.device)
        voted_steps = {int(key): int(step) for key, step in info.get("voted_steps", [])}
        unheard = [each.id for each in self.keyframes if each.masks is not None and each.id not in voted_steps]
        for key, voted_step in (voted_steps | dict.fromkeys(unheard, -1)).items():
            keyframe = self.keyframes.keyframes[key]
            masks: Any = keyframe.masks  # no keyframe votes without
            of_objects = masks if masks.ndim == 2 else masks[0]
            self.masks[key] = VoteImage.of(of_objects, keyframe.ignore, self.config, voted_step)
        self.waiting = deque([*map(int, info.get("waiting", [])), *unheard])
        self.unheard = {*map(int, info.get("unheard", [])), *unheard}
        self.clustered_step = int(info.get("clustered_step", info["steps"]))
        self.new_votes = int(info.get("new_votes", 0))

    def wants_votes(self, step: int) -> bool:
        """Whether a keyframe's masks are to vote at this training step: for the first time, or again."""
        again = step - self.revoted_step >= self.config.revote_every
        return bool(self.masks) and len(self.model) > 0 and (again or bool(self.waiting))

    def vote(self, step: int) -> None:
        """Let a keyframe vote: a new one, or the one whose votes are oldest (Gaussians move, come and go)."""
        if self.waiting:
            keyframe_id = self.waiting.popleft()
            self.new_votes += 1
        else:
            self.revoted_step = step
            keyframe_id = min(self.masks, key=lambda key: self.masks[key].voted_step)
        entry, keyframe = self.masks.get(keyframe_id), self.keyframes.keyframes.get(keyframe_id)
        self.unheard.discard(keyframe_id)
        if entry is None or keyframe is None:
            return
        entry.voted_step = step
        self.layer.set_votes(self._votes(keyframe, entry))

    def learn(self, step: int) -> None:
        """Train the feature field where it is due at this training step."""
        if self.masks and len(self.model) and step % self.config.contrastive_every == 0:
            self.train_features(step)

    def wants_update(self, step: int) -> bool:
        """Whether an update of the objects is under way, or due at this training step."""
        config = self.config
        if not self.masks or len(self.model) == 0:
            return False
        if self._update is not None:
            return True
        wanted = max(config.min_news, config.news_share * len(self.masks))
        enough_news = self.new_votes >= (1 if self.is_urgent else wanted)
        return not self.unheard and (enough_news or step - self.clustered_step >= config.cluster_every)

    def renew(self, step: int, scene_depth: float) -> None:
        """Begin an update of the objects where none is under way, and do a piece of it; `scene_depth` is the typical
        distance of what keyframes see, metres.
        """
        if self._update is None:
            self._update = self._pieces(step, scene_depth)
        self.advance()

    def advance(self) -> bool:
        """Do one piece of the update of objects that is under way, some 10 ms; False where none is, or it is done."""
        if self._update is None:
            return False
        for _ in self._update:
            return True
        self._update = None
        return False

    def update_objects(self, step: int, scene_depth: float) -> None:
        """Update the objects by everything that has changed."""
        self._update = None
        for _ in self._pieces(step, scene_depth, everything=True):
            pass

    def _pieces(self, step: int, scene_depth: float, everything: bool = False) -> Iterator[None]:
        """An update of objects, in pieces between which the map may change; the last one shows it."""
        self.clustered_step, self.new_votes = step, 0
        uids, means = self.model.uids.cpu().numpy().copy(), self.model.means.detach().cpu().numpy().copy()
        state = yield from self.layer.pieces(uids, means, scene_depth, everything)
        if len(state.uids) != len(uids):
            return
        yield
        rows = self._rows_of(state.uids)
        prototype_ids = np.array(sorted(state.records), dtype=np.int64)
        features = self.model.features.detach()[torch.from_numpy(rows[rows >= 0]).to(self.model.device)]
        prototypes = object_prototypes(features, torch.from_numpy(state.ids[rows >= 0]), prototype_ids)
        yield
        self.prototype_ids, self.prototypes = prototype_ids, prototypes
        self.layer.publish(replace(state, ids=self._fill_open(state, means, scene_depth)), means)

    def _rows_of(self, uids: np.ndarray) -> np.ndarray:
        """Row of each of the `uids` ([M] sorted) in the model, -1 for those that are gone."""
        return rows_among(self.model.uids.cpu().numpy(), uids)

    def object_ids(self) -> Tensor:
        """Object of every Gaussian as of the last update, [N] int32, -1 = none or younger than it."""
        return torch.from_numpy(self.layer.state.ids_of(self.model.uids.cpu().numpy())).to(self.model.device)

    def _fill_open(self, state: ObjectState, means: np.ndarray, scene_depth: float) -> np.ndarray:
        """Object ids [N] in which Gaussians that votes left undecided take the object of a neighbour, where their
        feature is like that object's prototype.
        """
        ids = state.ids.copy()
        row_of = self._rows_of(state.uids)
        rows, labelled = np.flatnonzero(state.undecided & (ids < 0) & (row_of >= 0)), np.flatnonzero(ids >= 0)
        count, reach = self.config.fill_neighbours, self.config.fill_reach * scene_depth
        if len(rows) == 0 or len(labelled) < count:
            return ids
        # The quick way to build a tree: it is asked little.
        tree = cKDTree(means[labelled], balanced_tree=False, compact_nodes=False)
        distances, nearest = tree.query(means[rows], k=count, distance_upper_bound=reach)
        near = np.isfinite(distances)
        candidates = ids[labelled[np.where(near, nearest, 0)]]  # [R, k]
        prototype_rows = torch.from_numpy(np.searchsorted(self.prototype_ids, candidates)).to(self.model.device)
        open_rows = torch.from_numpy(row_of[rows]).to(self.model.device)
        features = F.normalize(self.model.features.detach()[open_rows], dim=1)
        likeness = torch.einsum("rf,rkf->rk", features, self.prototypes[prototype_rows]).cpu().numpy()
        likeness = np.where(near, likeness, -1.0)
        best = likeness.argmax(axis=1)[:, None]
        likest = np.take_along_axis(candidates, best, axis=1)[:, 0]
        ids[rows] = np.where(np.take_along_axis(likeness, best, axis=1)[:, 0] >= self.config.min_likeness, likest, -1)
        return ids

    def refresh(self, step: int, scene_depth: float) -> None:
        """Let every keyframe vote on the map as it is now, and update the objects: for a map that is to be kept."""
        self.waiting = deque(self.masks)
        while self.waiting and len(self.model):
            self.vote(step)
        self.update_objects(step, scene_depth)

    def _votes(self, keyframe: Keyframe, image: VoteImage) -> MaskVotes:
        """What a keyframe says, but of what came after it."""
        opaque = len(self.fresh.uids) > 0 and keyframe.stamp_ns >= self.fresh.stamps_ns.min()
        votes = keyframe_votes(self.model, keyframe, image, self.backend, self.config.min_vote_weight, opaque)
        later = self.fresh.since(keyframe.stamp_ns)
        return without(votes, np.isin(votes.uids, later)) if len(later) else votes

    def train_features(self, step: int) -> None:
        """Contrastive step on pixels sampled from one keyframe's masks, geometry fixed; now and then the spatial
        loss.
        """
        config = self.config
        keyframe_id = list(self.masks)[int(self.rng.integers(len(self.masks)))]
        entry, keyframe = self.masks[keyframe_id], self.keyframes.keyframes.get(keyframe_id)
        inside = np.flatnonzero(entry.masks > 0)
        if keyframe is None or len(inside) < 2:
            return
        pixels = np.sort(self.rng.choice(inside, min(config.contrastive_pixels, len(inside)), replace=False))
        device = self.model.device
        features = self.model.parameters["features"].detach().requires_grad_(True)
        with torch.no_grad():
            weights = blend_weights(
                *self.model.geometry,
                entry.camera(keyframe, device),
                torch.from_numpy(pixels).to(device),
                backend=self.backend,
            )
        rendered = weights.blend(features)
        masks = entry.masks.ravel()[pixels]
        loss = contrastive_clustering_loss(rendered, torch.from_numpy(masks.astype(np.int64)).to(device))
        rows = self._prototype_rows(keyframe_id, masks)
        known = np.flatnonzero(rows >= 0)
        if len(known):
            classes = torch.from_numpy(rows[known]).to(device)
            loss = loss + contrastive_clustering_loss(
                rendered[torch.from_numpy(known).to(device)], classes, self.prototypes
            )
        if step % config.spatial_every < config.contrastive_every:
            sample = torch.from_numpy(
                self.rng.choice(len(features), min(config.spatial_sample, len(features)), replace=False)
            )
            loss = loss + spatial_similarity_loss(features[sample.to(device)], self.model.means[sample.to(device)])
        loss.backward()
        self.optimizer.step({"features": features.grad}, {"features": config.contrastive_rate}, touched_only=True)

    def _prototype_rows(self, keyframe_id: int, masks: np.ndarray) -> np.ndarray:
        """Row of `prototypes` for each pixel's mask [P], -1 where the mask is of no known object."""
        objects = self.layer.mask_objects.get(keyframe_id)
        if objects is None or not self.prototype_ids.size:
            return np.full(len(masks), -1, dtype=np.int64)
        objects = objects[masks]
        rows = np.searchsorted(self.prototype_ids, objects).clip(max=len(self.prototype_ids) - 1)
        return np.where(self.prototype_ids[rows] == objects, rows, -1)


def object_prototypes(features: Tensor, ids: Tensor, object_ids: np.ndarray) -> Tensor:
    """Unit mean of the unit features of each object's Gaussians, [O, F]; `ids` [N] is every Gaussian's object,
    `object_ids` sorted.
    """
    labelled = ids.to(features.device) >= 0
    rows = torch.searchsorted(
        torch.from_numpy(object_ids).to(features.device), ids.to(features.device)[labelled].long()
    )
    sums = torch.zeros(len(object_ids), features.shape[1], device=features.device)
    return F.normalize(sums.index_add_(0, rows, F.normalize(features[labelled], dim=1)), dim=1)
