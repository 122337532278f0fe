"""Progress of long work: a bar with an ETA on a terminal, lines of text elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console

LINE_PERIOD = 5.0  # seconds between two lines of text


class Update(Protocol):
    """Says where the work stands: `done` of `total` (None: nobody knows), and a detail in words."""

    def __call__(self, done: float, total: float | None, detail: str = "") -> None: ...


@contextmanager
def progress_bar(description: str, console: Console | None = None) -> Iterator[Update]:
    """Yield the function that moves the bar on `console` (default: stderr); the detail stands below the bar."""
    if console is None:
        from rich.console import Console

        console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(description, console)
        return
    with _bar(console) as progress:
        task = progress.add_task(description, total=None, detail="")
        yield lambda done, total, detail="": progress.update(task, completed=done, total=total, detail=detail)


def _bar(console: Console):
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.text import Text

    class Bar(Progress):
        def get_renderables(self):
            yield self.make_tasks_table(self.tasks)
            for task in self.tasks:
                yield Text(task.fields["detail"], style="dim", no_wrap=True, overflow="ellipsis")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("eta"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    return Bar(*columns, console=console, expand=True)


def _lines(description: str, console: Console) -> Update:
    start = time.monotonic()
    due, finished = start, False

    def update(done: float, total: float | None, detail: str = "") -> None:
        nonlocal due, finished
        now = time.monotonic()
        is_over = total is not None and done >= total
        if now < due and not (is_over and not finished):
            return
        due, finished = now + LINE_PERIOD, is_over
        share = "" if total is None else f" {min(100.0, 100 * done / max(total, 1e-9)):.0f}%"
        left = "" if total is None or not 0 < done < total else f", eta {(now - start) * (total - done) / done:.0f} s"
        line = f"{description}{share}, {now - start:.0f} s{left}{', ' + detail if detail else ''}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    return update
