"""Makes the demo recording: models, textures and renders a tabletop, writes it as a rosbag2 (docs/recording.md).

`render` needs Blender's Python package `bpy` in an environment of its own; all the rest runs in this project's.
"""
