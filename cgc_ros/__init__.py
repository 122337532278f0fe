"""Online 3D Gaussian segmentation maps from posed RGB frames."""

__version__ = "0.1.0"
