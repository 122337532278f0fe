"""Write the exact versions of all indirect dependencies to requirements/constraints-<python>.txt.

Run as `make lock` in a freshly made .venv. The direct ones are pinned, by purpose, in the other files of requirements/.
"""

import importlib.metadata
import re
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements"
UNPINNED = {"pip", "cgc-ros"}


def main() -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    files = [file for file in REQUIREMENTS.glob("*.txt") if not file.name.startswith("constraints")]
    direct = {name for file in files for name in requirement_names(file)}
    pins = sorted(
        f"{canonical(distribution.name)}=={distribution.version}"
        for distribution in importlib.metadata.distributions()
        if came_from_pip(distribution) and canonical(distribution.name) not in direct | UNPINNED
    )
    file = REQUIREMENTS / f"constraints-{version}.txt"
    header = f"# What the other files here bring along, exactly, on CPython {version}. Written by `make lock`.\n"
    file.write_text(header + "".join(f"{pin}\n" for pin in pins))
    print(f"{file}: {len(pins)} versions")


def requirement_names(file: Path) -> set[str]:
    lines = (line.split("#")[0].strip() for line in file.read_text().splitlines())
    return {canonical(re.split(r"[=<>; \[]", line)[0]) for line in lines if line}


def came_from_pip(distribution: importlib.metadata.Distribution) -> bool:
    """The ROS wheels also carry the egg-info folders of ament's own installation, which no index knows."""
    return distribution.read_text("INSTALLER") is not None


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main()
