"""package.xml, CMakeLists.txt, pyproject.toml and requirements/ agree with the source and with each other."""

from __future__ import annotations

import ast
import functools
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import cgc_ros

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "cgc_ros"
tomllib = pytest.importorskip("tomllib", reason="tomllib came with Python 3.11")

# Module: (distribution on PyPI, key in package.xml). No key: documented there for pip.
LIBRARIES = {
    "cv2": ("opencv-python-headless", "python3-opencv"),
    "edt": ("edt", ""),
    "gsplat": ("gsplat", ""),
    "liblzfse": ("pyliblzfse", ""),
    "matplotlib": ("matplotlib", "python3-matplotlib"),
    "numpy": ("numpy", "python3-numpy"),
    "open_clip": ("open-clip-torch", ""),
    "onnxruntime": ("onnxruntime", ""),
    "OpenEXR": ("openexr", ""),
    "open3d": ("open3d", "python3-open3d-pip"),
    "PIL": ("pillow", "python3-pil"),
    "rich": ("rich", "python3-rich"),
    "rosbags": ("rosbags", "python3-rosbags-pip"),
    "safetensors": ("safetensors", ""),
    "psutil": ("psutil", "python3-psutil"),
    "scipy": ("scipy", "python3-scipy"),
    "segment_anything": ("segment-anything", ""),
    "skimage": ("scikit-image", "python3-skimage"),
    "sklearn": ("scikit-learn", "python3-sklearn"),
    "torch": ("torch", "python3-torch"),
    "torchvision": ("torchvision", ""),
    "trimesh": ("trimesh", ""),
    "viser": ("viser", ""),
    "yourdfpy": ("yourdfpy", ""),
    "yaml": ("pyyaml", "python3-yaml"),
}
ROS_PACKAGES = {
    *(
        "ament_index_python",
        "builtin_interfaces",
        "cv_bridge",
        "diagnostic_msgs",
        "geometry_msgs",
        "lifecycle_msgs",
        "nav_msgs",
        "rcl_interfaces",
        "rclpy",
    ),
    *("sensor_msgs", "std_msgs", "std_srvs", "tf2_msgs", "vision_msgs", "visualization_msgs"),
}
ROS_MODULES = {name: name for name in ROS_PACKAGES} | {"tf2_ros": "tf2_ros_py", "rosgraph_msgs": "rclpy"}


@functools.cache
def imported_modules(folder: Path) -> set[str]:
    """Top-level names of all absolute imports in a folder that are neither the standard library's nor our own."""
    found = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"cgc_ros"}


def manifest_dependencies() -> set[str]:
    root = ElementTree.parse(ROOT / "package.xml").getroot()
    return {element.text for element in root if element.tag.endswith("depend")}


def names_of(requirements: list[str]) -> set[str]:
    return {re.split(r"[=<>; \[]", line)[0].lower() for line in requirements if line and not line.startswith("#")}


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_every_import_has_a_declared_source():
    assert imported_modules(PACKAGE) <= LIBRARIES.keys() | ROS_MODULES.keys()


def test_manifest_names_every_imported_package():
    needed = {LIBRARIES[name][1] if name in LIBRARIES else ROS_MODULES[name] for name in imported_modules(PACKAGE)}
    assert needed - {""} <= manifest_dependencies()


def test_manifest_documents_what_only_pip_has():
    comments = " ".join(re.findall(r"<!--(.*?)-->", (ROOT / "package.xml").read_text(), re.DOTALL))
    for name in imported_modules(PACKAGE) & LIBRARIES.keys():
        distribution, key = LIBRARIES[name]
        assert key or distribution in comments, name


def test_pip_installs_every_library_that_the_core_imports(project):
    everything = project["dependencies"] + [
        each for extra in project["optional-dependencies"].values() for each in extra
    ]
    for name in imported_modules(PACKAGE) & LIBRARIES.keys():
        assert LIBRARIES[name][0] in names_of(everything), name


def test_every_dependency_is_pinned_for_make_setup(project):
    pinned = (ROOT / "requirements" / "core.txt").read_text().splitlines()
    assert names_of(project["dependencies"]) == names_of(pinned)
    for file in (ROOT / "requirements").glob("*.txt"):
        lines = [line.split("#")[0].strip() for line in file.read_text().splitlines()]
        assert [line for line in lines if line and "==" not in line] == [], file.name


def test_one_version_everywhere():
    manifest = ElementTree.parse(ROOT / "package.xml").getroot().findtext("version")
    assert manifest == cgc_ros.__version__


def test_cmake_lists_every_interface():
    text = (ROOT / "CMakeLists.txt").read_text()
    interfaces = {str(file.relative_to(ROOT)) for kind in ("msg", "srv") for file in ROOT.glob(f"{kind}/*.{kind}")}
    assert set(re.findall(r"(?:msg|srv)/\w+\.(?:msg|srv)", text)) == interfaces


def test_the_package_needs_no_later_python_than_the_promised_one(project):
    vermin = pytest.importorskip("vermin")
    promised = tuple(int(part) for part in project["requires-python"].removeprefix(">=").split("."))
    later = {}
    for file in PACKAGE.rglob("*.py"):
        _, needed = vermin.visit(file.read_text()).minimum_versions()
        if needed and needed > promised:
            later[str(file.relative_to(ROOT))] = needed
    assert later == {}


def test_lower_bounds_are_releases_that_can_be_installed(project):
    for requirement in project["dependencies"]:
        assert re.fullmatch(r"[a-z0-9-]+>=[\d.]+", requirement), requirement
