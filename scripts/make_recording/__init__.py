"""Makes the demo recording: models, textures and renders a tabletop, and writes it as a rosbag2 (see docs/recording.md).

`render` needs Blender's Python package `bpy` in an environment of its own; everything after it needs only this project's.
"""
