"""Renders the sequence into a folder: images, exact depth and instance ids, poses, intrinsics, labels.

    PYTHONPATH=scripts nice python -m make_recording.render build/tabletop

Run it with a Python that has Blender's `bpy` (docs/recording.md). A frame that is already there is not rendered again,
so an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import bpy
import cv2
import numpy as np
from mathutils import Matrix

from make_recording import scene
from make_recording.camera_path import FRAME_RATE, START_STAMP, CameraPath, quaternion_xyzw

WIDTH, HEIGHT, FOCAL = 640, 480, 585.0  # pixels
BLENDER_FROM_OPTICAL = np.diag([1.0, -1.0, -1.0, 1.0])  # Blender's camera looks along -z with y up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--samples", type=int, default=8, help="light paths per pixel, before denoising")
    parser.add_argument("--scale", type=float, default=1.0, help="of the image size; less than 1 is for a quick look")
    parser.add_argument("--threads", type=int, default=0, help="0 takes all cores")
    parser.add_argument("--only", type=int, nargs="*", help="render these frames only")
    options = parser.parse_args()

    bpy.ops.wm.read_factory_settings(use_empty=True)
    labels = scene.build()
    width, height = round(WIDTH * options.scale), round(HEIGHT * options.scale)
    camera = _camera(width, height, options.threads)
    for name in ("images", "depth", "instances"):
        (options.folder / name).mkdir(parents=True, exist_ok=True)
    _write_json(options.folder / "labels.json", {str(i): {"name": n, "kind": k} for i, (n, k) in labels.items()})
    focal = FOCAL * options.scale
    intrinsics = {
        "fx": focal,
        "fy": focal,
        "cx": (width - 1) / 2,
        "cy": (height - 1) / 2,
        "width": width,
        "height": height,
        "distortion_model": "plumb_bob",
        "distortion": [0.0] * 5,
    }
    _refuse_other_size(parser, options.folder / "intrinsics.json", intrinsics)
    _write_json(options.folder / "intrinsics.json", intrinsics)
    path = CameraPath(duration=options.frames / FRAME_RATE)
    for index in options.only or range(options.frames):
        started = time.monotonic()
        name = f"{index:04d}.png"
        if not (options.folder / "images" / name).exists():
            camera.matrix_world = Matrix((path.map_from_optical(index / FRAME_RATE) @ BLENDER_FROM_OPTICAL).tolist())
            depth, instances = _render_geometry()
            _write_png(options.folder / "depth" / name, np.round(depth * 1000).astype(np.uint16))
            _write_png(options.folder / "instances" / name, instances)
            _write_png(options.folder / "images" / name, _render_color(options.samples))  # last: the frame is done
        _write_poses(options.folder, path, options.frames)
        print(f"frame {index + 1} of {options.frames}: {time.monotonic() - started:.1f} s", flush=True)


def _refuse_other_size(parser: argparse.ArgumentParser, path: Path, intrinsics: dict) -> None:
    if path.exists() and json.loads(path.read_text()) != intrinsics:
        parser.error(f"{path} is of another image size: go on with that rendering's --scale, or name another folder")


def _camera(width: int, height: int, threads: int) -> bpy.types.Object:
    render = bpy.context.scene.render
    render.engine = "CYCLES"
    render.resolution_x, render.resolution_y, render.resolution_percentage = width, height, 100
    render.use_persistent_data = True
    if threads:
        render.threads_mode, render.threads = "FIXED", threads
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    camera.data.sensor_fit, camera.data.sensor_width = "HORIZONTAL", 36.0
    camera.data.lens = FOCAL / WIDTH * 36.0
    camera.data.clip_start = 0.05
    bpy.context.scene.collection.objects.link(camera)
    bpy.context.scene.camera = camera
    bpy.context.scene.world = bpy.data.worlds.new("none")
    bpy.context.scene.view_settings.view_transform = "AgX"
    bpy.context.scene.view_settings.look = "AgX - Medium High Contrast"
    bpy.context.scene.view_settings.exposure = 0.6
    return camera


def _render_color(samples: int) -> np.ndarray:
    """[H, W, 3] uint8 BGR."""
    cycles = bpy.context.scene.cycles
    bpy.context.view_layer.material_override = None
    cycles.samples, cycles.use_adaptive_sampling, cycles.seed = samples, False, 1
    cycles.use_denoising, cycles.denoiser, cycles.denoising_prefilter = True, "OPENIMAGEDENOISE", "FAST"
    cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces = 3, 2, 2
    cycles.sample_clamp_indirect = 4.0
    cycles.caustics_reflective = cycles.caustics_refractive = False
    cycles.pixel_filter_type, cycles.filter_width = "BLACKMAN_HARRIS", 1.5
    return _render("PNG", "8")


def _render_geometry() -> tuple[np.ndarray, np.ndarray]:
    """Depth along z [H, W] float32 in metres and instance ids [H, W] uint16, both at the exact pixel centres."""
    cycles = bpy.context.scene.cycles
    bpy.context.view_layer.material_override = _geometry_material()
    cycles.samples, cycles.use_adaptive_sampling, cycles.use_denoising, cycles.max_bounces = 1, False, False, 0
    cycles.pixel_filter_type, cycles.filter_width = "GAUSSIAN", 0.01
    pixels = _render("OPEN_EXR", "32")
    return pixels[..., 1], np.round(pixels[..., 0]).astype(np.uint16)


def _geometry_material() -> bpy.types.Material:
    """Emits red = instance id, green = depth along z; overrides all materials, so no other light reaches the camera."""
    if "geometry" in bpy.data.materials:
        return bpy.data.materials["geometry"]
    material = bpy.data.materials.new("geometry")
    tree = material.node_tree
    tree.nodes.clear()
    instance, view = tree.nodes.new("ShaderNodeObjectInfo"), tree.nodes.new("ShaderNodeCameraData")
    combine, emission = tree.nodes.new("ShaderNodeCombineXYZ"), tree.nodes.new("ShaderNodeEmission")
    output = tree.nodes.new("ShaderNodeOutputMaterial")
    tree.links.new(instance.outputs["Object Index"], combine.inputs["X"])
    tree.links.new(view.outputs["View Z Depth"], combine.inputs["Y"])
    tree.links.new(combine.outputs["Vector"], emission.inputs["Color"])
    tree.links.new(emission.outputs["Emission"], output.inputs["Surface"])
    return material


def _render(file_format: str, bits: str) -> np.ndarray:
    """PNG: [H, W, 3] uint8 BGR. OPEN_EXR: [H, W, 4] float32, linear RGBA."""
    render = bpy.context.scene.render
    settings = render.image_settings
    settings.file_format, settings.color_depth = file_format, bits
    settings.color_mode = "RGB" if file_format == "PNG" else "RGBA"
    with tempfile.TemporaryDirectory() as folder:
        render.filepath = str(Path(folder) / ("frame.png" if file_format == "PNG" else "frame.exr"))
        bpy.ops.render.render(write_still=True)
        if file_format == "PNG":
            return cv2.imread(render.filepath, cv2.IMREAD_COLOR)
        image = bpy.data.images.load(render.filepath)
        image.colorspace_settings.name = "Non-Color"
        pixels = np.empty(image.size[0] * image.size[1] * 4, np.float32)
        image.pixels.foreach_get(pixels)
        pixels = pixels.reshape(image.size[1], image.size[0], 4)[::-1].copy()
        bpy.data.images.remove(image)
    return pixels


def _write_poses(folder: Path, path: CameraPath, frames: int) -> None:
    rows = ["stamp,tx,ty,tz,qx,qy,qz,qw,image"]
    for index in range(frames):
        if (folder / "images" / f"{index:04d}.png").exists():
            pose = path.map_from_optical(index / FRAME_RATE)
            numbers = [f"{v:.9f}" for v in (*pose[:3, 3], *quaternion_xyzw(pose[:3, :3]))]
            rows.append(",".join([f"{START_STAMP + index / FRAME_RATE:.6f}", *numbers, f"{index:04d}.png"]))
    (folder / "poses.csv").write_text("\n".join(rows) + "\n")


def _write_png(path: Path, image: np.ndarray) -> None:
    if not cv2.imwrite(str(path), image):
        raise OSError(f"could not write {path}: is the disk full, the folder writable?")


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
