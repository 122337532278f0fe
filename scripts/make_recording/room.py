"""The corner of the room: shell, furniture along the walls, the table itself, and the light."""

from __future__ import annotations

import bpy
import numpy as np

from make_recording import materials, prints
from make_recording.meshes import box, lathe, tube

HALF_X, HALF_Y, CEILING = 1.75, 1.65, 2.5  # metres from the origin, which is on the floor under the table
TABLE_SIZE, TABLE_HEIGHT = (1.16, 0.80), 0.74

Parts = list[bpy.types.Object]


def shell() -> dict[str, Parts]:
    """Floor, four walls with skirting boards, ceiling."""
    oak = materials.planks("floor oak", (0.36, 0.22, 0.12), (0.70, 0.50, 0.32))
    floor = _slab("floor", (2 * HALF_X, 2 * HALF_Y, 0.1), (0, 0, -0.1), oak)
    white = materials.plaster("ceiling paint", (0.93, 0.92, 0.90))
    paints = {
        "north": (0.55, 0.64, 0.60),
        "east": (0.85, 0.81, 0.73),
        "south": (0.86, 0.83, 0.77),
        "west": (0.80, 0.74, 0.66),
    }
    parts = {"floor": [floor], "ceiling": [_slab("ceiling", (2 * HALF_X, 2 * HALF_Y, 0.1), (0, 0, CEILING), white)]}
    skirting = materials.plain("skirting", (0.92, 0.91, 0.88), 0.4)
    for name, color in paints.items():
        axis = 1 if name in ("north", "south") else 0
        sign = 1 if name in ("north", "east") else -1
        reach = (HALF_X, HALF_Y)[axis]
        size, place = [2 * HALF_X, 2 * HALF_Y, CEILING], [0, 0, 0]
        size[axis], place[axis] = 0.1, sign * (reach + 0.05)
        wall = _slab(f"wall {name}", size, place, materials.plaster(f"paint {name}", color))
        size[axis], size[2], place[axis] = 0.015, 0.09, sign * (reach - 0.0075)
        parts[f"wall {name}"] = [wall, _slab(f"skirting {name}", size, place, skirting)]
    return parts


def furniture() -> dict[str, Parts]:
    """What stands and hangs around the table; gives the background texture at 1 to 3 metres."""
    weave = materials.printed("rug weave", prints.on_all_sides(prints.rug(), (3200, 1200)), 0.95, 0.4)
    rug = _slab("rug", (1.9, 1.4, 0.008), (0.05, -0.05, 0), weave)
    parts = {
        "rug": [rug],
        "bookshelf": _bookshelf(),
        "sideboard": _sideboard(),
        "window": _window(),
        "armchair": _armchair(),
        "floor lamp": _floor_lamp(),
        "wainscot": _wainscot(),
        "bench": _bench(),
    }
    for k, (x, z, scale) in enumerate([(-0.55, 1.30, 1.0), (0.10, 1.22, 0.8)]):
        stain = materials.wood("frame wood", (0.16, 0.10, 0.06), (0.30, 0.20, 0.12), 3)
        paint = materials.printed(f"picture {k}", prints.on_all_sides(prints.abstract_picture(k)), 0.7)
        frame_size, paper_size = (0.42 * scale, 0.025, 0.55 * scale), (0.36 * scale, 0.004, 0.49 * scale)
        parts[f"picture {k + 1}"] = [
            _slab(f"frame {k}", frame_size, (x, HALF_Y - 0.0135, z - 0.27 * scale), stain),
            _slab(f"picture {k}", paper_size, (x, HALF_Y - 0.0275, z - 0.24 * scale), paint),
        ]
    return parts


def table() -> Parts:
    oak = materials.wood("table oak", (0.50, 0.32, 0.17), (0.77, 0.57, 0.36), 1.0, axis=(0.7, 9.0, 9.0))
    top = _slab("table top", (*TABLE_SIZE, 0.03), (0, 0, TABLE_HEIGHT - 0.03), oak, 0.006)
    apron = _slab("table apron", (TABLE_SIZE[0] - 0.14, TABLE_SIZE[1] - 0.14, 0.08), (0, 0, TABLE_HEIGHT - 0.11), oak)
    legs = []
    for x in (-1, 1):
        for y in (-1, 1):
            place = (x * (TABLE_SIZE[0] / 2 - 0.08), y * (TABLE_SIZE[1] / 2 - 0.08), 0.008)
            legs.append(_slab("table leg", (0.06, 0.06, TABLE_HEIGHT - 0.04), place, oak, 0.004))
    return [top, apron, *legs]


def light() -> None:
    """Soft daylight from the window, a warm ceiling panel, a weak fill. Nothing is random."""
    _area("daylight", (HALF_X - 0.06, 0.1, 1.35), (0, np.radians(-90), 0), (1.1, 1.2), 42.0, (0.86, 0.93, 1.0))
    _area("ceiling panel", (-0.2, 0.1, CEILING - 0.03), (0, 0, 0), (1.5, 1.5), 38.0, (1.0, 0.91, 0.78))
    corner, turn = (-HALF_X + 0.1, -HALF_Y + 0.1, 1.9), (np.radians(60), 0, np.radians(-45))
    _area("fill", corner, turn, (0.8, 0.8), 7.0, (1.0, 0.88, 0.72))


def _bookshelf() -> Parts:
    """Against the west wall: two open rows of books of many colours."""
    rng = np.random.default_rng(31)
    board = materials.wood("shelf walnut", (0.24, 0.14, 0.08), (0.46, 0.30, 0.18), 1.4)
    width, depth, height, left = 1.3, 0.26, 1.06, -HALF_X
    middle = left + depth / 2
    parts = [_slab("shelf board", (depth, width, 0.025), (middle, 0.25, z), board) for z in (0.06, 0.39, 0.72, height)]
    side = (depth, 0.025, height + 0.025)
    parts += [_slab("shelf side", side, (middle, 0.25 + sign * width / 2, 0), board) for sign in (-1, 1)]
    parts.append(_slab("shelf back", (0.008, width, height), (left + 0.006, 0.25, 0.02), board))
    palette = [
        (0.64, 0.18, 0.15),
        (0.13, 0.24, 0.42),
        (0.84, 0.66, 0.26),
        (0.15, 0.42, 0.38),
        (0.88, 0.84, 0.74),
        (0.30, 0.20, 0.28),
        (0.72, 0.42, 0.22),
        (0.45, 0.55, 0.40),
    ]
    paints = [materials.plain(f"spine {k}", color, 0.55) for k, color in enumerate(palette)]
    for z in (0.085, 0.415, 0.745):
        y = 0.25 - width / 2 + 0.02
        while y < 0.25 + width / 2 - 0.07:
            if rng.random() < 0.06:
                y += rng.uniform(0.05, 0.12)
                continue
            thick, tall, deep = rng.uniform(0.016, 0.045), rng.uniform(0.19, 0.28), rng.uniform(0.15, 0.21)
            first, second = rng.choice(len(paints), 2, replace=False)
            place = (left + 0.02 + deep / 2, y + thick / 2, z)
            parts.append(_slab("shelf book", (deep, thick - 0.001, tall), place, paints[first], 0.001))
            band = (left + 0.02 + deep, y + thick / 2, z + tall * rng.uniform(0.55, 0.75))
            band_size = (0.001, thick - 0.003, tall * rng.uniform(0.08, 0.2))
            parts.append(_slab("spine band", band_size, band, paints[second]))
            y += thick
    return parts


def _sideboard() -> Parts:
    """Against the north wall, with two drawers and a door, and a vase on it."""
    body = materials.wood("sideboard beech", (0.60, 0.42, 0.26), (0.82, 0.66, 0.46), 1.0)
    front = materials.plain("sideboard front", (0.84, 0.85, 0.82), 0.45)
    knob = materials.plain("knob", (0.25, 0.22, 0.20), 0.3, Metallic=0.8)
    x, y = -0.25, HALF_Y - 0.21
    parts = [_slab("sideboard", (1.3, 0.40, 0.56), (x, y, 0.10), body, 0.004)]
    feet = [(x + sx * 0.6, y + sy * 0.15, 0) for sx in (-1, 1) for sy in (-1, 1)]
    parts += [_slab("sideboard foot", (0.04, 0.04, 0.10), place, body) for place in feet]
    for dx, z, w, h in ((-0.42, 0.125, 0.42, 0.51), (0.22, 0.125, 0.80, 0.245), (0.22, 0.39, 0.80, 0.245)):
        parts.append(_slab("sideboard front", (w, 0.012, h), (x + dx, y - 0.206, z), front, 0.002))
        ends = [(x + dx + end, y - 0.235, z + 0.5 * h) for end in (-0.07, 0.07)]
        handle = tube("handle", np.array(ends), 0.006, 10)
        handle.data.materials.append(knob)
        parts.append(handle)
    vase = lathe("vase", [(0, 0), (0.05, 0), (0.085, 0.07), (0.075, 0.14), (0.035, 0.20), (0.045, 0.23), (0.038, 0.23)])
    vase.location = (x - 0.35, y, 0.66)
    vase.data.materials.append(materials.speckled("vase", (0.22, 0.40, 0.48), (0.70, 0.74, 0.70), 25, 0.4))
    return [*parts, vase]


def _window() -> Parts:
    """In the east wall: bright sky behind a white cross of bars."""
    white = materials.plain("window frame", (0.93, 0.93, 0.91), 0.35)
    x = HALF_X - 0.02
    outdoors = materials.emitter("sky", prints.on_all_sides(prints.sky()), 1.4)
    pane = _slab("window pane", (0.01, 1.3, 1.25), (x, 0.1, 0.72), outdoors)
    bars = [_slab("window bar", (0.04, 1.40, 0.05), (x - 0.005, 0.1, z), white) for z in (0.675, 1.32, 1.95)]
    bars += [_slab("window bar", (0.036, 0.05, 1.26), (x - 0.005, 0.1 + dy, 0.70), white) for dy in (-0.675, 0, 0.675)]
    sill = _slab("window sill", (0.16, 1.5, 0.03), (x - 0.06, 0.1, 0.64), white, 0.003)
    rib = (0.06, 0.045, 0.42)
    ribs = [_slab("radiator rib", rib, (x - 0.05, 0.1 - 0.5 + 0.06 * k, 0.12), white, 0.012) for k in range(18)]
    return [pane, *bars, sill, *ribs]


def _armchair() -> Parts:
    """In the south-west corner: upholstered, with a cushion."""
    cloth = materials.speckled("armchair cloth", (0.24, 0.36, 0.44), (0.38, 0.50, 0.56), 180, 0.5, 0.95, 0.5)
    cushion = materials.printed("cushion", prints.on_all_sides(prints.rug()), 0.9, 0.3)
    turn, corner = np.radians(-40), np.array([-1.20, -1.15, 0])
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    parts = []
    for size, place, paint, bevel in (
        ((0.62, 0.58, 0.26), (0, 0, 0.10), cloth, 0.04),  # seat
        ((0.62, 0.14, 0.52), (0, -0.28, 0.18), cloth, 0.05),  # back
        ((0.11, 0.56, 0.38), (-0.32, 0, 0.12), cloth, 0.045),  # arms
        ((0.11, 0.56, 0.38), (0.32, 0, 0.12), cloth, 0.045),
        ((0.40, 0.10, 0.34), (0.02, -0.16, 0.36), cushion, 0.04),
    ):
        part = _slab("armchair part", size, corner + rotation @ place, paint, bevel)
        part.rotation_euler = (0, 0, turn)
        parts.append(part)
    return parts


def _wainscot() -> Parts:
    """Tiles over the lower half of the south wall, with a rail above them."""
    glaze = materials.tiles("wall tiles", (0.74, 0.83, 0.80), (0.93, 0.92, 0.88), 0.20, 0.10)
    rail = materials.wood("rail oak", (0.42, 0.26, 0.13), (0.72, 0.52, 0.32), 2.0)
    return [
        _slab("tiles", (2 * HALF_X - 0.04, 0.012, 1.01), (0, -HALF_Y + 0.0065, 0.09), glaze),
        _slab("rail", (2 * HALF_X - 0.04, 0.03, 0.05), (0, -HALF_Y + 0.016, 1.10), rail, 0.004),
    ]


def _bench() -> Parts:
    """Against the south wall: a slatted seat with a folded blanket and a crate."""
    pine = materials.wood("bench pine", (0.66, 0.46, 0.26), (0.88, 0.72, 0.48), 1.5)
    blanket = materials.printed("blanket", prints.on_all_sides(prints.rug()), 0.95, 0.3)
    x, y = 0.30, -HALF_Y + 0.22
    slat = (1.15, 0.085, 0.022)
    parts = [_slab("bench slat", slat, (x, y + dy, 0.42), pine, 0.004) for dy in (-0.14, -0.045, 0.05, 0.145)]
    parts += [_slab("bench leg", (0.05, 0.36, 0.42), (x + dx, y, 0), pine, 0.004) for dx in (-0.48, 0.48)]
    parts += [_slab("blanket", (0.34, 0.28, 0.05), (x - 0.30, y, 0.442 + 0.05 * k), blanket, 0.02) for k in range(2)]
    parts += [_slab("crate", (0.36, 0.26, 0.055), (x + 0.22, y, 0.445 + 0.07 * k), pine, 0.003) for k in range(3)]
    return parts


def _floor_lamp() -> Parts:
    metal = materials.plain("lamp metal", (0.16, 0.15, 0.15), 0.35, Metallic=0.7)
    shade = materials.plain("lamp shade", (0.92, 0.86, 0.72), 0.8)
    parts = []
    foot = [(0, 0), (0.15, 0), (0.15, 0.02), (0.02, 0.03), (0.012, 0.05), (0.012, 1.45), (0, 1.45)]
    cone = [(0.20, 1.30), (0.14, 1.62), (0.138, 1.62), (0.198, 1.30)]
    for name, profile, paint in (("lamp foot", foot, metal), ("lamp shade", cone, shade)):
        part = lathe(name, profile, 48)
        part.location = (1.42, -1.32, 0)
        part.data.materials.append(paint)
        parts.append(part)
    return parts


def _slab(name: str, size, place, material: bpy.types.Material, bevel: float = 0.0) -> bpy.types.Object:
    made = box(name, size, bevel)
    made.location = place
    made.data.materials.append(material)
    return made


def _area(name: str, place, rotation, size: tuple[float, float], power: float, color) -> None:
    lamp = bpy.data.lights.new(name, "AREA")
    lamp.shape, lamp.size, lamp.size_y, lamp.energy, lamp.color = "RECTANGLE", *size, power, color
    made = bpy.data.objects.new(name, lamp)
    made.location, made.rotation_euler = place, rotation
    bpy.context.scene.collection.objects.link(made)
