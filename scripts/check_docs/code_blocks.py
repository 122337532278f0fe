"""Checks of the documentation's Python and C++ blocks."""

from __future__ import annotations

import ast
import subprocess
import sysconfig
import tempfile
from pathlib import Path

from documents import Found

STAND_IN = Path(__file__).with_name("rclcpp_stand_in")
SIGNATURES = ("architecture.md",)  # documents whose blocks list signatures, not programs


def python_problem(found: Found) -> str:
    """A syntax error or an import that does not exist; test/test_docs.py runs the programs."""
    if found.document in SIGNATURES:
        return ""
    try:
        tree = ast.parse(found.text)
        for node in tree.body:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                exec(compile(ast.Module([node], []), found.document, "exec"), {})
    except (SyntaxError, ImportError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def cpp_problem(found: Found) -> str:
    """What the compiler says, with the messages' own headers and a stand-in for rclcpp, which the wheels lack."""
    includes = [STAND_IN, *_message_headers()]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "example.cpp"
        source.write_text(found.text)
        command = ["g++", "-std=c++17", "-fsyntax-only", *(f"-I{path}" for path in includes), str(source)]
        result = subprocess.run(command, capture_output=True, text=True)
    return result.stderr[:800] if result.returncode else ""


def _message_headers() -> list[Path]:
    """Include folders of the environment's packages; those of cgc_ros lie beside its generated Python, if elsewhere."""
    import cgc_ros.msg

    prefixes = [Path(sysconfig.get_path("data")), Path(cgc_ros.msg.__file__).parents[5]]
    return [path for prefix in reversed(prefixes) for path in sorted((prefix / "include").glob("*")) if path.is_dir()]
