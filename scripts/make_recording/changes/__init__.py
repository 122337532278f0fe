"""Recordings of a table on which things change between acts, ray-cast without Blender."""
