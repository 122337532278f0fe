"""The declarations of parameters.py made into ROS parameters, with refusals that say why."""

from __future__ import annotations

from collections.abc import Callable

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from cgc_ros.ros.parameters import CONFIGURE, START, Declaration, NodeParameters, declarations, parameters_from


class ParameterError(ValueError):
    """A parameter file or override that cannot be taken."""


class ParameterServer:
    """Declares all parameters and keeps the current NodeParameters in `current`.

    `can_reconfigure()` tells whether parameters that apply on configure may change now; `on_change(new)` is called
    after each change.
    """

    def __init__(self, node: Node, can_reconfigure: Callable[[], bool], on_change: Callable[[NodeParameters], None]):
        self._node, self._can_reconfigure, self._on_change = node, can_reconfigure, on_change
        self._declarations = {each.name: each for each in declarations()}
        for each in self._declarations.values():
            self._declare(each)
        self.current = self._read()
        node.add_on_set_parameters_callback(self._check)
        node.add_post_set_parameters_callback(self._apply)

    def _declare(self, each: Declaration) -> None:
        try:
            value = self._node.declare_parameter(each.name, each.default, _descriptor(each)).value
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            raise ParameterError(f"parameter {each.name}: {error} ({each.text})") from error
        refusal = each.refusal(value)
        if refusal:
            raise ParameterError(refusal)

    def _read(self) -> NodeParameters:
        values = self._node.get_parameters(list(self._declarations))
        return parameters_from({each.name: each.value for each in values})

    def _check(self, changes: list[Parameter]) -> SetParametersResult:
        for change in changes:
            declaration = self._declarations.get(change.name)
            if declaration is None:
                continue
            refusal = declaration.refusal(change.value)
            if not refusal and declaration.when == CONFIGURE and not self._can_reconfigure():
                refusal = (
                    f"{change.name} takes effect on configure: deactivate and clean up the node first, "
                    "or set it in the parameter file"
                )
            if refusal:
                return SetParametersResult(successful=False, reason=refusal)
        return SetParametersResult(successful=True)

    def _apply(self, changes: list[Parameter]) -> None:
        if any(change.name in self._declarations for change in changes):
            self.current = self._read()
            self._on_change(self.current)


def _descriptor(each: Declaration) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(
        name=each.name,
        description=f"{each.text} [takes effect {each.when}]",
        read_only=each.when == START,
        additional_constraints=f"one of: {', '.join(each.choices)}" if each.choices else "",
    )
    if each.limits and isinstance(each.default, float):
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=float(each.limits[0]), to_value=float(each.limits[1]))
        ]
    elif each.limits:
        descriptor.integer_range = [IntegerRange(from_value=int(each.limits[0]), to_value=int(each.limits[1]))]
    return descriptor
