"""`cgc check`: what the node would make of its inputs, before it runs. `--live`: a robot's topics."""

from __future__ import annotations

import argparse

from cgc_ros.cli.console import add_json, load_part, note, positive, print_checks, print_json

#: Inputs are remapped, everything else that is given as NAME:=VALUE is a parameter.
_INPUTS = ("image", "camera_info", "depth", "masks", "pose", "/tf", "/tf_static")


def add_parsers(subparsers) -> None:
    parser = subparsers.add_parser(
        "check",
        help="listen to a robot: what is there, what is missing, and what to do",
        description="Listen to a running robot as the node would and say, in one screen, what is there and what is "
        "missing: images, calibration, depth, transforms, clock, QoS, DDS buffers, load. "
        "Exit status 0 where the node would map, 1 otherwise.",
    )
    parser.add_argument("--live", action="store_true", required=True, help="listen to topics")
    parser.add_argument(
        "names",
        nargs="*",
        type=_assignment,
        metavar="NAME:=VALUE",
        help=f"topics ({', '.join(_INPUTS)}), __ns and the node's parameters, as for its launch file",
    )
    parser.add_argument("--seconds", type=positive, default=10.0, metavar="S", help="how long (default: %(default)g)")
    add_json(parser)
    parser.add_argument(
        "--ros-args", nargs=argparse.REMAINDER, default=[], help="whatever else a ROS 2 node takes; the last option"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Listen, print one screen; 1 where the node would not map."""
    listen = load_part("cgc_ros.ros.live_observer", "listen", "the check of a running robot")
    from cgc_ros.ros.live_check import judge, would_map

    note(f"listening for {arguments.seconds:g} s ...")
    names = [part for name, value in arguments.names for part in _ros_argument(name, value)]
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
