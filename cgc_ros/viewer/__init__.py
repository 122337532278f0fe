"""The live web viewer: the map as it grows, its objects, and what the camera sees (viser)."""

from cgc_ros.viewer.saved import SavedMap, run_viewer
from cgc_ros.viewer.server import ViewerError
from cgc_ros.viewer.viewer import MapViewer
from cgc_ros.viewer.views import CameraView, CameraViews, MapSource

__all__ = ["CameraView", "CameraViews", "MapSource", "MapViewer", "SavedMap", "ViewerError", "run_viewer"]
