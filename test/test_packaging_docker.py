"""The containers' files: what they name exists. Their style is hadolint's business."""

import re
from pathlib import Path

import yaml

from cgc_ros.ros.parameters import NodeParameters

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text()


def test_compose_builds_targets_that_the_dockerfile_has_and_sets_parameters_that_the_node_has():
    services = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]
    targets = re.findall(r"^FROM \S+ AS (\w+)$", DOCKERFILE, re.MULTILINE)
    assert [service["build"]["target"] for service in services.values()] == targets == ["cpu", "cuda"]
    for service in services.values():
        assert (ROOT / "docker" / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        parameters = [word.partition(":=")[0] for word in after(service["command"], "-p")]
        assert parameters and set(parameters) <= set(NodeParameters.__dataclass_fields__)
        assert {word.partition(":=")[0] for word in after(service["command"], "-r")} == {
            "image",
            "camera_info",
            "depth",
        }


def after(words: list[str], flag: str) -> list[str]:
    return [word for previous, word in zip(words, words[1:], strict=False) if previous == flag]


def test_images_are_made_by_make_targets_that_exist():
    targets = set(re.findall(r'(?:CGC_TORCH=\w+|ARCHITECTURES") make (\w+)', DOCKERFILE))
    makefile = (ROOT / "Makefile").read_text()
    assert targets == {"setup", "gpu"}
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
    assert set(re.findall(r"CGC_TORCH=(\w+)", DOCKERFILE)) == {"cpu", "cuda"}
    libraries = re.findall(r'": "(lib[\w.-]+)"', (ROOT / "scripts/setup_environment/prerequisites.py").read_text())
    assert libraries and DOCKERFILE.count(libraries[0]) == 2 and all(name in DOCKERFILE for name in libraries)
