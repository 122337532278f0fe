"""Online 3D Gaussian segmentation maps from posed RGB frames."""

import os
from pkgutil import extend_path

# torch's OpenMP threads spin while they wait. With a camera driver, a mapper and a label renderer on the same few cores
# that makes every small tensor operation wait for the scheduler; it must be set before torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Tensors of 2 MB and more on large pages: rasterising visits Gaussians in no order, and a fifth of its time went into
# finding the addresses of small pages. Read by torch at its first allocation; without effect where the system has no
# large pages.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

# The generated cgc_ros.msg and cgc_ros.srv may be installed elsewhere than these modules: in a source checkout,
# always (docs/development.md).
__path__ = extend_path(__path__, __name__)

__version__ = "0.1.0"
