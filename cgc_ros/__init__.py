"""Online 3D Gaussian segmentation maps from posed RGB frames."""

from pkgutil import extend_path

# The generated cgc_ros.msg and cgc_ros.srv may be installed elsewhere than these modules: in a source checkout, always (docs/development.md).
__path__ = extend_path(__path__, __name__)

__version__ = "0.1.0"
