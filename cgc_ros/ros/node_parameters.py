"""The declarations of parameters.py made into ROS parameters, with refusals that say why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from cgc_ros.declared import SettingError, nearest_name
from cgc_ros.ros.parameters import CONFIGURE, START, Declaration, NodeParameters, declarations, parameters_from

#: Parameters that rclpy reads by itself.
_RCLPY = ("use_sim_time", "start_type_description_service")


class ParameterError(ValueError):
    """A parameter file or override that cannot be taken."""


class ParameterServer:
    """Declares all parameters and keeps the current NodeParameters in `current`.

    The node has to be made with `automatically_declare_parameters_from_overrides`: rclpy tells in no other way what the
    parameter files and the command line hold, and so what in them is misspelt, or a whole number where a double is
    declared.

    `can_reconfigure()` tells whether parameters that apply on configure may change now; `on_change(new)` is called
    after each change. Raises ParameterError where a file or the command line has a value that does not fit.
    """

    def __init__(self, node: Node, can_reconfigure: Callable[[], bool], on_change: Callable[[NodeParameters], None]):
        self._node, self._can_reconfigure, self._on_change = node, can_reconfigure, on_change
        self._declarations = {each.name: each for each in declarations()}
        given = self._take_overrides()
        for each in self._declarations.values():
            self._declare(each, given.get(each.name, each.default))
        self.current = self._read()
        node.add_pre_set_parameters_callback(self._convert)
        node.add_on_set_parameters_callback(self._check)
        node.add_post_set_parameters_callback(self._apply)

    def _take_overrides(self) -> dict[str, Any]:
        """Values of parameter files and the command line, undeclared again; warns of those that nothing reads."""
        given = {}
        given_by_name: dict[str, Any] = self._node.get_parameters_by_prefix("")  # Parameters, whatever rclpy annotates
        for name, parameter in given_by_name.items():
            if name in _RCLPY:
                continue
            given[name] = parameter.value
            self._node.undeclare_parameter(name)
            if name not in self._declarations:
                hint = nearest_name(name, self._declarations)
                self._node.get_logger().warning(
                    f"parameter {name}, of a parameter file or the command line, is not known and changes nothing"
                    + (f": {hint}" if hint else ": `ros2 param list` names those that are")
                )
        return given

    def _declare(self, each: Declaration, value: Any) -> None:
        try:
            value = each.ros_value(value)
        except SettingError as error:
            raise ParameterError(f"parameter {error} ({each.setting.text})") from error
        self._node.declare_parameter(each.name, value, _descriptor(each), ignore_override=True)

    def _read(self) -> NodeParameters:
        values = self._node.get_parameters(list(self._declarations))
        return parameters_from({each.name: each.value for each in values})

    def _convert(self, changes: list[Parameter]) -> list[Parameter]:
        """Whole numbers as doubles where doubles are declared; what does not fit stays as it is, to be refused."""
        return [self._converted(change) for change in changes]

    def _converted(self, change: Parameter) -> Parameter:
        declaration = self._declarations.get(change.name)
        if declaration is None or declaration.refusal(change.value):
            return change
        return Parameter(change.name, value=declaration.ros_value(change.value))

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
    setting = each.setting
    notes = ", ".join(filter(None, (setting.unit, f"takes effect {each.when}")))
    descriptor = ParameterDescriptor(
        name=each.name,
        description=f"{setting.text} [{notes}]",
        read_only=each.when == START,
        additional_constraints=f"one of: {', '.join(setting.choices)}" if setting.choices else "",
    )
    if setting.limits and isinstance(each.default, float):
        descriptor.floating_point_range = [FloatingPointRange(from_value=setting.limits[0], to_value=setting.limits[1])]
    elif setting.limits and isinstance(each.default, int):
        descriptor.integer_range = [IntegerRange(from_value=setting.limits[0], to_value=setting.limits[1])]
    return descriptor
