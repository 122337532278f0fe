"""Which torch operators some code runs, autograd's among them: each is a launch where the tensors are on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch.utils._python_dispatch import TorchDispatchMode


class DispatchedOperators(TorchDispatchMode):
    """Records (name, arguments) of every operator that does work: no views of a tensor, no memory left unwritten."""

    _paused = 0

    def __init__(self):
        super().__init__()
        self.calls: list[tuple[str, tuple]] = []

    def __torch_dispatch__(self, operator, types, arguments=(), keywords=None):
        name = operator.overloadpacket.__name__
        idle = operator.is_view or name in ("empty", "empty_like", "new_empty")
        if not idle and not type(self)._paused and operator.namespace == "aten":
            self.calls.append((name, arguments))
        return operator(*arguments, **(keywords or {}))

    @classmethod
    @contextmanager
    def paused(cls) -> Iterator[None]:
        """What runs meanwhile is not recorded."""
        cls._paused += 1
        try:
            yield
        finally:
            cls._paused -= 1
