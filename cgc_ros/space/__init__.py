"""Which space is occupied, free or unknown, how far the next surface is, and whose it is."""

from cgc_ros.space.evidence import DepthView, SpaceEvidence
from cgc_ros.space.files import write_voxels
from cgc_ros.space.grid import SpaceError, VoxelGrid
from cgc_ros.space.of_map import space_of
from cgc_ros.space.space import FREE, OCCUPIED, UNKNOWN, NearestSurface, Space

__all__ = [
    "FREE",
    "OCCUPIED",
    "UNKNOWN",
    "DepthView",
    "NearestSurface",
    "Space",
    "SpaceError",
    "SpaceEvidence",
    "VoxelGrid",
    "space_of",
    "write_voxels",
]
