"""The commands and code blocks of README.md and docs/*.md."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = ("cgc", "make", "python", "python3", "ros2", "pip", "git", "sudo", "source", "export", "colcon", "rosdep",
            "mkdir", ".venv/bin/", "PYTHONPATH=", "PIP_BREAK", "python3.11", "curl", "docker")  # fmt: skip
_FENCE = re.compile(r"^```(\w*)\s*$")
_PLACEHOLDER = re.compile(r"\b(SEQ|DIR|DIR2|FILE|COMMAND|HZ|NAME|SECONDS|VALUE)\b|\.\.\.")


@dataclass(frozen=True)
class Found:
    """A command, or a block of code, and where it stands."""

    text: str
    document: str
    line: int


def commands() -> list[Found]:
    """Every command, in the order of reading: of bash blocks, of indented blocks, and in `code` of tables."""
    return [found for document in DOCUMENTS for found in _commands_of(document)]


def blocks(language: str) -> list[Found]:
    """Fenced blocks of one language."""
    return [Found(text, document.name, line) for document in DOCUMENTS
            for kind, line, text in _fenced(document) if kind == language]  # fmt: skip


def _commands_of(document: Path) -> list[Found]:
    found = []
    for kind, line, text in _fenced(document):
        if kind == "bash":
            found += [Found(command, document.name, line) for command in _joined(text) if command]
    fenced = False
    for number, line in enumerate(document.read_text().splitlines(), 1):
        fenced ^= bool(line.startswith("```"))
        if fenced:
            continue
        if line.startswith("    ") and line.strip().startswith(PROGRAMS):
            found.append(Found(re.split(r" {3,}", line.strip())[0], document.name, number))
        elif line.startswith("|"):
            for code in re.findall(r"`(cgc \w+ [^`]+)`", line):
                if not _PLACEHOLDER.search(code):
                    found.append(Found(code, document.name, number))
    parts = [Found(part.strip(), each.document, each.line) for each in found for part in each.text.split(" && ")]
    return [each for each in parts if each.text.startswith(PROGRAMS)]


def _fenced(document: Path) -> list[tuple[str, int, str]]:
    """Language, first line and text of every fenced block."""
    found, kind, start, lines = [], None, 0, []
    for number, line in enumerate(document.read_text().splitlines(), 1):
        fence = _FENCE.match(line)
        if fence and kind is None:
            kind, start, lines = fence[1], number + 1, []
        elif fence:
            found.append((kind, start, "\n".join(lines)))
            kind = None
        else:
            lines.append(line)
    return found


def _joined(block: str) -> list[str]:
    """Lines of a shell block, continued ones joined, comments left out."""
    lines = re.sub(r"\\\n\s*", "", block).splitlines()
    commands = [re.sub(r"\s+#.*$", "", line).strip() for line in lines]
    return [part.strip() for line in commands if not line.startswith("#") for part in line.split("; ")]
