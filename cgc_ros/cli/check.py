"""`cgc check`: whether inputs can be mapped: a recording's calibration, or (`--live`) a robot's topics."""

from __future__ import annotations

import argparse
from pathlib import Path

from cgc_ros.cli.console import add_json, load_part, note, positive, print_checks, print_json
from cgc_ros.cli.recordings import add_reader_options, open_recording
from cgc_ros.progress import progress_bar

#: Inputs are remapped, everything else that is given as NAME:=VALUE is a parameter.
_INPUTS = ("image", "camera_info", "depth", "masks", "pose", "/tf", "/tf_static")
_DESCRIPTION = """\
Of a recording SEQ: whether its calibration fits its own posed frames. Focal length, principal point, time offset
between images and poses, and depth scale are estimated from what the frames show, each with its uncertainty.
With --live: listen to a running robot as the node would and say, in one screen, what is there and what is missing:
images, calibration, depth, transforms, clock, QoS, DDS buffers, load.
Exit status 0 where nothing is contradicted beyond doubt (--live: the node would map), 1 otherwise.
"""


def add_parsers(subparsers) -> None:
    parser = subparsers.add_parser(
        "check",
        help="a recording's calibration, or a robot's topics: what is there, what is wrong, and what to do",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--live", action="store_true", help="listen to topics")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="SEQ | NAME:=VALUE",
        help=f"a recording; with --live topics ({', '.join(_INPUTS)}), __ns and the node's parameters, as for its "
        "launch file",
    )
    add_reader_options(parser)
    parser.add_argument(
        "--seconds", type=positive, default=10.0, metavar="S", help="how long to listen (default: %(default)g)"
    )
    add_json(parser)
    parser.add_argument(
        "--ros-args", nargs=argparse.REMAINDER, default=[], help="whatever else a ROS 2 node takes; the last option"
    )
    parser.set_defaults(run=lambda arguments: run(arguments, parser))


def run(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Check what was named, print one screen; 1 where something is wrong."""
    if not arguments.live:
        if len(arguments.names) != 1:
            parser.error("name one recording, or --live and topics")
        return _check_recording(arguments)
    try:
        assignments = [_assignment(text) for text in arguments.names]
    except argparse.ArgumentTypeError as error:
        parser.error(str(error))
    return _listen(arguments, assignments)


def _check_recording(arguments: argparse.Namespace) -> int:
    from cgc_ros.calibration.findings import findings, recalibration
    from cgc_ros.cli.recorded_calibration import check_sequence

    sequence = open_recording(Path(arguments.names[0]), arguments.read)
    for warning in sequence.warnings:
        note(f"{sequence.name}: {warning}")
    with progress_bar("matching") as update:
        found = check_sequence(sequence, on_progress=lambda done, total: update(done, total, ""))
    lines = findings(found)
    is_wrong = any(line.contradicted for line in lines)
    judgement = found.judgement
    if arguments.json:
        record = {
            "sequence": sequence.name,
            "frames": found.frames,
            "pairs": found.pairs,
            "matches": found.matches,
            "reason": found.reason,
            "epipolar_error_px": None if judgement is None else judgement.error_given_px,
            "epipolar_error_corrected_px": None if judgement is None else judgement.error_px,
            "findings": [vars(line) for line in lines],
            "calibration": recalibration(found).to_json(),
            "contradicted": is_wrong,
        }
        print_json(record)
    elif judgement is None:
        print(f"Nothing can be said about the calibration: {found.reason}.")
    else:
        errors = f"{found.matches} matches in {found.pairs} pairs of {found.frames} frames"
        errors += f", epipolar error {judgement.error_given_px:.2f} px"
        verdict = f"[green]The calibration fits[/] ({errors})."
        if is_wrong:
            verdict = f"[red]The calibration does not fit[/] ({errors}, {judgement.error_px:.2f} px corrected)."
        print_checks(lines, verdict)
    return 1 if is_wrong else 0


def _listen(arguments: argparse.Namespace, assignments: list[tuple[str, str]]) -> int:
    listen = load_part("cgc_ros.ros.live_observer", "listen", "the check of a running robot")
    from cgc_ros.ros.live_check import judge, would_map

    note(f"listening for {arguments.seconds:g} s ...")
    names = [part for name, value in assignments for part in _ros_argument(name, value)]
    findings = judge(listen(arguments.seconds, [*names, *arguments.ros_args]))
    can_map = would_map(findings)
    if arguments.json:
        print_json({"would_map": can_map, "findings": [vars(each) for each in findings]})
    else:
        verdict = "[green]The node would map this.[/]" if can_map else "[red]Nothing can be mapped:[/] mend what is ✗."
        print_checks(findings, verdict)
    return 0 if can_map else 1


def _assignment(text: str) -> tuple[str, str]:
    name, sign, value = text.partition(":=")
    if not sign or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME:=VALUE, as in image:=/camera/image_raw")
    return name, value


def _ros_argument(name: str, value: str) -> tuple[str, str]:
    return ("-r" if name in _INPUTS or name.startswith("__") else "-p"), f"{name}:={value}"
