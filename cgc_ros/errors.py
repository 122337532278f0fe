"""What the errors of every room share that are counted and reported by a reason."""

from __future__ import annotations


class ReasonError(Exception):
    """Something that cannot be used: the message names the value and the remedy, `reason` is a short counter key."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason
