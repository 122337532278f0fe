"""The things on the table. Each function models one object standing on z = 0 at the origin and returns its parts."""

from __future__ import annotations

import bpy
import numpy as np

from make_recording import materials, prints
from make_recording.meshes import box, curve, lathe, leaf, mm, tube

Parts = list[bpy.types.Object]


def mug() -> Parts:
    outside = [(0, 4), (30, 0), (37, 4), (41, 30), (42, 70), (43, 96)]
    inside = [(41, 98), (39, 95), (37, 30), (30, 8), (0, 7)]
    body = lathe("mug", curve(mm(outside + inside)))
    coffee = lathe("coffee", mm([(38.5, 74), (0, 74)]))
    grip = mm([(40, 0, 80), (58, 0, 84), (72, 0, 66), (68, 0, 40), (52, 0, 26), (39, 0, 26)])
    handle = tube("mug handle", curve(grip), 0.0058)
    glaze = {"Coat Weight": 0.5}
    return [
        _paint(body, materials.printed("mug glaze", prints.mug_glaze(), 0.3, **glaze)),
        _paint(coffee, materials.plain("coffee", (0.16, 0.09, 0.05), 0.12)),
        _paint(handle, materials.plain("mug handle", (0.15, 0.34, 0.50), 0.3, **glaze)),
    ]


def bowl() -> Parts:
    outside = [(0, 6), (30, 6), (34, 0), (40, 4), (62, 20), (82, 44), (92, 68)]
    inside = [(90, 70.5), (87, 68), (76, 44), (56, 21), (0, 12)]
    body = lathe("bowl", curve(mm(outside + inside)))
    return [_paint(body, materials.printed("bowl glaze", prints.bowl_glaze(), 0.3, **{"Coat Weight": 0.4}))]


def orange() -> Parts:
    body = lathe("orange", curve(mm([(0, 2), (20, 4), (35, 18), (39, 37), (34, 58), (18, 71), (4, 72), (0, 70)])))
    stalk = lathe("orange stalk", mm([(3, 69), (3, 72.5), (0, 73)]), 12)
    return [
        _paint(body, materials.speckled("orange peel", (0.91, 0.45, 0.06), (0.96, 0.56, 0.14), 260, 0.5, 0.4, 0.5)),
        _paint(stalk, materials.plain("orange stalk", (0.32, 0.38, 0.14), 0.7)),
    ]


def lemon() -> Parts:
    profile = mm([(0, 0), (6, 1), (11, 8), (24, 22), (28.5, 42), (23, 63), (10, 77), (6, 83), (0, 84)])
    body = lathe("lemon", curve(profile))
    return [_paint(body, materials.speckled("lemon peel", (0.93, 0.79, 0.16), (0.87, 0.70, 0.10), 230, 0.5, 0.38, 0.4))]


def apple() -> Parts:
    profile = mm([(0, 10), (10, 1), (22, 3), (36, 24), (40, 45), (34, 64), (20, 73), (8, 69), (0, 62)])
    body = lathe("apple", curve(profile))
    stem = tube("apple stem", curve(mm([(0, 0, 62), (1, 0, 74), (6, 0, 86)])), 0.0014, 8)
    skin = materials.gradient_skin("apple skin", (0.78, 0.70, 0.22), (0.66, 0.08, 0.08), (0.90, 0.62, 0.26), 0.075)
    return [_paint(body, skin), _paint(stem, materials.plain("apple stem", (0.26, 0.17, 0.09), 0.8))]


def oil_bottle() -> Parts:
    glass = lathe(
        "bottle",
        curve(mm([(0, 0), (33, 1), (36.5, 6), (37, 90), (37, 165), (33, 188), (19, 212), (14.5, 232), (14.2, 262)])),
    )
    label = lathe("bottle label", mm([(37.4, 45), (37.4, 125)]))
    cap = lathe("bottle cap", mm([(15.5, 256), (16.5, 258), (16.5, 284), (15.5, 287), (0, 287)]))
    return [
        _paint(glass, materials.plain("dark glass", (0.10, 0.17, 0.07), 0.08, **{"Coat Weight": 0.6})),
        _paint(label, materials.printed("bottle label", prints.bottle_label(), 0.6)),
        _paint(cap, materials.plain("bottle cap", (0.60, 0.48, 0.24), 0.3, Metallic=0.8)),
    ]


def soup_can() -> Parts:
    label = lathe("can label", mm([(33, 5), (33, 97)]))
    metal = lathe(
        "can",
        mm(
            [
                (0, 2),
                (31, 2),
                (33.3, 0),
                (33.8, 2),
                (32.5, 5),
                (32.5, 97),
                (33.8, 100),
                (33.3, 102),
                (31.5, 101),
                (30.8, 97),
                (24, 97),
                (23, 97.8),
                (0, 97.8),
            ]
        ),
    )
    turn = np.linspace(0, 6.28, 24)
    loop = np.stack([0.012 + 0.009 * np.cos(turn), 0.007 * np.sin(turn), 0 * turn + 0.0992], 1)
    ring = tube("can ring", loop, 0.0011, 8)
    steel = materials.plain("tinned steel", (0.70, 0.70, 0.71), 0.32, Metallic=0.9)
    paper = materials.printed("can label", prints.soup_can(), 0.45)
    return [_paint(label, paper), _paint(metal, steel), _paint(ring, steel)]


def cereal_box() -> Parts:
    packet = box("cereal box", (0.19, 0.06, 0.28), 0.001)
    return [_paint(packet, materials.printed("cereal print", prints.cereal_box(), 0.45))]


def milk_carton() -> Parts:
    body = box("carton", (0.072, 0.072, 0.165), 0.001)
    gable = _gable("carton gable", 0.036, 0.165, 0.036)
    fin = box("carton fin", (0.072, 0.003, 0.020))
    fin.location.z = 0.200
    cap = lathe("carton cap", mm([(13, 0), (13, 12), (12, 13.5), (0, 13.5)]), 32)
    cap.location, cap.rotation_euler = (0, -0.0175, 0.182), (np.radians(45), 0, 0)
    blue = materials.plain("carton blue", (0.17, 0.38, 0.70), 0.4)
    red = materials.plain("carton cap", (0.88, 0.30, 0.22), 0.35)
    return [
        _paint(body, materials.printed("carton print", prints.milk_carton(), 0.4)),
        _paint(gable, blue),
        _paint(fin, blue),
        _paint(cap, red),
    ]


def book(title: str, size: tuple[float, float, float], cover, accent, seed: int) -> Parts:
    paper = materials.printed(title, prints.book(title, cover, accent, seed), 0.5, 0.05)
    return [_paint(box(title, size, 0.0012), paper)]


def tea_tin() -> Parts:
    tin = box("tea tin", (0.075, 0.075, 0.085), 0.003)
    lid = box("tea tin lid", (0.077, 0.077, 0.018), 0.003)
    lid.location.z = 0.083
    return [
        _paint(tin, materials.printed("tea tin print", prints.tea_tin(), 0.35)),
        _paint(lid, materials.plain("brass lid", (0.66, 0.51, 0.24), 0.3, Metallic=0.7)),
    ]


def teapot() -> Parts:
    body = lathe("teapot", curve(mm([(0, 3), (45, 0), (50, 6), (74, 35), (80, 62), (70, 94), (46, 112), (38, 114)])))
    knob = mm([(41, 113), (40, 117), (26, 126), (9, 131), (7, 136), (13, 143), (11, 151), (0, 153)])
    lid = lathe("teapot lid", curve(knob))
    spout = tube(
        "teapot spout",
        curve(mm([(66, 0, 40), (92, 0, 56), (108, 0, 86), (128, 0, 108)])),
        np.interp(np.linspace(0, 1, 25), [0, 0.4, 1], [0.021, 0.013, 0.0085]),
    )
    grip = mm([(-66, 0, 96), (-98, 0, 106), (-122, 0, 84), (-112, 0, 48), (-70, 0, 30)])
    handle = tube("teapot handle", curve(grip), 0.0075)
    white = materials.plain("white china", (0.90, 0.89, 0.86), 0.18, **{"Coat Weight": 0.5})
    return [_paint(part, white) for part in (body, lid, spout, handle)]


def toy_block(letter: str, color) -> Parts:
    block = box(f"block {letter}", (0.05, 0.05, 0.05), 0.003)
    return [_paint(block, materials.printed(f"block {letter}", prints.toy_block(letter, color), 0.4))]


def pen_holder() -> Parts:
    cup = lathe("pen holder", mm([(0, 0), (40, 0), (41, 1), (41, 100), (38, 100), (37, 4), (0, 4)]))
    bamboo = materials.wood("holder bamboo", (0.62, 0.42, 0.20), (0.84, 0.68, 0.42), 12.0, axis=(6, 6, 0.5))
    parts = [_paint(cup, bamboo)]
    pens = [
        ((0.80, 0.13, 0.13), 0.4, 0.170),
        ((0.10, 0.22, 0.56), 2.1, 0.165),  # colour, direction, length
        ((0.95, 0.74, 0.15), 3.4, 0.185),
        ((0.14, 0.48, 0.28), 5.2, 0.175),
    ]
    for k, (color, angle, length) in enumerate(pens):
        direction = np.array([np.cos(angle), np.sin(angle)])
        foot, lean = np.array([*(-0.026 * direction), 0.008]), np.array([*(0.30 * direction), 0.95])
        tip = foot + lean / np.linalg.norm(lean) * length
        along = [foot + t * (tip - foot) for t in (0, 0.88, 0.881, 1)]
        shaft = tube(f"pen {k}", along, np.array([0.0042, 0.0042, 0.0036, 0.0012]), 10)
        parts.append(_paint(shaft, materials.plain(f"pen {k}", color, 0.35)))
    return parts


def plant() -> Parts:
    profile = mm([(0, 0), (48, 0), (50, 2), (62, 85), (68, 86), (70, 110), (63, 110), (60, 90), (0, 90)])
    pot = lathe("plant pot", profile)
    soil = lathe("soil", mm([(61.5, 98), (0, 101)]))
    parts = [
        _paint(pot, materials.speckled("terracotta", (0.70, 0.38, 0.26), (0.78, 0.50, 0.38), 40, 0.4, 0.85, 0.2)),
        _paint(soil, materials.speckled("soil", (0.10, 0.07, 0.05), (0.26, 0.19, 0.13), 160, 0.5, 0.95, 0.8)),
    ]
    rng = np.random.default_rng(12)
    tones = [
        ((0.16, 0.40, 0.14), (0.34, 0.56, 0.22)),
        ((0.22, 0.46, 0.18), (0.44, 0.62, 0.28)),
        ((0.12, 0.33, 0.16), (0.24, 0.46, 0.20)),
    ]
    greens = [materials.speckled(f"leaf {k}", base, rib, 55, 0.4, 0.4) for k, (base, rib) in enumerate(tones)]
    for k in range(15):
        angle, reach = 2.4 * k + rng.uniform(-0.3, 0.3), rng.uniform(0.045, 0.115)
        rise = rng.uniform(0.06, 0.17) * (1 - 0.02 * k)
        out = np.array([np.cos(angle), np.sin(angle), 0])
        spine = curve(
            [
                (0, 0, 0.095) + 0.012 * out,
                (0, 0, 0.095 + 0.6 * rise) + 0.25 * reach * out,
                (0, 0, 0.095 + rise) + 0.65 * reach * out,
                (0, 0, 0.085 + 0.86 * rise) + reach * out,
            ],
            5,
        )
        width = 0.034 * np.clip(np.sin(np.pi * np.linspace(0, 1, len(spine)) ** 1.6), 0.08, 1)
        parts.append(_paint(leaf(f"leaf {k}", spine, width), greens[k % 3]))
    return parts


def sponge() -> Parts:
    foam = box("sponge foam", (0.110, 0.070, 0.024), 0.004)
    foam.location.z = 0.009
    scourer = box("sponge scourer", (0.110, 0.070, 0.010), 0.002)
    return [
        _paint(foam, materials.sponge("foam", (0.95, 0.80, 0.24), (0.70, 0.50, 0.08))),
        _paint(scourer, materials.speckled("scourer", (0.10, 0.32, 0.16), (0.20, 0.48, 0.24), 300, 0.5, 0.95, 0.8)),
    ]


def _gable(name: str, half: float, base: float, height: float) -> bpy.types.Object:
    """The roof of a carton: a prism whose ridge runs along x."""
    made = box(name, (2 * half, 2 * half, height))
    for vertex in made.data.vertices:
        if vertex.co.z > height / 2:
            vertex.co.y = 0.0015 * np.sign(vertex.co.y)
    made.location.z = base
    return made


def _paint(made: bpy.types.Object, material: bpy.types.Material) -> bpy.types.Object:
    made.data.materials.append(material)
    return made
