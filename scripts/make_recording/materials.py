"""Procedural materials: wood, ceramic, fabric, paint, skins, print on paper. Shader nodes, no image files."""

from __future__ import annotations

import bpy
import numpy as np

Color = tuple[float, float, float]  # sRGB, 0..1


def plain(name: str, color: Color, roughness: float = 0.5, **principled: float) -> bpy.types.Material:
    """One colour; further inputs of the principled shader by name ("Metallic", "Coat Weight", "Subsurface Weight")."""
    graph = _Graph(name)
    return graph.finish(_linear(color), roughness, **principled)


def printed(
    name: str, image: np.ndarray, roughness: float = 0.4, bump: float = 0.0, **principled: float
) -> bpy.types.Material:
    """An image [H, W, 3] uint8 RGB over the mesh's UVs, optionally with a fine paper-like bump."""
    graph = _Graph(name)
    texture = graph.node("ShaderNodeTexImage")
    texture.image = _image(name, image)
    normal = graph.bump(graph.noise(600.0, 3.0, source="Object"), bump) if bump else None
    return graph.finish(texture.outputs["Color"], roughness, normal=normal, **principled)


def speckled(
    name: str,
    base: Color,
    spots: Color,
    scale: float = 90.0,
    share: float = 0.35,
    roughness: float = 0.25,
    bump: float = 0.0,
    **principled: float,
) -> bpy.types.Material:
    """Glaze, peel, stone: two colours mixed by noise, the second over about `share` of the surface."""
    graph = _Graph(name)
    noise = graph.noise(scale, 6.0, source="Object")
    color = graph.ramp(noise, [(0.62 - 0.3 * share, base), (0.72 - 0.3 * share, spots)])
    normal = graph.bump(graph.noise(scale * 2.0, 2.0, source="Object"), bump) if bump else None
    return graph.finish(color, roughness, normal=normal, **principled)


def gradient_skin(name: str, low: Color, high: Color, streaks: Color, height: float) -> bpy.types.Material:
    """A fruit's skin: one colour fading into another over its height [m], with streaks running from pole to pole."""
    graph = _Graph(name)
    z = graph.separate(graph.coordinates("Object"))["Z"]
    noise = graph.noise(28.0, 4.0, source="Object")
    mixed = graph.math("ADD", graph.math("MULTIPLY", z, 1.0 / height), graph.math("MULTIPLY", noise, 0.7))
    base = graph.ramp(mixed, [(0.45, low), (0.95, high)])
    streak = graph.noise(9.0, 5.0, source="UV", stretch=(14.0, 0.8, 1.0))
    color = graph.mix(graph.ramp(streak, [(0.55, (0, 0, 0)), (0.75, (0.6, 0.6, 0.6))]), base, _linear(streaks))
    return graph.finish(color, 0.28, **{"Subsurface Weight": 0.0, "Coat Weight": 0.15})


def wood(
    name: str,
    dark: Color,
    light: Color,
    scale: float = 1.0,
    roughness: float = 0.38,
    axis: tuple[float, float, float] = (1.0, 9.0, 9.0),
) -> bpy.types.Material:
    """Long grain: noise stretched along one axis bends the rings, finer noise draws the pores."""
    graph = _Graph(name)
    stretch = tuple(scale * a for a in axis)
    rings = graph.noise(2.2, 3.0, source="Object", stretch=stretch, distortion=1.2)
    lines = graph.math("FRACT", graph.math("MULTIPLY", rings, 9.0))
    pores = graph.noise(16.0, 5.0, source="Object", stretch=stretch)
    tone = graph.math("ADD", graph.math("MULTIPLY", lines, 0.45), graph.math("MULTIPLY", pores, 0.75))
    color = graph.ramp(tone, [(0.25, dark), (0.85, light)])
    return graph.finish(color, roughness, normal=graph.bump(pores, 0.08))


def planks(name: str, dark: Color, light: Color) -> bpy.types.Material:
    """A floor of staggered boards, 12 cm by 90 cm, each of its own tone."""
    graph = _Graph(name)
    bricks = graph.node("ShaderNodeTexBrick")
    dark_gray, light_gray, black = (0.05, 0.05, 0.05, 1), (0.95, 0.95, 0.95, 1), (0, 0, 0, 1)
    for socket, value in (
        ("Scale", 1.0),
        ("Brick Width", 0.9),
        ("Row Height", 0.12),
        ("Mortar Size", 0.002),
        ("Color1", dark_gray),
        ("Color2", light_gray),
        ("Mortar", black),
    ):
        bricks.inputs[socket].default_value = value
    graph.link(graph.coordinates("Object"), bricks.inputs["Vector"])
    grain = graph.noise(7.0, 5.0, source="Object", stretch=(1.0, 14.0, 1.0), distortion=0.6)
    tone = graph.math("ADD", graph.math("MULTIPLY", bricks.outputs["Color"], 0.35), graph.math("MULTIPLY", grain, 0.8))
    color = graph.ramp(tone, [(0.2, dark), (0.9, light)])
    color = graph.mix(bricks.outputs["Fac"], color, _linear((0.12, 0.08, 0.06)))
    return graph.finish(color, 0.42, normal=graph.bump(grain, 0.05))


def tiles(name: str, color: Color, joint: Color, width: float, height: float) -> bpy.types.Material:
    """Glazed tiles of width and height [m] in running bond, on a wall whose normal is along y."""
    graph = _Graph(name)
    bricks = graph.node("ShaderNodeTexBrick")
    tint = np.array(_linear(color))
    for socket, value in (
        ("Scale", 1.0),
        ("Brick Width", width),
        ("Row Height", height),
        ("Mortar Size", 0.003),
        ("Color1", tint),
        ("Color2", tint * (0.62, 0.70, 0.76, 1)),
        ("Mortar", _linear(joint)),
    ):
        bricks.inputs[socket].default_value = value
    along = graph.separate(graph.coordinates("Object"))
    plane = graph.node("ShaderNodeCombineXYZ")
    graph.link(along["X"], plane.inputs["X"])
    graph.link(along["Z"], plane.inputs["Y"])
    graph.link(plane.outputs["Vector"], bricks.inputs["Vector"])
    clouds = graph.noise(6.0, 5.0, source="Object")
    color = graph.mix(graph.math("MULTIPLY", clouds, 0.5), bricks.outputs["Color"], _linear(joint))
    return graph.finish(color, 0.25, normal=graph.bump(bricks.outputs["Fac"], -0.3))


def plaster(name: str, color: Color, roughness: float = 0.8) -> bpy.types.Material:
    """Painted plaster: nearly one colour, soft clouds and a fine roller texture."""
    graph = _Graph(name)
    clouds = graph.noise(3.0, 6.0, source="Object")
    shade = np.array(color)
    mixed = graph.ramp(clouds, [(0.3, tuple(shade * 0.88)), (0.7, tuple(np.minimum(shade * 1.05, 1)))])
    return graph.finish(mixed, roughness, normal=graph.bump(graph.noise(140.0, 3.0, source="Object"), 0.15))


def sponge(name: str, color: Color, pore: Color) -> bpy.types.Material:
    """Open cells: dark pits where a Voronoi pattern is close to its points."""
    graph = _Graph(name)
    cells = graph.node("ShaderNodeTexVoronoi")
    cells.inputs["Scale"].default_value = 170.0
    graph.link(graph.coordinates("Object"), cells.inputs["Vector"])
    unevenness = graph.math("MULTIPLY", graph.noise(60.0, 3.0, source="Object"), 0.5)
    distance = graph.math("ADD", cells.outputs["Distance"], unevenness)
    tone = graph.ramp(distance, [(0.38, pore), (0.55, color)])
    return graph.finish(tone, 0.9, normal=graph.bump(distance, 0.6))


def emitter(name: str, image: np.ndarray, strength: float) -> bpy.types.Material:
    """A luminous picture [H, W, 3] uint8 RGB, such as the sky behind a window."""
    graph = _Graph(name)
    texture = graph.node("ShaderNodeTexImage")
    texture.image = _image(name, image)
    emission = graph.node("ShaderNodeEmission")
    emission.inputs["Strength"].default_value = strength
    graph.link(texture.outputs["Color"], emission.inputs["Color"])
    graph.link(emission.outputs["Emission"], graph.output.inputs["Surface"])
    return graph.material


class _Graph:
    """A material under construction; wraps the few node patterns that the functions above share."""

    def __init__(self, name: str) -> None:
        self.material = bpy.data.materials.new(name)
        self.tree = self.material.node_tree
        self.tree.nodes.clear()
        self.output = self.node("ShaderNodeOutputMaterial")

    def node(self, kind: str) -> bpy.types.Node:
        return self.tree.nodes.new(kind)

    def link(self, source, target) -> None:
        self.tree.links.new(source, target)

    def coordinates(self, source: str):
        return self.node("ShaderNodeTexCoord").outputs[source]

    def separate(self, vector) -> dict:
        node = self.node("ShaderNodeSeparateXYZ")
        self.link(vector, node.inputs[0])
        return {axis: node.outputs[axis] for axis in "XYZ"}

    def math(self, operation: str, a, b=None):
        node = self.node("ShaderNodeMath")
        node.operation = operation
        for socket, value in zip(node.inputs, (a, b), strict=False):
            if isinstance(value, bpy.types.NodeSocket):
                self.link(value, socket)
            elif value is not None:
                socket.default_value = value
        return node.outputs[0]

    def noise(self, scale: float, detail: float, source: str = "Object", stretch=None, distortion: float = 0.0):
        node = self.node("ShaderNodeTexNoise")
        node.inputs["Scale"].default_value = scale
        node.inputs["Detail"].default_value = detail
        node.inputs["Distortion"].default_value = distortion
        vector = self.coordinates(source)
        if stretch is not None:
            mapping = self.node("ShaderNodeMapping")
            mapping.inputs["Scale"].default_value = stretch
            self.link(vector, mapping.inputs["Vector"])
            vector = mapping.outputs["Vector"]
        self.link(vector, node.inputs["Vector"])
        return node.outputs["Fac"]

    def ramp(self, factor, stops: list[tuple[float, Color]]):
        node = self.node("ShaderNodeValToRGB")
        elements = node.color_ramp.elements
        for element, (position, color) in zip(elements, stops, strict=True):
            element.position, element.color = position, _linear(color)
        self.link(factor, node.inputs["Fac"])
        return node.outputs["Color"]

    def mix(self, factor, first, second):
        node = self.node("ShaderNodeMix")
        node.data_type = "RGBA"
        self.link(factor, node.inputs[0])
        for socket, value in ((node.inputs[6], first), (node.inputs[7], second)):
            if isinstance(value, bpy.types.NodeSocket):
                self.link(value, socket)
            else:
                socket.default_value = value
        return node.outputs[2]

    def bump(self, height, strength: float):
        node = self.node("ShaderNodeBump")
        node.inputs["Strength"].default_value = strength
        node.inputs["Distance"].default_value = 0.002
        self.link(height, node.inputs["Height"])
        return node.outputs["Normal"]

    def finish(self, color, roughness: float, normal=None, **principled: float) -> bpy.types.Material:
        shader = self.node("ShaderNodeBsdfPrincipled")
        if isinstance(color, bpy.types.NodeSocket):
            self.link(color, shader.inputs["Base Color"])
        else:
            shader.inputs["Base Color"].default_value = color
        shader.inputs["Roughness"].default_value = roughness
        for socket, value in principled.items():
            shader.inputs[socket].default_value = value
        if normal is not None:
            self.link(normal, shader.inputs["Normal"])
        self.link(shader.outputs["BSDF"], self.output.inputs["Surface"])
        return self.material


def _linear(color) -> tuple[float, float, float, float]:
    """sRGB to Blender's linear scene colour (IEC 61966-2-1), with alpha."""
    c = np.asarray(color, float)[:3]
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    return (*linear.tolist(), 1.0)


def _image(name: str, pixels: np.ndarray) -> bpy.types.Image:
    height, width = pixels.shape[:2]
    image = bpy.data.images.new(name, width, height)  # 8 bit sRGB
    rgba = np.ones((height, width, 4), np.float32)
    rgba[..., :3] = pixels[::-1] / 255.0  # Blender's rows go up
    image.pixels.foreach_set(rgba.ravel())
    image.pack()
    return image
