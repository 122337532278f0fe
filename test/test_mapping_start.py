"""The first frames of a stream are mapped at once: nothing slow is loaded on the way."""

import subprocess
import sys

PROGRAM = """
import sys
import cgc_ros
from cgc_ros.evaluation.synthetic import SyntheticSequence
from cgc_ros.mapping import Mapper, MapperConfig
sequence, mapper = SyntheticSequence(num_frames=4), Mapper(MapperConfig(backend="cpu"))
for index in range(3):
    mapper.add_frame(sequence[index])
    for _ in range(9):
        mapper.step()
assert mapper.snapshot().objects
slow = [name for name in ("torch._dynamo", "torch.distributed.fsdp", "sympy", "open3d") if name in sys.modules]
print("loaded:", slow)
"""


def test_mapping_loads_no_compiler():
    """torch.optim's constructors import torch's compiler, which held the first keyframe up for five seconds."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip().endswith("loaded: []"), done.stdout
