"""What stands where, and under which instance id: the whole scene in one table."""

from __future__ import annotations

from functools import partial

import bpy
import numpy as np

from make_recording import objects, prints, room

TABLE_ID, FIRST_OBJECT_ID, FIRST_ROOM_ID = 1, 2, 50
_red_book = partial(objects.book, "RAYS & MEANS", (0.24, 0.17, 0.030), (150, 38, 36), prints.MUSTARD, 1)
_blue_book = partial(objects.book, "COVARIANCE", (0.21, 0.145, 0.022), prints.NAVY, (214, 120, 84), 2)
OBJECTS = (  # name, parts, x, y, z above the table top (metres), turn around z, then tilt around x (degrees)
    ("cereal box", objects.cereal_box, -0.215, 0.185, 0, 14, 0),
    ("milk carton", objects.milk_carton, -0.070, 0.200, 0, -6, 0),
    ("oil bottle", objects.oil_bottle, 0.070, 0.215, 0, -70, 0),
    ("plant", objects.plant, 0.300, 0.190, 0, 0, 0),
    ("pen holder", objects.pen_holder, -0.390, 0.080, 0, 20, 0),
    ("bowl", objects.bowl, -0.175, -0.045, 0, 0, 0),
    ("orange", objects.orange, -0.209, -0.039, 0.017, 15, 8),
    ("lemon", objects.lemon, -0.147, -0.008, 0.050, 10, 90),
    ("apple", objects.apple, -0.310, -0.060, 0, 40, 0),
    ("soup can", objects.soup_can, -0.010, 0.060, 0, 40, 0),
    ("teapot", objects.teapot, 0.135, 0.050, 0, -40, 0),
    ("mug", objects.mug, 0.030, -0.150, 0, -155, 0),
    ("red book", _red_book, 0.320, -0.130, 0, 18, 0),
    ("blue book", _blue_book, 0.315, -0.125, 0.030, -8, 0),
    ("tea tin", objects.tea_tin, 0.290, -0.110, 0.052, 25, 0),
    ("yellow block", partial(objects.toy_block, "C", (222, 172, 40)), -0.130, -0.255, 0, 5, 0),
    ("green block", partial(objects.toy_block, "G", (64, 142, 84)), -0.075, -0.240, 0, -12, 0),
    ("red block", partial(objects.toy_block, "S", (196, 62, 52)), -0.104, -0.246, 0.050, 22, 0),
    ("sponge", objects.sponge, -0.330, -0.220, 0, -25, 0),
)


def build() -> dict[int, tuple[str, str]]:
    """Models the scene into Blender's current (empty) file; every mesh's `pass_index` is its instance id.

    Returns id -> (name, kind), kind "object" or "background".
    """
    labels = {TABLE_ID: ("table", "background")}
    _mark(room.table(), TABLE_ID)
    for k, (name, make, x, y, z, turn, tilt) in enumerate(OBJECTS):
        labels[FIRST_OBJECT_ID + k] = (name, "object")
        stand = bpy.data.objects.new(f"{name} stand", None)
        bpy.context.scene.collection.objects.link(stand)
        for part in _mark(make(), FIRST_OBJECT_ID + k):
            part.parent = stand
        stand.location = (x, y, room.TABLE_HEIGHT + z)
        stand.rotation_euler = (np.radians(tilt), 0, np.radians(turn))
    for k, (name, parts) in enumerate({**room.shell(), **room.furniture()}.items()):
        labels[FIRST_ROOM_ID + k] = (name, "background")
        _mark(parts, FIRST_ROOM_ID + k)
    room.light()
    return labels


def _mark(parts: list[bpy.types.Object], instance: int) -> list[bpy.types.Object]:
    for part in parts:
        part.pass_index = instance
    return parts
