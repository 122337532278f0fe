"""`cgc map`: stream a recording through the mapper that the node uses."""

from __future__ import annotations

import argparse
import math
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from cgc_ros.cli.console import (
    add_backend,
    add_json,
    fail,
    load_part,
    not_negative,
    note,
    positive,
    positive_int,
    print_figures,
    print_json,
    signals_interrupt,
)
from cgc_ros.cli.recordings import add_reader_options, open_recording
from cgc_ros.progress import progress_bar

_DESCRIPTION = """\
Stream a recorded sequence through the very mapper the node uses. Held-out frames are never shown to it.
Writes DIR/map.cgc, DIR/objects.json, DIR/metrics.json, DIR/history.json and DIR/previews/. Ctrl-C saves what there is.
"""

PAPER_FEED_SHARE = 0.0  # the paper trains on all frames from the start


def add_parsers(subparsers) -> None:
    parser = subparsers.add_parser(
        "map",
        help="map a recorded sequence",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "sequence",
        metavar="SEQ",
        type=Path,
        help="a recording, of any format in docs/sequences.md: folder, bag, COLMAP, TUM, phone apps, ...",
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="folder to write to, made where it does not exist"
    )
    add_reader_options(parser)
    add_backend(parser)
    masks = parser.add_argument_group("2D masks")
    masks.add_argument(
        "--masks",
        choices=("auto", "graph", "sam", "onnx", "given"),
        default="auto",
        help="graph: built in, no weights; sam: segment-anything, MobileSAM or SAM 2; onnx: a model file; given: the "
        "recording's own (default: given where the recording has masks, else sam or onnx where a checkpoint or a model "
        "is named, else graph)",
    )
    masks.add_argument(
        "--sam-checkpoint",
        metavar="FILE",
        type=Path,
        help="weights of segment-anything, MobileSAM or SAM 2: a .pth, .pt or .safetensors file",
    )
    masks.add_argument(
        "--sam-model-type",
        choices=("vit_h", "vit_l", "vit_b", "vit_t"),
        help="refuse a checkpoint of another model (default: read it off the weights)",
    )
    masks.add_argument(
        "--onnx-model", metavar="FILE", type=Path, help="a segmenter of a known signature (docs/masks.md)"
    )
    stream = parser.add_argument_group("the stream")
    stream.add_argument("--depth", choices=("auto", "off"), default="auto", help="off: withhold the recording's depth")
    stream.add_argument(
        "--ignore",
        choices=("auto", "off"),
        default="auto",
        help="off: map what the recording says is no part of the world (a person, a gripper), too",
    )
    stream.add_argument(
        "--robot",
        choices=("auto", "off"),
        default="auto",
        help="off: map the robot that the recording describes, too (default: its pixels are ignored)",
    )
    stream.add_argument(
        "--robot-padding",
        metavar="METRES",
        type=not_negative,
        help="how far around the robot pixels are ignored, and as much again for every metre of distance (default: "
        "enough for a calibration that is off by 1 cm and 1 degree)",
    )
    stream.add_argument(
        "--max-image-width",
        metavar="PIXELS",
        type=int,
        help="wider images are mapped scaled to this width; 0: never (default: 1280)",
    )
    stream.add_argument(
        "--rate",
        metavar="HZ",
        type=positive,
        help="feed frames in real time at this rate, dropping what comes too fast, as a camera would "
        "(default: as the mapper takes them, none dropped, spread over half the budget)",
    )
    stream.add_argument(
        "--budget",
        metavar="SECONDS",
        type=positive,
        help="seconds from the first frame to the end of training (default: length of the recording and 60)",
    )
    mapper = parser.add_argument_group("the mapper")
    mapper.add_argument(
        "--recipe",
        choices=("default", "paper"),
        default="default",
        help="paper: the schedule and losses of arXiv 2404.12784",
    )
    mapper.add_argument("--seed", type=int, default=0, help="of everything random (default: 0)")
    mapper.add_argument("--max-gaussians", metavar="N", type=positive_int, help="hard cap on the map's size")
    mapper.add_argument("--config", metavar="FILE", type=Path, help="YAML or JSON with any setting of MapperConfig")
    mapper.add_argument(
        "--set", metavar="NAME=VALUE", action="append", default=[], help="one setting, e.g. training.ssim_weight=0.3"
    )
    mapper.add_argument(
        "--print-config",
        action=_PrintConfig,
        help="print every setting with its value, as the options before it leave them",
    )
    calibration = parser.add_argument_group("the calibration")
    calibration.add_argument(
        "--calibrate",
        action="store_true",
        help="correct what the frames contradict beyond doubt (see cgc check): focal length, principal point, time "
        "offset, depth scale",
    )
    calibration.add_argument(
        "--calibration-check",
        choices=("quick", "off"),
        default="quick",
        help="off: do not look, before mapping, whether the calibration fits the frames (default: %(default)s)",
    )
    parser.add_argument("--view", action="store_true", help="show the map as it grows, as a web page")
    parser.add_argument(
        "--port", type=positive_int, default=8080, help="of that page (default: 8080, or the next free one)"
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Map, save, and print the figures."""
    from cgc_ros.cli.recorded_calibration import look_at_calibration
    from cgc_ros.evaluation.mapping_run import StreamOptions, default_budget, stream
    from cgc_ros.evaluation.run_output import write_run
    from cgc_ros.mapping import MappingSession, create_mapper

    config = mapper_config(arguments)
    padding = {} if arguments.robot_padding is None else {"robot_padding": arguments.robot_padding}
    sequence = open_recording(arguments.sequence, arguments.read, robot=arguments.robot, **padding)
    note(f"{sequence.name}: read as {sequence.source}")
    if arguments.calibrate or arguments.calibration_check != "off":
        look_at_calibration(sequence, arguments.calibrate)
    warned = sequence.warnings
    for warning in warned:
        note(f"{sequence.name}: {warning}")
    masks = choose_masks(arguments.masks, sequence.has_masks, arguments.sam_checkpoint, arguments.onnx_model)
    source = mask_source(masks, arguments)
    arguments.out.mkdir(parents=True, exist_ok=True)
    if not os.access(arguments.out, os.W_OK):
        raise PermissionError(f"cannot write to {arguments.out}: choose another folder with --out")

    budget = arguments.budget or default_budget(sequence, arguments.rate)
    mapper = create_mapper(config, budget)
    mapper.origin = sequence.origin
    # The paper has a mask image for every frame: however fast they come, none may be dropped.
    waiting = {"mask_queue_size": len(sequence)} if config.recipe == "paper" else {}
    session = MappingSession(mapper, source, **waiting)
    use_depth = arguments.depth == "auto" and sequence.has_depth
    options = StreamOptions(
        budget=budget,
        rate_hz=arguments.rate,
        feed_share=PAPER_FEED_SHARE if config.recipe == "paper" else StreamOptions.feed_share,
        use_depth=use_depth,
        use_masks=masks == "given",
        use_ignore=arguments.ignore == "auto",
        max_image_width=(
            StreamOptions.max_image_width if arguments.max_image_width is None else arguments.max_image_width
        ),
    )
    session.start()
    try:
        with signals_interrupt(), _page(arguments, session), progress_bar("mapping") as update:
            outcome = stream(
                session, sequence, options, lambda state: update(state.seconds, state.budget, _detail(state))
            )
        if outcome.interrupted:
            note("interrupted: saving what there is (Ctrl-C again to give up)")
        described = {
            "backend": mapper.backend,
            "masks": masks,
            "depth": "used" if use_depth else "off" if sequence.has_depth else "none",
            "ignore": "none" if not sequence.has_ignore else "used" if options.use_ignore else "off",
            "robot": "none" if sequence.robot_source is None else "off" if sequence.robot is None else "used",
            "recipe": config.recipe,
            "budget": budget,
            "rate_hz": arguments.rate,
            "seed": config.seed,
            "settings": dict(_changed(config)),
        }
        metrics = write_run(arguments.out, session, sequence, outcome, described)
    finally:
        session.stop()
    for warning in sequence.warnings[len(warned) :]:  # what only loading showed
        note(f"{sequence.name}: {warning}")
    _report(arguments, metrics, outcome)
    if outcome.interrupted:
        return 130
    if metrics["num_gaussians"] == 0:
        reason = "" if use_depth else ": without depth images the camera must move sideways between frames"
        fail("map", f"the map is empty after {metrics['frames']['used']} frames{reason}")
        return 1
    return 0


def mapper_config(arguments: argparse.Namespace):
    """MapperConfig from --config, then --set, then the flags; SettingError names what does not fit."""
    from cgc_ros.cli.settings import parse_assignments, read_settings
    from cgc_ros.declared import override
    from cgc_ros.mapping import MapperConfig

    config = MapperConfig()
    if arguments.config:
        config = override(config, read_settings(arguments.config))
    config = override(config, parse_assignments(arguments.set))
    flags = {
        name: value for name in ("backend", "recipe", "seed") if (value := getattr(arguments, name)) != _DEFAULTS[name]
    }
    config = override(config, flags)
    if arguments.max_gaussians:
        config = replace(config, density=replace(config.density, max_gaussians=arguments.max_gaussians))
    return config


_DEFAULTS = {
    "backend": "auto",
    "recipe": "default",
    "seed": 0,
}  # a flag left at its default does not undo --config or --set


def choose_masks(kind: str, has_masks: bool, sam_checkpoint: Path | None, onnx_model: Path | None = None) -> str:
    """The mask source that `auto` stands for here; SettingError where what it needs is missing."""
    from cgc_ros.declared import SettingError

    if kind == "given" and not has_masks:
        raise SettingError("--masks given: the recording has no masks: use --masks graph, or sam with a checkpoint")
    if sam_checkpoint is not None and not sam_checkpoint.is_file():
        raise SettingError(f"--sam-checkpoint {sam_checkpoint} is no file: download weights of segment-anything")
    if onnx_model is not None and not onnx_model.is_file():
        raise SettingError(f"--onnx-model {onnx_model} is no file: give the path of a model (docs/masks.md)")
    if kind == "sam" and sam_checkpoint is None:
        raise SettingError("--masks sam: name the weights of segment-anything with --sam-checkpoint FILE")
    if kind == "onnx" and onnx_model is None:
        raise SettingError("--masks onnx: name the model with --onnx-model FILE")
    if kind != "auto":
        return kind
    return "given" if has_masks else "sam" if sam_checkpoint else "onnx" if onnx_model else "graph"


def mask_source(kind: str, arguments: argparse.Namespace):
    """The session's mask source; None where frames carry their masks."""
    if kind == "given":
        return None
    from cgc_ros.masks.process import MaskProcess

    options = {}
    if kind == "sam":
        options = {"checkpoint": arguments.sam_checkpoint, "model_type": arguments.sam_model_type}
    elif kind == "onnx":
        options = {"model": arguments.onnx_model}
    given = {name: value for name, value in options.items() if value is not None}
    return MaskProcess(kind, **given).wait_until_ready()


@contextmanager
def _page(arguments: argparse.Namespace, session) -> Iterator[None]:
    """The live page, where it was asked for."""
    if not arguments.view:
        yield
        return
    with load_part("cgc_ros.viewer", "MapViewer", "the web viewer")(session, port=arguments.port) as viewer:
        note(f"watch it grow: {viewer.url}")
        yield


def _detail(state) -> str:
    status = state.status
    parts = [
        f"frame {state.frames_submitted}/{state.frames_total}",
        f"{status.keyframes} keyframes",
        f"{status.gaussians:,} Gaussians",
        f"{status.objects} objects",
        f"{status.steps_per_second:.1f} steps/s",
    ]
    if math.isfinite(status.train_psnr):
        parts.append(f"{status.train_psnr:.1f} dB")
    return ", ".join(parts)


def _changed(config) -> list[tuple[str, str]]:
    from cgc_ros.cli.settings import describe

    default = dict(describe(type(config)()))
    return [(name, value) for name, value in describe(config) if default[name] != value]


class _PrintConfig(argparse.Action):
    """As --help does: acts at once and ends the program, whatever else is missing."""

    def __init__(self, option_strings, dest, **options):
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, **options)

    def __call__(self, parser, namespace, values, option_string=None):
        from dataclasses import asdict

        from cgc_ros.cli.settings import describe
        from cgc_ros.declared import SettingError

        try:
            config = mapper_config(namespace)
        except SettingError as error:
            parser.error(str(error))
        if namespace.json:
            print_json(asdict(config))
        else:
            rows = describe(config)
            width = max(len(name) for name, _ in rows)
            print("\n".join(f"{name:<{width}}  {value}" for name, value in rows))
        parser.exit()


def _report(arguments: argparse.Namespace, metrics: dict, outcome) -> None:
    for message in outcome.unreadable[:3]:
        note(f"left out: {message}")
    if len(outcome.unreadable) > 3:
        note(f"left out: {len(outcome.unreadable) - 3} more frames that could not be read")
    if outcome.not_submitted:
        note(f"{outcome.not_submitted} frames were not mapped, the budget ended first: raise --budget")
    for name, text in metrics["faults"].items():
        note(f"fault {name}: {text}")
    dropped = metrics["frames"]["dropped"]
    if dropped:
        note("dropped frames: " + ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items())))
    if arguments.json:
        print_json(metrics)
        return
    print_figures(metrics, f"{metrics['sequence']}: mapped")
    print(f"\n{arguments.out}/map.cgc, objects.json, metrics.json, history.json, previews/")
    words = [arguments.out, arguments.sequence, *(f"--read={option}" for option in arguments.read)]
    print("score it: cgc eval", *(shlex.quote(str(word)) for word in words))
