"""From 2D masks that disagree to 3D objects with lasting ids, and the contrastive feature field."""

from cgc_ros.segmentation.config import AssociationConfig
from cgc_ros.segmentation.losses import contrastive_clustering_loss, spatial_similarity_loss
from cgc_ros.segmentation.object_layer import ObjectLayer
from cgc_ros.segmentation.object_state import ObjectRecord, ObjectState
from cgc_ros.segmentation.objects import MapObject, OrientedBox
from cgc_ros.segmentation.votes import MaskVotes, collect_votes

__all__ = [
    "AssociationConfig",
    "MapObject",
    "MaskVotes",
    "ObjectLayer",
    "ObjectRecord",
    "ObjectState",
    "OrientedBox",
    "collect_votes",
    "contrastive_clustering_loss",
    "spatial_similarity_loss",
]
