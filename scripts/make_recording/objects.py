"""The things on the table. Each function models one object standing on z = 0 at the origin and returns its parts."""
from __future__ import annotations

import bpy
import numpy as np

from make_recording import materials, prints
from make_recording.meshes import box, curve, lathe, leaf, tube

Parts = list[bpy.types.Object]


def mug() -> Parts:
    body = lathe("mug", curve([(0, 0.004), (0.030, 0.0), (0.037, 0.004), (0.041, 0.03), (0.042, 0.07), (0.043, 0.096),
                               (0.041, 0.098), (0.039, 0.095), (0.037, 0.03), (0.030, 0.008), (0, 0.007)]))
    coffee = lathe("coffee", [(0.0385, 0.074), (0, 0.074)])
    handle = tube("mug handle", curve([(0.040, 0, 0.080), (0.058, 0, 0.084), (0.072, 0, 0.066), (0.068, 0, 0.040),
                                       (0.052, 0, 0.026), (0.039, 0, 0.026)]), 0.0058)
    glaze = {"Coat Weight": 0.5}
    return [_paint(body, materials.printed("mug glaze", prints.mug_glaze(), 0.3, **glaze)),
            _paint(coffee, materials.plain("coffee", (0.16, 0.09, 0.05), 0.12)),
            _paint(handle, materials.plain("mug handle", (0.15, 0.34, 0.50), 0.3, **glaze))]


def bowl() -> Parts:
    body = lathe("bowl", curve([(0, 0.006), (0.030, 0.006), (0.034, 0.0), (0.040, 0.004), (0.062, 0.020), (0.082, 0.044),
                                (0.092, 0.068), (0.090, 0.0705), (0.087, 0.068), (0.076, 0.044), (0.056, 0.021), (0, 0.012)]))
    return [_paint(body, materials.printed("bowl glaze", prints.bowl_glaze(), 0.3, **{"Coat Weight": 0.4}))]


def orange() -> Parts:
    body = lathe("orange", curve([(0, 0.002), (0.020, 0.004), (0.035, 0.018), (0.039, 0.037), (0.034, 0.058), (0.018, 0.071), (0.004, 0.072), (0, 0.070)]))
    stalk = lathe("orange stalk", [(0.003, 0.069), (0.003, 0.0725), (0, 0.073)], 12)
    return [_paint(body, materials.speckled("orange peel", (0.91, 0.45, 0.06), (0.96, 0.56, 0.14), 260, 0.5, 0.4, 0.5)),
            _paint(stalk, materials.plain("orange stalk", (0.32, 0.38, 0.14), 0.7))]


def lemon() -> Parts:
    body = lathe("lemon", curve([(0, 0.0), (0.006, 0.001), (0.011, 0.008), (0.024, 0.022), (0.0285, 0.042), (0.023, 0.063), (0.010, 0.077), (0.006, 0.083), (0, 0.084)]))
    return [_paint(body, materials.speckled("lemon peel", (0.93, 0.79, 0.16), (0.87, 0.70, 0.10), 230, 0.5, 0.38, 0.4))]


def apple() -> Parts:
    body = lathe("apple", curve([(0, 0.010), (0.010, 0.001), (0.022, 0.003), (0.036, 0.024), (0.040, 0.045), (0.034, 0.064), (0.020, 0.073), (0.008, 0.069), (0, 0.062)]))
    stem = tube("apple stem", curve([(0, 0, 0.062), (0.001, 0, 0.074), (0.006, 0, 0.086)]), 0.0014, 8)
    return [_paint(body, materials.gradient_skin("apple skin", (0.78, 0.70, 0.22), (0.66, 0.08, 0.08), (0.90, 0.62, 0.26), 0.075)),
            _paint(stem, materials.plain("apple stem", (0.26, 0.17, 0.09), 0.8))]


def oil_bottle() -> Parts:
    glass = lathe("bottle", curve([(0, 0.0), (0.033, 0.001), (0.0365, 0.006), (0.037, 0.09), (0.037, 0.165), (0.033, 0.188),
                                   (0.019, 0.212), (0.0145, 0.232), (0.0142, 0.262)]))
    label = lathe("bottle label", [(0.0374, 0.045), (0.0374, 0.125)])
    cap = lathe("bottle cap", [(0.0155, 0.256), (0.0165, 0.258), (0.0165, 0.284), (0.0155, 0.287), (0, 0.287)])
    return [_paint(glass, materials.plain("dark glass", (0.10, 0.17, 0.07), 0.08, **{"Coat Weight": 0.6})),
            _paint(label, materials.printed("bottle label", prints.bottle_label(), 0.6)),
            _paint(cap, materials.plain("bottle cap", (0.60, 0.48, 0.24), 0.3, Metallic=0.8))]


def soup_can() -> Parts:
    label = lathe("can label", [(0.0330, 0.005), (0.0330, 0.097)])
    metal = lathe("can", [(0, 0.002), (0.031, 0.002), (0.0333, 0.0), (0.0338, 0.002), (0.0325, 0.005), (0.0325, 0.097),
                          (0.0338, 0.100), (0.0333, 0.102), (0.0315, 0.101), (0.0308, 0.097), (0.024, 0.097), (0.023, 0.0978), (0, 0.0978)])
    ring = tube("can ring", [(0.012 + 0.009 * np.cos(a), 0.007 * np.sin(a), 0.0992) for a in np.linspace(0, 6.28, 24)], 0.0011, 8)
    steel = materials.plain("tinned steel", (0.70, 0.70, 0.71), 0.32, Metallic=0.9)
    return [_paint(label, materials.printed("can label", prints.soup_can(), 0.45)), _paint(metal, steel), _paint(ring, steel)]


def cereal_box() -> Parts:
    return [_paint(box("cereal box", (0.19, 0.06, 0.28), 0.001), materials.printed("cereal print", prints.cereal_box(), 0.45))]


def milk_carton() -> Parts:
    body = box("carton", (0.072, 0.072, 0.165), 0.001)
    print_ = materials.printed("carton print", prints.milk_carton(), 0.4)
    gable = _gable("carton gable", 0.036, 0.165, 0.036)
    fin = box("carton fin", (0.072, 0.003, 0.020))
    fin.location.z = 0.200
    cap = lathe("carton cap", [(0.013, 0.0), (0.013, 0.012), (0.012, 0.0135), (0, 0.0135)], 32)
    cap.location, cap.rotation_euler = (0, -0.0175, 0.182), (np.radians(45), 0, 0)
    blue = materials.plain("carton blue", (0.17, 0.38, 0.70), 0.4)
    return [_paint(body, print_), _paint(gable, blue), _paint(fin, blue), _paint(cap, materials.plain("carton cap", (0.88, 0.30, 0.22), 0.35))]


def book(title: str, size: tuple[float, float, float], cover, accent, seed: int) -> Parts:
    print_ = materials.printed(title, prints.book(title, cover, accent, seed), 0.5, 0.05)
    return [_paint(box(title, size, 0.0012), print_)]


def tea_tin() -> Parts:
    tin = box("tea tin", (0.075, 0.075, 0.085), 0.003)
    lid = box("tea tin lid", (0.077, 0.077, 0.018), 0.003)
    lid.location.z = 0.083
    return [_paint(tin, materials.printed("tea tin print", prints.tea_tin(), 0.35)),
            _paint(lid, materials.plain("brass lid", (0.66, 0.51, 0.24), 0.3, Metallic=0.7))]


def teapot() -> Parts:
    body = lathe("teapot", curve([(0, 0.003), (0.045, 0.0), (0.050, 0.006), (0.074, 0.035), (0.080, 0.062), (0.070, 0.094), (0.046, 0.112), (0.038, 0.114)]))
    lid = lathe("teapot lid", curve([(0.041, 0.113), (0.040, 0.117), (0.026, 0.126), (0.009, 0.131), (0.007, 0.136), (0.013, 0.143), (0.011, 0.151), (0, 0.153)]))
    spout = tube("teapot spout", curve([(0.066, 0, 0.040), (0.092, 0, 0.056), (0.108, 0, 0.086), (0.128, 0, 0.108)]),
                 np.interp(np.linspace(0, 1, 25), [0, 0.4, 1], [0.021, 0.013, 0.0085]))
    handle = tube("teapot handle", curve([(-0.066, 0, 0.096), (-0.098, 0, 0.106), (-0.122, 0, 0.084), (-0.112, 0, 0.048), (-0.070, 0, 0.030)]), 0.0075)
    white = materials.plain("white china", (0.90, 0.89, 0.86), 0.18, **{"Coat Weight": 0.5})
    return [_paint(part, white) for part in (body, lid, spout, handle)]


def toy_block(letter: str, color) -> Parts:
    return [_paint(box(f"block {letter}", (0.05, 0.05, 0.05), 0.003), materials.printed(f"block {letter}", prints.toy_block(letter, color), 0.4))]


def pen_holder() -> Parts:
    cup = lathe("pen holder", [(0, 0), (0.040, 0), (0.041, 0.001), (0.041, 0.100), (0.038, 0.100), (0.037, 0.004), (0, 0.004)])
    parts = [_paint(cup, materials.wood("holder bamboo", (0.62, 0.42, 0.20), (0.84, 0.68, 0.42), 12.0, axis=(6, 6, 0.5)))]
    pens = [((0.80, 0.13, 0.13), 0.4, 0.17), ((0.10, 0.22, 0.56), 2.1, 0.165), ((0.95, 0.74, 0.15), 3.4, 0.185), ((0.14, 0.48, 0.28), 5.2, 0.175)]
    for k, (color, angle, length) in enumerate(pens):
        direction = np.array([np.cos(angle), np.sin(angle)])
        foot, lean = np.array([*(-0.026 * direction), 0.008]), np.array([*(0.30 * direction), 0.95])
        tip = foot + lean / np.linalg.norm(lean) * length
        shaft = tube(f"pen {k}", [foot, foot + 0.88 * (tip - foot), foot + 0.881 * (tip - foot), tip], [0.0042, 0.0042, 0.0036, 0.0012], 10)
        parts.append(_paint(shaft, materials.plain(f"pen {k}", color, 0.35)))
    return parts


def plant() -> Parts:
    pot = lathe("plant pot", [(0, 0), (0.048, 0), (0.050, 0.002), (0.062, 0.085), (0.068, 0.086), (0.070, 0.110), (0.063, 0.110), (0.060, 0.090), (0, 0.090)])
    soil = lathe("soil", [(0.0615, 0.098), (0, 0.101)])
    parts = [_paint(pot, materials.speckled("terracotta", (0.70, 0.38, 0.26), (0.78, 0.50, 0.38), 40, 0.4, 0.85, 0.2)),
             _paint(soil, materials.speckled("soil", (0.10, 0.07, 0.05), (0.26, 0.19, 0.13), 160, 0.5, 0.95, 0.8))]
    rng = np.random.default_rng(12)
    greens = [materials.speckled(f"leaf {k}", base, rib, 55, 0.4, 0.4) for k, (base, rib) in enumerate(
        [((0.16, 0.40, 0.14), (0.34, 0.56, 0.22)), ((0.22, 0.46, 0.18), (0.44, 0.62, 0.28)), ((0.12, 0.33, 0.16), (0.24, 0.46, 0.20))])]
    for k in range(15):
        angle, reach, rise = 2.4 * k + rng.uniform(-0.3, 0.3), rng.uniform(0.045, 0.115), rng.uniform(0.06, 0.17) * (1 - 0.02 * k)
        out = np.array([np.cos(angle), np.sin(angle), 0])
        spine = curve([(0, 0, 0.095) + 0.012 * out, (0, 0, 0.095 + 0.6 * rise) + 0.25 * reach * out,
                       (0, 0, 0.095 + rise) + 0.65 * reach * out, (0, 0, 0.085 + 0.86 * rise) + reach * out], 5)
        width = 0.034 * np.clip(np.sin(np.pi * np.linspace(0, 1, len(spine)) ** 1.6), 0.08, 1)
        parts.append(_paint(leaf(f"leaf {k}", spine, width), greens[k % 3]))
    return parts


def sponge() -> Parts:
    foam = box("sponge foam", (0.110, 0.070, 0.024), 0.004)
    foam.location.z = 0.009
    scourer = box("sponge scourer", (0.110, 0.070, 0.010), 0.002)
    return [_paint(foam, materials.sponge("foam", (0.95, 0.80, 0.24), (0.70, 0.50, 0.08))),
            _paint(scourer, materials.speckled("scourer", (0.10, 0.32, 0.16), (0.20, 0.48, 0.24), 300, 0.5, 0.95, 0.8))]


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
