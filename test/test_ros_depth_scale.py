"""Depth in other units than the node is told of, through the real node and mapper: named, with the unit that fits."""

import itertools

import pytest
from calibration_scenes import WALL_CAMERA, wall_frame
from ros_rig import Rig
from sensor_msgs.msg import Image

from cgc_ros.mapping import Mapper, MapperConfig, MappingSession
from cgc_ros.mapping.config import DensityConfig, KeyframeConfig
from cgc_ros.ros.faults import FAULTS

CONFIG = MapperConfig(
    backend="cpu", sh_degree=0, density=DensityConfig(max_gaussians=1000), keyframes=KeyframeConfig(max_keyframes=5)
)


@pytest.fixture
def rig(tmp_path):
    with Rig(MappingSession(Mapper(CONFIG)), map_directory=str(tmp_path), pose_jump_m=0.0) as rig:
        rig.connect()
        rig.wait(lambda: rig.publisher(Image, "depth").get_subscription_count())
        yield rig


def test_depth_of_another_unit_is_a_fault_that_names_both(rig):
    steps = itertools.cycle([*range(16), *range(16, 0, -1)])

    def look():
        frame = wall_frame(next(steps), depth_factor=5.0)
        rig.x = float(frame.world_from_camera[0, 3])
        rig.send_depth(frame.depth, pixels=frame.image, camera=WALL_CAMERA, move=0.0)

    message = rig.wait(lambda: rig.diagnosis("depth_scale"), 10.0, do=look, every=0.1)
    assert "5 times" in message and "0.0002" in message and FAULTS["depth_scale"].remedy in message
