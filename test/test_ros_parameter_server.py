"""Parameters on a real node: what files, the command line and clients give, and what is said of it."""

from __future__ import annotations

import pytest
import rclpy
from rclpy.context import Context
from rclpy.node import Node
from rclpy.parameter import Parameter

from cgc_ros.ros.node_parameters import ParameterError, ParameterServer


@pytest.fixture
def serve(tmp_path):
    """A server on a node started with a parameter file and `-p` assignments; all end with the test."""
    context, nodes = Context(), []
    rclpy.init(context=context)

    def start(text="", *assignments, can_reconfigure=True):
        (tmp_path / "cgc.yaml").write_text(f"/**:\n  ros__parameters:\n    use_sim_time: false\n{text}")
        arguments = ["--ros-args", "--params-file", str(tmp_path / "cgc.yaml")]
        arguments += [part for each in assignments for part in ("-p", each)]
        node = Node("cgc", context=context, cli_args=arguments, automatically_declare_parameters_from_overrides=True)
        nodes.append(node)
        return node, ParameterServer(node, lambda: can_reconfigure, lambda parameters: None)

    yield start
    for node in nodes:
        node.destroy_node()
    rclpy.shutdown(context=context)


def test_whole_numbers_are_taken_where_doubles_are_declared(serve):
    node, server = serve("    label_rate: 5\n    mapper: {up: [0, -1, 0]}\n", "overlay_rate:=3")
    assert [node.get_parameter(name).type_ for name in ("label_rate", "overlay_rate", "mapper.up")] == [
        Parameter.Type.DOUBLE,
        Parameter.Type.DOUBLE,
        Parameter.Type.DOUBLE_ARRAY,
    ]
    assert (server.current.label_rate, server.current.overlay_rate) == (5.0, 3.0)
    assert server.current.mapper.up == (0.0, -1.0, 0.0)


def test_a_client_may_set_a_double_by_a_whole_number(serve):
    node, server = serve()
    assert node.set_parameters([Parameter("label_rate", value=7)])[0].successful
    assert node.set_parameters_atomically([Parameter("render_rate", value=2)]).successful
    assert node.get_parameter("label_rate").type_ == Parameter.Type.DOUBLE
    assert (server.current.label_rate, server.current.render_rate) == (7.0, 2.0)


@pytest.mark.parametrize(("name", "value"), [("label_rate", "5"), ("label_rate", True), ("cloud_points", 2.5)])
def test_what_is_no_such_number_is_refused(serve, name, value):
    node, server = serve()
    result = node.set_parameters([Parameter(name, value=value)])[0]
    assert not result.successful and result.reason
    assert node.get_parameter(name).value == getattr(server.current, name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label_rate: 2000", r"label_rate must be within 0\.\.1000 Hz, not 2000"),
        ("image_transport: telepathy", "image_transport must be one of auto, raw, compressed, not 'telepathy'"),
        ("threads: 1.5", r"threads must be a whole number, not 1\.5"),
        ("mapper: {density: {max_gaussians: 0}}", r"mapper\.density\.max_gaussians must be within 1\.\."),
    ],
)
def test_a_file_with_a_value_that_does_not_fit_is_refused_by_name(serve, text, message):
    with pytest.raises(ParameterError, match=message):
        serve(f"    {text}\n")


def test_a_misspelt_parameter_is_warned_about_with_the_nearest_name(serve, capfd):
    node, _ = serve("    lable_rate: 5.0\n    mapper: {densty: {max_gaussians: 7}}\n", "quux:=1")
    warnings = capfd.readouterr().err
    assert "parameter lable_rate" in warnings and "did you mean label_rate?" in warnings
    assert (
        "parameter mapper.densty.max_gaussians" in warnings and "did you mean mapper.density.max_gaussians?" in warnings
    )
    assert "parameter quux" in warnings and "use_sim_time" not in warnings
    assert not any(node.has_parameter(name) for name in ("lable_rate", "mapper.densty.max_gaussians", "quux"))


def test_descriptors_carry_text_unit_and_range(serve):
    node, _ = serve()
    rate, cap = node.describe_parameters(["overlay_rate", "mapper.density.max_gaussians"])
    assert rate.description == "most overlays [Hz, takes effect any time]"
    assert (rate.floating_point_range[0].from_value, rate.floating_point_range[0].to_value) == (0.0, 1000.0)
    assert cap.integer_range[0].from_value == 1 and "max gaussians" not in cap.description
    assert node.describe_parameter("mask_source").additional_constraints == "one of: graph, sam, onnx, topic, none"


def test_what_applies_on_configure_is_refused_afterwards(serve):
    node, _ = serve(can_reconfigure=False)
    refused = node.set_parameters([Parameter("mapper.density.max_gaussians", value=10)])[0]
    assert not refused.successful and "clean up the node first" in refused.reason
