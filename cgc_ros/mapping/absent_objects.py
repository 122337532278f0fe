"""Objects that the map knows and that are not in the world now: gone, or held by the robot."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np
import torch

from cgc_ros.gaussians.model import GaussianModel
from cgc_ros.gaussians.storage import SavedState
from cgc_ros.mapping.existence import Presence
from cgc_ros.mapping.relocation import ColoredCloud
from cgc_ros.segmentation.object_state import ObjectRecord
from cgc_ros.segmentation.objects import MapObject, OrientedBox

_SHAPE_ARRAYS = ("points", "colors")
STATES = ("gone", "held")


@dataclass
class AbsentObject:
    """What is kept of an object while it is away."""

    state: str  # of STATES
    record: ObjectRecord
    shape: MapObject | None  # as it last stood; None where it had too few Gaussians for one
    matter: GaussianModel  # its Gaussians, as they last stood
    presence: Presence
    cloud: ColoredCloud  # of its surface, as keyframes measured it

    def shown(self) -> MapObject | None:
        """The object as users see it."""
        if self.shape is None:
            return None
        return replace(
            self.shape,
            confidence=self.record.confidence,
            background=self.record.background,
            pinned=self.record.pinned,
            num_views=self.record.num_views,
            first_seen_ns=self.record.first_seen_ns,
            last_seen_ns=self.record.last_seen_ns,
            state=self.state,
            existence=round(self.presence.existence, 2) if self.state == "gone" else 1.0,
            last_confirmed_ns=self.presence.last_confirmed_ns,
        )

    def saved(self) -> SavedState:
        """For a map file."""
        matter = self.matter.saved()
        arrays = matter.arrays | {"cloud": self.cloud.points, "cloud_colors": self.cloud.colors}
        info: dict = {"state": self.state, "record": asdict(self.record), "presence": asdict(self.presence)}
        info |= {"matter": matter.info, "has_shape": self.shape is not None}
        if self.shape is not None:
            box = self.shape.box
            arrays |= {"points": self.shape.points, "colors": self.shape.colors}
            arrays |= {"box": np.concatenate([box.center, box.size, box.rotation.ravel()])}
        return SavedState(arrays, info)

    @staticmethod
    def restored(state: SavedState, sh_degree: int, device: torch.device) -> AbsentObject:
        """What `saved` gave; KeyError, TypeError or ValueError where it lacks or garbles something."""
        arrays, info = state
        if info["state"] not in STATES:
            raise ValueError(f"an object is {info['state']!r}")
        matter = GaussianModel(sh_degree, device)
        matter.restore(SavedState(arrays, info["matter"]))
        record, shape = ObjectRecord(**info["record"]), None
        if info["has_shape"]:
            points, colors = (arrays[name] for name in _SHAPE_ARRAYS)
            if points.shape != colors.shape or points.ndim != 2 or arrays["box"].shape != (15,):
                raise ValueError(
                    f"the cloud of object {record.id} has {points.shape} points and {colors.shape} colours"
                )
            box = OrientedBox(arrays["box"][:3], arrays["box"][6:].reshape(3, 3), arrays["box"][3:6])
            shape = MapObject(record.id, "", 0.0, 0.0, False, box, points, colors, 0, 0, 0)
        cloud = ColoredCloud(arrays["cloud"], arrays["cloud_colors"])
        if cloud.points.shape != cloud.colors.shape or cloud.points.ndim != 2:
            raise ValueError(f"object {record.id} was measured at {cloud.points.shape} points")
        return AbsentObject(info["state"], record, shape, matter, Presence(**info["presence"]), cloud)
