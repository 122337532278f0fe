"""The table of rooms in docs/architecture.md, held against every import of the package, lazy ones too."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "cgc_ros"
#: Rooms that may know ROS.
ROS_ROOMS = {"ros", "demo", "cli"}


def modules() -> dict[str, Path]:
    """Every module of the source tree by its dotted name; a package by its own."""
    found = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}


def names_of(tree: ast.Module) -> set[str]:
    """What a module binds at its top level."""
    bound = set()
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.Assign):
            bound |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            bound.add(node.target.id)
    return bound


def imports_of(tree: ast.Module) -> set[str]:
    """Modules that a module imports anywhere in it; a name that a package binds counts as the package."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"a relative import of {node.module}: this package imports by full names"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                is_bound = node.module in TREES and alias.name in names_of(TREES[node.module])
                # What is neither a file here nor bound is compiled (the kernels) or generated (messages).
                found.add(node.module if is_bound or not node.module.startswith(PACKAGE) else inner)
    return found


IMPORTS = {name: imports_of(tree) for name, tree in TREES.items()}


def room_of(module: str) -> str:
    """The folder, or the file beside the folders, in which a module lives."""
    return module.split(".")[1] if "." in module else ""


def imports_between_rooms() -> dict[str, set[str]]:
    """What each room imports of the others."""
    found: dict[str, set[str]] = {}
    for module, imported in IMPORTS.items():
        others = {room_of(name) for name in imported if name.startswith(PACKAGE + ".")}
        found.setdefault(room_of(module), set()).update(others - {room_of(module)})
    found.pop("")
    return found


def table_of_rooms() -> dict[str, set[str]]:
    """Of docs/architecture.md, from the lowest room up: what each imports."""
    rows = re.findall(r"^\| `([\w.]+)/?` \| [^|]+ \| ([^|]*) \|$", (ROOT / "docs/architecture.md").read_text(), re.M)
    return {name.removesuffix(".py"): set(re.findall(r"\w+", imported)) for name, imported in rows}


def circles_in(graph: dict[str, set[str]]) -> list[set[str]]:
    """Groups of nodes that reach each other (Tarjan's strongly connected components)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    path: list[str] = []
    found = []

    def visit(node: str) -> None:
        order[node] = low[node] = len(order)
        path.append(node)
        for other in graph[node]:
            if other not in order:
                visit(other)
            if other in path:
                low[node] = min(low[node], low[other])
        if low[node] == order[node]:
            circle = set(path[path.index(node) :])
            del path[path.index(node) :]
            if len(circle) > 1:
                found.append(circle)

    for node in graph:
        if node not in order:
            visit(node)
    return found


def test_the_table_names_what_every_room_imports():
    table = table_of_rooms()
    for room, imported in imports_between_rooms().items():
        expected = ", ".join(each for each in table if each in imported)
        assert room in table, f"docs/architecture.md has no row for {room}, which imports: {expected}"
        assert table[room] == imported, f"docs/architecture.md's row of {room} should say: {expected or '-'}"


def test_every_row_of_the_table_is_a_room():
    generated = {"msg", "srv"}
    assert set(table_of_rooms()) - generated == set(imports_between_rooms())


def test_a_room_imports_only_rooms_below_it():
    floors = list(table_of_rooms())
    for floor, (room, imported) in enumerate(table_of_rooms().items()):
        assert not (higher := imported - set(floors[:floor])), f"{room} imports {higher}, which is not below it"


def test_no_modules_import_each_other_in_a_circle():
    graph = {name: {each for each in imported if each in MODULES} for name, imported in IMPORTS.items()}
    assert circles_in(graph) == []


def test_ros_is_known_to_its_own_rooms_alone():
    is_ros = re.compile(r"(rclpy|cv_bridge|tf2_ros|ament_\w+|\w+_(msgs|srvs|interfaces)|cgc_ros\.(msg|srv))(\.|$)")
    for module, imported in IMPORTS.items():
        if room_of(module) not in ROS_ROOMS:
            assert not (found := [name for name in imported if is_ros.match(name)]), f"{module} imports {found}"


def test_modules_that_are_named_in_strings_exist():
    built = {f"{PACKAGE}.msg", f"{PACKAGE}.srv", f"{PACKAGE}.rendering._kernels"}
    for module, tree in TREES.items():
        texts = {
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        named = {text for text in texts if re.fullmatch(rf"{PACKAGE}(\.\w+)+", text)}
        assert not (missing := named - set(MODULES) - built), f"{module} names {missing}"


@pytest.mark.parametrize(
    ("graph", "circles"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"a"}, "c": {"a"}}, [{"a", "b"}]),
        ({"a": {"b", "d"}, "b": {"c"}, "c": {"a"}, "d": {"e"}, "e": {"d"}}, [{"d", "e"}, {"a", "b", "c"}]),
    ],
)
def test_circles_are_found(graph, circles):
    assert circles_in(graph) == circles
