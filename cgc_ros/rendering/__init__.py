"""Differentiable Gaussian rasterisers behind one call: C++ on the CPU, gsplat on CUDA, plain PyTorch as the oracle."""

from cgc_ros.rendering.backends import BackendError, available_backends, choose_backend, device_of
from cgc_ros.rendering.camera import Camera
from cgc_ros.rendering.outputs import BlendWeights, Render
from cgc_ros.rendering.photometric import photometric_loss
from cgc_ros.rendering.rasterization import blend_weights, label_image, mask_votes, rasterize
from cgc_ros.rendering.step_gradients import StepGradients, step_gradients
from cgc_ros.rendering.training_step import StepLosses, StepOutcome, train_in_place

__all__ = [
    "BackendError",
    "BlendWeights",
    "Camera",
    "Render",
    "StepGradients",
    "StepLosses",
    "StepOutcome",
    "available_backends",
    "blend_weights",
    "choose_backend",
    "device_of",
    "label_image",
    "mask_votes",
    "photometric_loss",
    "rasterize",
    "step_gradients",
    "train_in_place",
]
