"""Queries by text: the session's keyframes and its newest snapshot, given to the text search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cgc_ros.mapping import MapObject, MappingSession
    from cgc_ros.mapping.text_search import TextSearch


@dataclass(frozen=True)
class TextQuery:
    """`relevance` is called by the queries' service thread, where waiting is allowed: encoding takes its time."""

    session: MappingSession
    search: TextSearch

    def relevance(self, text: str, objects: Sequence[MapObject]) -> dict[int, float]:
        """How well a text describes each object, 0..1, by id; those that no keyframe shows are left out."""
        snapshot = self.session.snapshot
        if snapshot is None:
            return {}
        keyframes = self.session.ask(lambda mapper: tuple(mapper.keyframes))
        return self.search.relevance(text, objects, keyframes, snapshot)

    def clear(self) -> None:
        """The map was replaced."""
        self.search.clear()
