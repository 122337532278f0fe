"""Every parameter of the node, declared once: default, text, range, and when a change takes effect.

The ROS declarations, config/cgc.yaml and the table in docs/ros_interface.md are all made from here:

    python -m cgc_ros.ros.parameters yaml > config/cgc.yaml
    python -m cgc_ros.ros.parameters markdown

The mapper's own numbers (`mapper.*`) come from MapperConfig's fields and their comments.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from cgc_ros.image_size import MAX_IMAGE_WIDTH
from cgc_ros.mapping.config import MapperConfig
from cgc_ros.ros.field_comments import field_comments, range_of
from cgc_ros.ros.map_storage import NAME_RULE, is_map_name

LIVE, CONFIGURE, START = "any time", "on configure", "at start"


def _parameter(default, text: str, limits: tuple | None = None, choices: tuple[str, ...] = (), when: str = LIVE):
    return field(default=default, metadata={"text": text, "limits": limits, "choices": choices, "when": when})


@dataclass(frozen=True)
class NodeParameters:
    """The node's own parameters; the mapper's are in `mapper`. Times in seconds, rates in Hz, 0 Hz means no bound."""

    # node
    autostart: bool = _parameter(
        True, "configure and activate by itself; false: wait for lifecycle transitions", when=START
    )
    threads: int = _parameter(0, "threads for rendering and training; 0: all cores", (0, 256), when=START)
    input_timeout: float = _parameter(
        1.5,
        "an active node without images for this long, and for 3 periods of a slow camera, reports no_images",
        (0.1, 60.0),
    )
    # inputs
    image_transport: str = _parameter(
        "auto",
        "what to subscribe to; auto: whichever of `image` and `image/compressed` is published",
        None,
        ("auto", "raw", "compressed"),
        CONFIGURE,
    )
    depth_transport: str = _parameter(
        "auto",
        "the same for `depth` (compressed: 16-bit PNG or compressedDepth in PNG)",
        None,
        ("auto", "raw", "compressed"),
        CONFIGURE,
    )
    image_reliability: str = _parameter(
        "best_effort",
        "QoS of the image subscriptions; best_effort matches every publisher",
        None,
        ("best_effort", "reliable"),
        CONFIGURE,
    )
    use_depth: bool = _parameter(
        True, "subscribe to `depth`; mapping goes on without it where none comes", when=CONFIGURE
    )
    depth_unit: float = _parameter(0.001, "metres per count of a 16UC1 depth image", (1e-6, 1.0))
    rectified: str = _parameter(
        "auto",
        "the images are rectified (camera_info's P holds, not K and D); auto: where the topic's name contains 'rect'",
        None,
        ("auto", "true", "false"),
        CONFIGURE,
    )
    sync_tolerance: float = _parameter(
        0.02, "stamps of depth, masks or camera_info may be this far from the image's where none is equal", (0.0, 1.0)
    )
    sync_wait: float = _parameter(
        0.1, "how long an image waits for its camera_info, and a frame for its depth", (0.0, 5.0)
    )
    masks_wait: float = _parameter(1.0, "how long a frame waits for its masks with mask_source 'topic'", (0.0, 30.0))
    # poses
    map_frame: str = _parameter("map", "fixed frame of the map", when=CONFIGURE)
    camera_frame: str = _parameter(
        "", "optical frame of the camera; empty: the image header's frame_id", when=CONFIGURE
    )
    pose_source: str = _parameter(
        "tf",
        "tf: transforms at the image's stamp; else the type of the `pose` topic",
        None,
        ("tf", "pose", "pose_with_covariance", "odometry"),
        CONFIGURE,
    )
    transform_buffer: str = _parameter(
        "auto",
        "what keeps transforms: tf2_ros, or the node's own buffer; auto: tf2_ros where it is installed",
        None,
        ("auto", "tf2", "buffer"),
        CONFIGURE,
    )
    transform_timeout: float = _parameter(
        0.3, "how long an image waits for its transform before it is dropped", (0.0, 10.0)
    )
    transform_history: float = _parameter(10.0, "seconds of transforms kept", (1.0, 600.0), when=CONFIGURE)
    clock_jump: float = _parameter(
        1.0, "stamps that go back by more than this mean that a recording started again", (0.1, 60.0)
    )
    pose_jump: float = _parameter(
        1.0,
        "metres between two frames within a second that count as a jump, mapped only once the new place is confirmed; "
        "0: never",
        (0.0, 1e6),
    )
    min_sharpness: float = _parameter(
        0.25, "frames less sharp than this share of the recent ones are not mapped; 0: map all", (0.0, 1.0)
    )
    # masks
    mask_source: str = _parameter(
        "graph",
        "where 2D masks come from: graph (built in), sam (segment-anything), topic (`masks`), none",
        None,
        ("graph", "sam", "topic", "none"),
        CONFIGURE,
    )
    sam_checkpoint: str = _parameter("", "path of a segment-anything checkpoint", when=CONFIGURE)
    sam_model: str = _parameter("vit_b", "model type of that checkpoint", None, ("vit_b", "vit_l", "vit_h"), CONFIGURE)
    mask_timeout: float = _parameter(
        20.0,
        "a mask source that takes longer for its first image is reported as hung; for later ones 5 times as long as "
        "it usually takes is enough",
        (0.1, 3600.0),
    )
    # names
    use_detections: bool = _parameter(
        False, "name objects by a 2D detector's boxes (`detections_2d`), voted over views", when=CONFIGURE
    )
    min_detection_score: float = _parameter(0.3, "detections below this score do not vote", (0.0, 1.0))
    text_encoder_checkpoint: str = _parameter(
        "", "path of a CLIP checkpoint of open_clip, for queries by text; empty: none", when=CONFIGURE
    )
    text_encoder_model: str = _parameter(
        "ViT-B-32", "open_clip's name of that checkpoint's architecture", when=CONFIGURE
    )
    # outputs
    label_rate: float = _parameter(0.0, "most label images per second; 0: one for every newest image", (0.0, 1000.0))
    label_share: float = _parameter(
        0.6,
        "most of the time that label images may take; where rendering is slow they come less often, so that mapping "
        "goes on beside them",
        (0.05, 1.0),
    )
    overlay_rate: float = _parameter(5.0, "most overlays per second", (0.0, 1000.0))
    render_rate: float = _parameter(1.0, "most renders of colour and depth per second", (0.0, 1000.0))
    objects_rate: float = _parameter(
        1.0, "most publications of objects, detections, clouds and markers per second", (0.0, 1000.0)
    )
    cloud_points: int = _parameter(
        20_000,
        "most points per object in ~/objects, ~/objects/cloud and, unless asked otherwise, in replies",
        (1, 10_000_000),
    )
    max_query_points: int = _parameter(200_000, "most points of all objects together in one reply", (1, 10_000_000))
    max_render_pixels: int = _parameter(4_000_000, "largest view that ~/render_view renders, pixels", (1, 100_000_000))
    viewer: bool = _parameter(False, "serve the live web viewer", when=CONFIGURE)
    viewer_host: str = _parameter(
        "127.0.0.1", "address the viewer listens on; 0.0.0.0: the whole network, without a password", when=CONFIGURE
    )
    viewer_port: int = _parameter(
        8080, "port of the viewer; the next free one where it is busy", (0, 65535), when=CONFIGURE
    )
    # map
    mapping_rate: float = _parameter(
        5.0, "most frames per second that are handed to the mapper, which chooses keyframes among them", (0.0, 1000.0)
    )
    max_image_width: int = _parameter(
        MAX_IMAGE_WIDTH,
        "wider images are mapped, and their label images rendered, scaled to this width, pixels; 0: never",
        (0, 100_000),
    )
    max_steps_per_second: float = _parameter(
        0.0, "bound on training steps, to leave the machine to others; 0: none", (0.0, 10_000.0)
    )
    label_niceness: int = _parameter(
        6,
        "how far rendering for topics steps back behind messages, services and other programs where all want the same "
        "core (nice, 0: not at all)",
        (0, 19),
        when=CONFIGURE,
    )
    training_niceness: int = _parameter(
        15,
        "the same for training, once there are objects; masks step back further",
        (0, 19),
        when=CONFIGURE,
    )
    snapshot_period: float = _parameter(
        0.5, "seconds between two states of the map that topics and services see", (0.05, 60.0)
    )
    map_directory: str = _parameter(
        "~/.ros/cgc_maps", "the only folder maps are saved to and loaded from", when=CONFIGURE
    )
    load_on_start: str = _parameter(
        "", "name of a map to load on configure; empty: start with an empty map", when=CONFIGURE
    )
    save_on_shutdown: str = _parameter(
        "", "name under which the map is saved when the node shuts down; empty: not saved"
    )
    mapper: MapperConfig = field(default_factory=MapperConfig, metadata={"text": "the mapper"})


@dataclass(frozen=True)
class Declaration:
    """One ROS parameter."""

    name: str
    default: Any
    text: str
    limits: tuple | None
    choices: tuple[str, ...]
    when: str
    section: str

    def refusal(self, value: Any) -> str:
        """Why this value cannot be taken; empty where it can. Types and ranges are checked by rclpy too."""
        if self.choices and value not in self.choices:
            return f"{self.name} must be one of {', '.join(self.choices)}, not {value!r}"
        if self.limits and not self.limits[0] <= value <= self.limits[1]:
            return f"{self.name} must be within {self.limits[0]:g}..{self.limits[1]:g}, not {value!r}"
        if self.name == "map_frame" and not value.strip("/"):
            return "map_frame must name a frame"
        if self.name in ("load_on_start", "save_on_shutdown") and value and not is_map_name(value):
            return f"{self.name}: {NAME_RULE}, not {value[:120]!r}"
        return ""


def declarations() -> list[Declaration]:
    """All parameters in the order of their file."""
    found = []
    section = ""
    sections = _section_starts()
    for each in dataclasses.fields(NodeParameters):
        section = sections.get(each.name, section)
        if each.name != "mapper":
            meta = each.metadata
            found.append(
                Declaration(
                    each.name, each.default, meta["text"], meta["limits"], meta["choices"], meta["when"], section
                )
            )
    return found + list(_mapper_declarations(MapperConfig(), "mapper"))


def parameters_from(values: dict[str, Any]) -> NodeParameters:
    """NodeParameters of ROS values by full name; what is missing keeps its default."""
    own = {each.name: values[each.name] for each in dataclasses.fields(NodeParameters) if each.name in values}
    return NodeParameters(**own, mapper=_nested(MapperConfig(), "mapper", values))


def yaml_text() -> str:
    """config/cgc.yaml."""
    lines = [
        "# All parameters of the cgc_ros node with their defaults. Made by: python -m cgc_ros.ros.parameters yaml",
        "# Times in seconds, rates in Hz, 0 Hz means without a bound. [when a change takes effect]",
        "/**:",
        "  ros__parameters:",
    ]
    section, depth = "", 2
    for each in declarations():
        path = each.name.split(".")
        if each.section != section:
            section = each.section
            lines += ["", "  " * 2 + f"# {section}"]
            parents = path[:-1]
            if parents:
                lines += [
                    "  " * (2 + level) + f"{name}:" for level, name in enumerate(parents) if _is_new(name, lines, level)
                ]
        depth = 2 + len(path) - 1
        hints = [_range_text(each.limits)] if each.limits else []
        hints += [" | ".join(each.choices)] if each.choices else []
        comment = "; ".join([each.text, *hints]) if each.text else "; ".join(hints)
        lines.append("  " * depth + f"{path[-1]}: {_yaml_value(each.default)}  # {comment} [{each.when}]")
    return "\n".join(lines) + "\n"


def markdown_text() -> str:
    """The table of the node's own parameters in docs/ros_interface.md; the mapper's are in config/cgc.yaml."""
    lines = ["| parameter | default | range | change | what it is |", "|---|---|---|---|---|"]
    for each in declarations():
        if each.name.startswith("mapper."):
            continue
        limits = _range_text(each.limits) if each.limits else ", ".join(f"`{choice}`" for choice in each.choices)
        lines.append(
            f"| `{each.name}` | `{_yaml_value(each.default)}` | {limits} | {each.when} | "
            f"{each.text.replace('|', chr(92) + '|')} |"
        )
    return "\n".join(lines) + "\n"


def _mapper_declarations(config: Any, prefix: str) -> Iterable[Declaration]:
    comments = field_comments(type(config))
    for each in dataclasses.fields(config):
        value, name = getattr(config, each.name), f"{prefix}.{each.name}"
        if each.metadata.get("offline"):  # means nothing to a node
            continue
        if dataclasses.is_dataclass(value):
            yield from _mapper_declarations(value, name)
            continue
        comment = comments[each.name]
        limits = range_of(each.name, value, comment)
        yield Declaration(name, _ros_value(value), comment.text, limits, comment.choices, CONFIGURE, prefix)


def _nested(config: Any, prefix: str, values: dict[str, Any]) -> Any:
    changed = {}
    for each in dataclasses.fields(config):
        default, name = getattr(config, each.name), f"{prefix}.{each.name}"
        if dataclasses.is_dataclass(default):
            changed[each.name] = _nested(default, name, values)
        elif name in values:
            changed[each.name] = tuple(values[name]) if isinstance(default, tuple) else values[name]
    return dataclasses.replace(config, **changed)


def _range_text(limits: tuple) -> str:
    low, high = (f"{value:,}".replace(",", "_") if isinstance(value, int) else f"{value:g}" for value in limits)
    return f"{low}..{high}"


def _ros_value(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _section_starts() -> dict[str, str]:
    """First parameter of each section -> the section's title."""
    return {
        "autostart": "node",
        "image_transport": "inputs",
        "map_frame": "poses",
        "mask_source": "masks",
        "use_detections": "names",
        "label_rate": "outputs",
        "mapping_rate": "map",
    }


def _is_new(name: str, lines: list[str], level: int) -> bool:
    return "  " * (2 + level) + f"{name}:" not in lines


def _yaml_value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list):
        return f"[{', '.join(map(_yaml_value, value))}]"
    if isinstance(value, float):
        text = repr(value)
        return text if "." in text else text.replace("e", ".0e")  # YAML 1.1 reads 1e-05 as a string
    return str(value)


if __name__ == "__main__":
    sys.stdout.write({"yaml": yaml_text, "markdown": markdown_text}[sys.argv[1]]())
