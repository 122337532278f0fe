"""What of the node's parameters the intake needs."""

from __future__ import annotations

from dataclasses import dataclass

from cgc_ros.messages.frame_names import is_rectified
from cgc_ros.ros.frame_guard import GuardSettings
from cgc_ros.ros.parameters import NodeParameters


@dataclass(frozen=True)
class IntakeSettings:
    """See parameters.py for their texts."""

    camera_frame: str = ""
    rectified: bool = False
    depth_unit: float = 0.001
    sync_tolerance: float = 0.02
    sync_wait: float = 0.1
    masks_wait: float = 1.0
    ignore_wait: float = 0.3
    use_masks: bool = False
    mapping_rate: float = 0.0
    max_image_width: int = 0
    transform_timeout: float = 0.3
    clock_jump: float = 1.0
    guard: GuardSettings = GuardSettings()

    @staticmethod
    def from_parameters(p: NodeParameters, image_topic: str) -> IntakeSettings:
        """What the node's parameters say about images that come on this topic."""
        return IntakeSettings(
            camera_frame=p.camera_frame,
            rectified=p.rectified == "true" or (p.rectified == "auto" and is_rectified(image_topic)),
            depth_unit=p.depth_unit,
            sync_tolerance=p.sync_tolerance,
            sync_wait=p.sync_wait,
            masks_wait=p.masks_wait,
            ignore_wait=p.ignore_wait,
            use_masks=p.mask_source == "topic",
            mapping_rate=p.mapping_rate,
            max_image_width=p.max_image_width,
            transform_timeout=p.transform_timeout,
            clock_jump=p.clock_jump,
            guard=GuardSettings(min_sharpness=p.min_sharpness, pose_jump_m=p.pose_jump),
        )
