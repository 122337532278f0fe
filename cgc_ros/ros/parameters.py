"""Every parameter of the node, declared once: default, text, range, and when a change takes effect.

The ROS declarations, config/cgc.yaml and the table in docs/ros_interface.md are all made from here:

    python -m cgc_ros.ros.parameters yaml > config/cgc.yaml
    python -m cgc_ros.ros.parameters markdown

The mapper's own (`mapper.*`) are the fields of MapperConfig.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from os.path import commonprefix
from typing import Any

from cgc_ros.declared import (
    Setting,
    SettingError,
    Settings,
    choice,
    flag,
    group,
    nested,
    number,
    override,
    setting_of,
    text,
    walk,
)
from cgc_ros.image_size import MAX_IMAGE_WIDTH
from cgc_ros.mapping.config import MapperConfig
from cgc_ros.robot.layout import DEFAULT_PADDING
from cgc_ros.ros.map_storage import NAME_RULE, is_map_name

LIVE, CONFIGURE, START = "any time", "on configure", "at start"


def _frame(name: str) -> str:
    return "" if name.strip("/") else "must name a frame"


def _map_or_none(name: str) -> str:
    return "" if not name or is_map_name(name) else f"must name a map ({NAME_RULE})"


@dataclass(frozen=True)
class NodeParameters(Settings):
    """The node's own parameters and, in `mapper`, the mapper's. 0 Hz means no bound.

    Notes of a field: `when` a change takes effect, any time where it says nothing; `section` of the parameter file that
    begins with it.
    """

    autostart: bool = flag(
        True, "configure and activate by itself; false: wait for lifecycle transitions", when=START, section="node"
    )
    threads: int = number(0, "of the CPU, for rendering and training; 0: all cores", 0, 256, "threads", when=START)
    input_timeout: float = number(
        1.5,
        "an active node without images for this long, and for 3 periods of a slow camera, reports no_images",
        0.1,
        60,
        "s",
    )

    image_transport: str = choice(
        "auto",
        "what to subscribe to; auto: whichever of `image` and `image/compressed` is published",
        ("auto", "raw", "compressed"),
        when=CONFIGURE,
        section="inputs",
    )
    depth_transport: str = choice(
        "auto",
        "the same for `depth` (compressed: 16-bit PNG or compressedDepth)",
        ("auto", "raw", "compressed"),
        when=CONFIGURE,
    )
    image_reliability: str = choice(
        "best_effort",
        "QoS of the image subscriptions; best_effort matches every publisher",
        ("best_effort", "reliable"),
        when=CONFIGURE,
    )
    use_depth: bool = flag(True, "subscribe to `depth`; mapping goes on without it where none comes", when=CONFIGURE)
    depth_unit: float = number(0.001, "one count of a 16UC1 depth image", 1e-6, 1, "m")
    rectified: str = choice(
        "auto",
        "the images are rectified (camera_info's P holds, not K and D); auto: where rect is a word of the topic's name",
        ("auto", "true", "false"),
        when=CONFIGURE,
    )
    sync_tolerance: float = number(
        0.02, "stamps of depth, masks or camera_info may be this far from the image's where none is equal", 0, 1, "s"
    )
    sync_wait: float = number(0.1, "an image waits so long for its camera_info, and a frame for its depth", 0, 5, "s")
    masks_wait: float = number(1.0, "a frame waits so long for its masks with mask_source 'topic'", 0, 30, "s")
    ignore_wait: float = number(
        0.3,
        "an image waits so long for its `ignore` while somebody publishes that; without it, it is not mapped",
        0,
        30,
        "s",
    )

    robot_mask: bool = flag(
        False,
        "ignore the pixels that show the robot: by `robot_description` and the transforms of its links",
        when=CONFIGURE,
        section="robot",
    )
    robot_frame_prefix: str = text(
        "", "what robot_state_publisher's frame_prefix puts before the names of links", when=CONFIGURE
    )
    robot_padding: float = number(
        DEFAULT_PADDING,
        "how far around its links pixels are ignored, and as much again for every metre of distance; the default "
        "covers a calibration that is off by 1 cm and 1 degree",
        0,
        1,
        "m",
    )

    map_frame: str = text("map", "fixed frame of the map", rule=_frame, when=CONFIGURE, section="poses")
    camera_frame: str = text("", "optical frame of the camera; empty: the image header's frame_id", when=CONFIGURE)
    pose_source: str = choice(
        "tf",
        "tf: transforms at the image's stamp; else the type of the `pose` topic",
        ("tf", "pose", "pose_with_covariance", "odometry"),
        when=CONFIGURE,
    )
    transform_buffer: str = choice(
        "auto",
        "what keeps transforms: tf2_ros, or the node's own buffer; auto: tf2_ros where it is installed",
        ("auto", "tf2", "buffer"),
        when=CONFIGURE,
    )
    transform_timeout: float = number(0.3, "an image waits so long for its transform before it is dropped", 0, 10, "s")
    transform_history: float = number(10.0, "transforms are kept so long", 1, 600, "s", when=CONFIGURE)
    clock_jump: float = number(
        1.0, "stamps that go back by more than this mean that a recording started again", 0.1, 60, "s"
    )
    pose_jump: float = number(
        1.0,
        "motion between two frames within a second that counts as a jump, mapped only once the new place is "
        "confirmed; 0: never",
        0,
        1e6,
        "m",
    )
    min_sharpness: float = number(
        0.25, "frames less sharp than this share of the recent ones are not mapped; 0: map all", 0, 1
    )

    mask_source: str = choice(
        "graph",
        "where 2D masks come from: graph (built in), sam (segment-anything, MobileSAM, SAM 2), onnx, topic (`masks`), "
        "none",
        ("graph", "sam", "onnx", "topic", "none"),
        when=CONFIGURE,
        section="masks",
    )
    sam_checkpoint: str = text("", "path of a checkpoint of segment-anything, MobileSAM or SAM 2", when=CONFIGURE)
    sam_model: str = choice(
        "auto",
        "refuse a checkpoint of another model type; auto: read it off the checkpoint",
        ("auto", "vit_b", "vit_l", "vit_h", "vit_t"),
        when=CONFIGURE,
    )
    onnx_model: str = text("", "path of an ONNX segmenter", when=CONFIGURE)
    mask_timeout: float = number(
        20.0,
        "a mask source that takes longer for its first image is reported as hung; for later ones 5 times as long as "
        "it usually takes is enough",
        0.1,
        3600,
        "s",
    )

    use_detections: bool = flag(
        False,
        "name objects by a 2D detector's boxes (`detections_2d`), voted over views",
        when=CONFIGURE,
        section="names",
    )
    min_detection_score: float = number(0.3, "detections below this score do not vote", 0, 1)
    text_encoder_checkpoint: str = text(
        "", "path of a CLIP checkpoint of open_clip, for queries by text; empty: none", when=CONFIGURE
    )
    text_encoder_model: str = text("ViT-B-32", "open_clip's name of that checkpoint's architecture", when=CONFIGURE)

    label_rate: float = number(
        0.0, "most label images; 0: one for every newest image", 0, 1000, "Hz", section="outputs"
    )
    label_share: float = number(
        0.6,
        "most of the time that label images may take; where rendering is slow they come less often, so that mapping "
        "goes on beside them",
        0.05,
        1,
    )
    overlay_rate: float = number(5.0, "most overlays", 0, 1000, "Hz")
    render_rate: float = number(1.0, "most renders of colour and depth", 0, 1000, "Hz")
    objects_rate: float = number(1.0, "most publications of objects, detections, clouds and markers", 0, 1000, "Hz")
    splats_rate: float = number(
        0.0, "most publications of the map's Gaussians as a cloud (56 bytes each); 0: none", 0, 1000, "Hz"
    )
    cloud_points: int = number(
        20_000,
        "most of one object in ~/objects, ~/objects/cloud and, unless asked otherwise, in replies",
        1,
        10_000_000,
        "points",
    )
    max_query_points: int = number(200_000, "most of all objects together in one reply", 1, 10_000_000, "points")
    max_render_pixels: int = number(4_000_000, "largest view that ~/render_view renders", 1, 100_000_000, "px")
    viewer: bool = flag(False, "serve the live web viewer", when=CONFIGURE)
    viewer_host: str = text(
        "127.0.0.1", "address the viewer listens on; 0.0.0.0: the whole network, without a password", when=CONFIGURE
    )
    viewer_port: int = number(8080, "port of the viewer; the next free one where it is busy", 0, 65_535, when=CONFIGURE)

    mapping_rate: float = number(
        5.0,
        "most frames that are handed to the mapper, which chooses keyframes among them",
        0,
        1000,
        "Hz",
        section="map",
    )
    max_steps_per_second: float = number(
        0.0, "bound on training steps, to leave the machine to others; 0: none", 0, 10_000, "Hz"
    )
    max_image_width: int = number(
        MAX_IMAGE_WIDTH,
        "wider images are mapped, and their label images rendered, scaled to this width; 0: never",
        0,
        100_000,
        "px",
    )
    label_niceness: int = number(
        6,
        "how far rendering for topics steps back behind messages, services and other programs where all want the same "
        "core (nice, 0: not at all)",
        0,
        19,
        when=CONFIGURE,
    )
    training_niceness: int = number(
        15, "the same for training, once there are objects; masks step back further", 0, 19, when=CONFIGURE
    )
    snapshot_period: float = number(
        0.5, "time between two states of the map that topics and services see", 0.05, 60, "s"
    )
    map_directory: str = text("~/.ros/cgc_maps", "the only folder maps are saved to and loaded from", when=CONFIGURE)
    load_on_start: str = text(
        "",
        "name of a map to load on configure; empty: start with an empty map",
        rule=_map_or_none,
        when=CONFIGURE,
    )
    save_on_shutdown: str = text(
        "", "name under which the map is saved when the node shuts down; empty: not saved", rule=_map_or_none
    )
    mapper: MapperConfig = group(MapperConfig)


@dataclass(frozen=True)
class Declaration:
    """One ROS parameter."""

    name: str
    setting: Setting
    when: str
    section: str

    @property
    def default(self) -> Any:
        """As a ROS value: a list where the setting is a tuple."""
        return self.ros_value(self.setting.default)

    def ros_value(self, value: Any) -> Any:
        """`value` in the parameter's ROS type: a whole number becomes a double where a double is declared.

        Raises SettingError where it does not fit.
        """
        taken = self.setting.take(self.name, value)
        return list(taken) if isinstance(taken, tuple) else taken

    def refusal(self, value: Any) -> str:
        """Why this value cannot be taken; empty where it can."""
        try:
            self.ros_value(value)
        except SettingError as error:
            return str(error)
        return ""


def declarations() -> list[Declaration]:
    """All parameters in the order of their file."""
    found, section = [], ""
    for name, each, _ in walk(NodeParameters()):
        if name.startswith("mapper.paper."):  # an offline recipe: means nothing to a node
            continue
        groups = name.rpartition(".")[0]
        section = groups or each.metadata.get("section", section)
        when = CONFIGURE if groups else each.metadata.get("when", LIVE)
        found.append(Declaration(name, setting_of(each), when, section))
    return found


def parameters_from(values: dict[str, Any]) -> NodeParameters:
    """NodeParameters of ROS values by full name; what is missing keeps its default. Raises SettingError."""
    return override(NodeParameters(), nested(values))


def yaml_text() -> str:
    """config/cgc.yaml."""
    lines = [
        "# All parameters of the cgc_ros node with their defaults. Made by: python -m cgc_ros.ros.parameters yaml",
        "# name: default  # what it is; range with its unit, or choices [when a change takes effect]. 0 Hz: no bound.",
        "/**:",
        "  ros__parameters:",
    ]
    section = ""
    open_groups: list[str] = []
    for each in declarations():
        *groups, last = each.name.split(".")
        if each.section != section:
            section = each.section
            lines += ["", f"    # {section}"]
        shared = len(commonprefix([groups, open_groups]))
        lines += [f"{_indent(level)}{groups[level]}:" for level in range(shared, len(groups))]
        open_groups = groups
        comment = "; ".join(filter(None, (each.setting.text, each.setting.range_text)))
        lines.append(f"{_indent(len(groups))}{last}: {_yaml_value(each.default)}  # {comment} [{each.when}]")
    return "\n".join(lines) + "\n"


def markdown_text() -> str:
    """The table of the node's own parameters in docs/ros_interface.md; the mapper's are in config/cgc.yaml."""
    lines = ["| parameter | default | range | change | what it is |", "|---|---|---|---|---|"]
    for each in declarations():
        if each.name.startswith("mapper."):
            continue
        setting = each.setting
        limits = ", ".join(f"`{choice}`" for choice in setting.choices) or setting.range_text
        described = setting.text.replace("|", "\\|")
        lines.append(f"| `{each.name}` | `{_yaml_value(each.default)}` | {limits} | {each.when} | {described} |")
    return "\n".join(lines) + "\n"


def _indent(level: int) -> str:
    return "  " * (2 + level)


def _yaml_value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list):
        return f"[{', '.join(map(_yaml_value, value))}]"
    if isinstance(value, float):
        shown = repr(value)
        return shown if "." in shown else shown.replace("e", ".0e")  # YAML 1.1 reads 1e-05 as a string
    return str(value)


if __name__ == "__main__":
    sys.stdout.write({"yaml": yaml_text, "markdown": markdown_text}[sys.argv[1]]())
