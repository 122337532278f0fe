"""Artwork for printed things (packets, labels, book covers, a rug, pictures), drawn with OpenCV's shapes and fonts.

Every function returns an [H, W, 3] uint8 RGB image, and is deterministic. Brands and titles are made up.
"""

from __future__ import annotations

import cv2
import numpy as np

Color = tuple[int, int, int]
CREAM, INK, RED, NAVY, MUSTARD, TEAL, LEAF = (
    (243, 234, 214),
    (38, 36, 44),
    (186, 44, 38),
    (32, 54, 98),
    (226, 168, 44),
    (26, 122, 120),
    (66, 122, 62),
)


def box_atlas(sides: list[np.ndarray], top: np.ndarray, tile: tuple[int, int] = (640, 512)) -> np.ndarray:
    """Lays artwork out as `meshes.box` unwraps it: front, right, back and left above; top and bottom below."""
    height, width = tile
    upper = np.hstack([cv2.resize(art, (width, height), interpolation=cv2.INTER_AREA) for art in sides])
    lower = np.hstack([cv2.resize(top, (2 * width, height // 4), interpolation=cv2.INTER_AREA)] * 2)
    return np.vstack([upper, lower])


def on_all_sides(art: np.ndarray, tile: tuple[int, int] = (640, 512)) -> np.ndarray:
    """The same artwork on all six faces of a box."""
    return box_atlas([art] * 4, art, tile)


def cereal_box() -> np.ndarray:
    front = _blank(760, 520, MUSTARD)
    for k in range(26):  # sun rays behind the bowl
        rim = np.radians(360 / 26 * np.array([k, k + 0.5]))
        ray = np.array([(0, 0), *zip(900 * np.cos(rim), 900 * np.sin(rim), strict=True)]) + (260, 470)
        cv2.fillPoly(front, [ray.astype(np.int32)], (240, 194, 84), cv2.LINE_AA)
    cv2.rectangle(front, (0, 40), (520, 235), RED, -1)
    _text(front, "ORBIT", (260, 108), 3.4, CREAM, 12)
    _text(front, "O A T S", (260, 196), 1.8, (250, 216, 120), 6)
    cv2.ellipse(front, (260, 540), (190, 70), 0, 0, 360, (250, 248, 240), -1, cv2.LINE_AA)
    cv2.ellipse(front, (260, 545), (190, 130), 0, 0, 180, (64, 98, 160), -1, cv2.LINE_AA)
    rng = np.random.default_rng(3)
    for _ in range(120):
        x, y = 260 + rng.uniform(-160, 160), 528 + rng.uniform(-48, 40)
        if ((x - 260) / 175) ** 2 + ((y - 535) / 58) ** 2 < 1:
            color = np.array([198, 140, 66]) * rng.uniform(0.75, 1.1)
            cv2.circle(front, (int(x), int(y)), 13, tuple(np.minimum(255, color).astype(int).tolist()), 7, cv2.LINE_AA)
    _text(front, "whole grain rings", (260, 280), 1.0, INK, 2)
    _text(front, "375 g", (440, 725), 1.0, INK, 3)
    side = _blank(760, 260, (228, 172, 58))
    cv2.rectangle(side, (24, 60), (236, 520), CREAM, -1)
    _text(side, "NUTRITION", (130, 100), 0.9, INK, 3)
    for k in range(12):
        cv2.line(side, (40, 140 + 30 * k), (220, 140 + 30 * k), INK, 1 + 2 * (k % 4 == 0))
        _text(side, f"{(k * 37) % 90 + 4}.{k % 10} g", (186, 128 + 30 * k + 30), 0.5, INK, 1)
    _barcode(side, (60, 580), (140, 110), seed=5)
    top = _blank(128, 520, RED)
    _text(top, "ORBIT OATS", (260, 64), 1.8, CREAM, 5)
    return box_atlas([front, side, front, side], top)


def milk_carton() -> np.ndarray:
    def face(text: str, seed: int) -> np.ndarray:
        art = _blank(720, 300, (238, 244, 248))
        rng = np.random.default_rng(seed)
        for _ in range(7):  # cow spots
            x, y = rng.uniform(0, 300), rng.uniform(330, 640)
            blob = [
                (x + rng.uniform(24, 58) * np.cos(a), y + rng.uniform(18, 46) * np.sin(a))
                for a in np.arange(0, 6.28, 0.5)
            ]
            cv2.fillPoly(art, [np.array(blob, np.int32)], INK, cv2.LINE_AA)
        cv2.rectangle(art, (0, 660), (300, 720), (96, 168, 84), -1)
        cv2.rectangle(art, (0, 0), (300, 90), (44, 98, 178), -1)
        _text(art, text, (150, 210), 2.2, (44, 98, 178), 9)
        _text(art, "fresh daily", (150, 275), 0.8, (44, 98, 178), 2)
        _text(art, "1 L", (150, 692), 1.2, CREAM, 4)
        return art

    top = _blank(160, 300, (44, 98, 178))
    return box_atlas([face("MILK", 1), face("LAIT", 2)] * 2, top)


def soup_can() -> np.ndarray:
    art = _blank(420, 1200, CREAM)
    art[:210] = RED
    cv2.line(art, (0, 212), (1200, 212), MUSTARD, 12)
    for x in (200, 800):
        _text(art, "SPLAT!", (x, 110), 2.6, CREAM, 10)
        _text(art, "tomato soup", (x, 300), 1.4, RED, 4)
        _text(art, "400 g", (x, 370), 0.9, INK, 2)
    for x in (500, 1100):
        cv2.circle(art, (x, 300), 78, (206, 60, 42), -1, cv2.LINE_AA)
        cv2.circle(art, (x - 24, 276), 16, (238, 140, 118), -1, cv2.LINE_AA)
        for a in np.arange(0, 6.28, 1.05):
            cv2.line(art, (x, 226), (int(x + 46 * np.cos(a)), int(232 + 22 * np.sin(a))), LEAF, 9, cv2.LINE_AA)
    _barcode(art, (960, 330), (90, 60), seed=8)
    return art


def bottle_label() -> np.ndarray:
    art = _blank(420, 1200, (232, 222, 196))
    for y in (16, 30, 390, 404):
        cv2.line(art, (0, y), (1200, y), (150, 112, 46), 4)
    for x in (300, 900):
        for k in range(5):  # a row of hills and a sun
            centre, axes, green = (x - 170 + 85 * k, 330), (74, 70 + 14 * (k % 3)), (110 - 9 * k, 128, 84)
            cv2.ellipse(art, centre, axes, 0, 180, 360, green, -1, cv2.LINE_AA)
        cv2.circle(art, (x + 90, 214), 32, (206, 126, 44), -1, cv2.LINE_AA)
        _text(art, "Val di Gauss", (x, 100), 1.9, (98, 32, 38), 4, cv2.FONT_HERSHEY_TRIPLEX)
        _text(art, "extra virgin", (x, 168), 0.9, INK, 2)
        _text(art, "0.75 L", (x, 366), 0.7, INK, 2)
    return art


def tea_tin() -> np.ndarray:
    face = _blank(640, 512, (24, 88, 92))
    for row in range(12):
        for column in range(10):
            x, y = 28 + 52 * column + 26 * (row % 2), 20 + 56 * row
            cv2.ellipse(face, (x, y), (22, 9), 45 + 90 * ((row + column) % 2), 0, 360, (46, 126, 122), -1, cv2.LINE_AA)
    cv2.ellipse(face, (256, 320), (186, 150), 0, 0, 360, (236, 220, 176), -1, cv2.LINE_AA)
    cv2.ellipse(face, (256, 320), (170, 135), 0, 0, 360, (170, 126, 52), 4, cv2.LINE_AA)
    _text(face, "EARL", (256, 290), 2.2, (24, 88, 92), 6, cv2.FONT_HERSHEY_TRIPLEX)
    _text(face, "GREY", (256, 368), 2.2, (24, 88, 92), 6, cv2.FONT_HERSHEY_TRIPLEX)
    return box_atlas([face] * 4, _blank(128, 512, (176, 134, 60)))


def book(title: str, cover: Color, accent: Color, seed: int) -> np.ndarray:
    """A closed book lying flat: spine to the front, paper on the other sides, the cover on top."""
    rng = np.random.default_rng(seed)
    top = _blank(820, 1120, cover)
    for _ in range(9):
        centre, radius = rng.uniform((150, 330), (970, 720)), int(rng.uniform(30, 130))
        cv2.circle(top, tuple(centre.astype(int).tolist()), radius, accent, int(rng.choice([-1, 8, 8])), cv2.LINE_AA)
    cv2.rectangle(top, (0, 60), (1120, 270), tuple(int(c * 0.8) for c in cover), -1)
    _text(top, title, (560, 168), 2.6, CREAM, 8, cv2.FONT_HERSHEY_DUPLEX)
    cv2.rectangle(top, (22, 22), (1097, 797), accent, 5)
    spine = _blank(120, 900, cover)
    _text(spine, title, (400, 62), 2.0, CREAM, 6, cv2.FONT_HERSHEY_DUPLEX)
    cv2.rectangle(spine, (800, 10), (840, 110), accent, -1)
    pages = np.repeat(rng.normal(0, 9, (120, 1, 1)), 900, 1) + np.array([228, 220, 200])
    pages = np.clip(pages + rng.normal(0, 5, (120, 900, 1)), 0, 255).astype(np.uint8)
    pages[:9] = pages[-9:] = cover
    return box_atlas([spine, pages, pages, pages], top, (1024, 640))


def toy_block(letter: str, color: Color) -> np.ndarray:
    face = _blank(256, 256, color)
    cv2.rectangle(face, (22, 22), (233, 233), CREAM, 9)
    _text(face, letter, (128, 128), 5.0, CREAM, 18, cv2.FONT_HERSHEY_DUPLEX)
    return on_all_sides(face, (256, 256))


def bowl_glaze() -> np.ndarray:
    """Cream glaze with a blue painted band, for a lathed bowl: v runs up the outside and down the inside."""
    art = _blank(512, 1600, (238, 230, 214))
    rng = np.random.default_rng(11)
    speckle = rng.random((512, 1600)) < 0.006
    art[cv2.dilate(speckle.astype(np.uint8), np.ones((2, 2))) > 0] = (150, 128, 98)
    for row in (300, 322, 400):
        cv2.line(art, (0, row), (1600, row), NAVY, 6)
    for k in range(20):
        x = 40 + 80 * k
        diamond = np.array([(x - 32, 361), (x, 331), (x + 32, 361), (x, 391)])
        cv2.fillPoly(art, [diamond], (52, 92, 150) if k % 2 else (186, 92, 58), cv2.LINE_AA)
    return art


def mug_glaze() -> np.ndarray:
    """Two-tone stoneware with a dripping edge and painted dots; v runs up the outside and down the inside."""
    art = _blank(512, 1024, (206, 196, 178))
    rng = np.random.default_rng(21)
    around = np.arange(1024) / 1024 * 2 * np.pi
    drip = 330 + 26 * np.sin(around * 5) + 10 * np.sin(around * 13)
    rows = np.arange(512)[:, None]
    art[rows < drip] = (38, 86, 128)  # rows go down: the upper part of the mug
    for _ in range(900):
        x, y = rng.integers(0, 1024), rng.integers(0, 512)
        cv2.circle(art, (int(x), int(y)), int(rng.integers(1, 3)), (88, 74, 60) if y > drip[x] else (96, 150, 186), -1)
    for k in range(16):
        cv2.circle(art, (32 + 64 * k, 430), 11, (178, 78, 52), -1, cv2.LINE_AA)
    return art


def rug() -> np.ndarray:
    """A woven rug: bands, diamonds and a visible weave."""
    art = _blank(900, 1200, (150, 58, 48))
    for inset, color in ((0, NAVY), (36, CREAM), (52, (170, 74, 56)), (110, MUSTARD), (122, (60, 72, 104))):
        cv2.rectangle(art, (inset, inset), (1199 - inset, 899 - inset), color, -1)
    for row in range(7):
        for column in range(10):
            x, y = 165 + 97 * column, 165 + 95 * row
            for size, color in ((44, CREAM), (32, (168, 66, 50)), (18, MUSTARD), (8, NAVY)):
                cv2.fillPoly(art, [np.array([(x - size, y), (x, y - size), (x + size, y), (x, y + size)])], color)
    for k in range(-1, 60):
        cv2.fillPoly(art, [np.array([(60 + 20 * k, 100), (70 + 20 * k, 62), (80 + 20 * k, 100)])], CREAM)
        cv2.fillPoly(art, [np.array([(60 + 20 * k, 800), (70 + 20 * k, 838), (80 + 20 * k, 800)])], CREAM)
    threads = (np.arange(1200) // 3 + np.arange(900)[:, None] // 3) % 2
    weave = np.random.default_rng(4).normal(0, 11, (900, 1200)) + 9 * threads
    return np.clip(art + weave[..., None], 0, 255).astype(np.uint8)


def abstract_picture(seed: int) -> np.ndarray:
    """Overlapping translucent shapes on paper."""
    rng = np.random.default_rng(seed)
    art = _blank(700, 520, CREAM)
    palette = [RED, NAVY, MUSTARD, TEAL, (222, 140, 110), INK]
    for _ in range(16):
        layer = art.copy()
        centre = tuple(int(v) for v in rng.uniform((60, 60), (460, 640)))
        color = palette[rng.integers(len(palette))]
        if rng.random() < 0.5:
            cv2.circle(layer, centre, int(rng.uniform(25, 110)), color, -1, cv2.LINE_AA)
        else:
            corners = cv2.boxPoints((centre, tuple(rng.uniform(20, 240, 2)), rng.uniform(0, 180)))
            cv2.fillPoly(layer, [corners.astype(np.int32)], color, cv2.LINE_AA)
        art = cv2.addWeighted(layer, 0.8, art, 0.2, 0)
    return art


def sky() -> np.ndarray:
    """What the window shows: a bright sky, soft clouds, wooded hills."""
    rng = np.random.default_rng(6)
    height, width = 300, 400
    art = np.linspace((150, 190, 240), (225, 236, 246), height)[:, None].repeat(width, 1)
    octaves = [rng.random((4 * 2**k, 6 * 2**k)) / 2**k for k in range(5)]
    cloud = sum(cv2.resize(octave, (width, height), interpolation=cv2.INTER_CUBIC) for octave in octaves)
    cloud = np.clip((cloud - cloud.mean()) * 2.2, 0, 1)[..., None]
    art = art * (1 - cloud) + 255 * cloud
    column = np.arange(width) / width * 2 * np.pi
    ridges = ((170, (126, 152, 138), (2, 5, 9)), (205, (92, 130, 84), (3, 7, 17)), (245, (66, 104, 52), (2, 11, 23)))
    for crest, color, waves in ridges:
        edge = crest + sum(9 / (k + 1) * np.sin(wave * column + crest + k) for k, wave in enumerate(waves))
        leaves = cv2.GaussianBlur(rng.normal(0, 1, (height, width)), (0, 0), 2)[..., None] * 120
        art = np.where((np.arange(height)[:, None] > edge)[..., None], np.array(color) + leaves, art)
    return np.clip(art, 0, 255).astype(np.uint8)


def _blank(height: int, width: int, color: Color) -> np.ndarray:
    return np.full((height, width, 3), color, np.uint8)


def _text(
    image: np.ndarray,
    text: str,
    centre: tuple[int, int],
    scale: float,
    color: Color,
    thickness: int,
    font: int = cv2.FONT_HERSHEY_SIMPLEX,
) -> None:
    (width, height), _ = cv2.getTextSize(text, font, scale, thickness)
    origin = (int(centre[0] - width / 2), int(centre[1] + height / 2))
    cv2.putText(image, text, origin, font, scale, color, thickness, cv2.LINE_AA)


def _barcode(image: np.ndarray, corner: tuple[int, int], size: tuple[int, int], seed: int) -> None:
    (x, y), (width, height) = corner, size
    cv2.rectangle(image, (x - 6, y - 6), (x + width + 6, y + height + 6), (255, 255, 255), -1)
    for column in np.flatnonzero(np.random.default_rng(seed).random(width // 3) < 0.5):
        cv2.rectangle(image, (x + 3 * int(column), y), (x + 3 * int(column) + 2, y + height), INK, -1)
