"""Depth without a depth camera: plane-sweep stereo between posed views, and depth for the pixels that it leaves out."""
