"""Progress of long work, on stderr: a bar with an ETA on a terminal, lines of text elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cgc_ros.cli.console import note

#: Called as update(done, total, detail).
Update = Callable[[float, float, str], None]

LINE_PERIOD = 5.0  # seconds between two lines of text


@contextmanager
def progress_bar(description: str) -> Iterator[Update]:
    """Yield `update(done, total, detail)`; the detail stands below the bar."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(description)
        return
    with _bar(console) as progress:
        task = progress.add_task(description, total=None, detail="")

        def show(done: float, total: float, detail: str = "") -> None:
            progress.update(task, completed=done, total=total, detail=detail)

        yield show


def _bar(console):
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


def _lines(description: str) -> Update:
    start = time.monotonic()
    due, finished = start, False

    def update(done: float, total: float, detail: str = "") -> None:
        nonlocal due, finished
        now = time.monotonic()
        if now < due and not (done >= total and not finished):
            return
        due, finished = now + LINE_PERIOD, done >= total
        percent = min(100.0, 100 * done / max(total, 1e-9))
        left = f", eta {(now - start) * (total - done) / done:.0f} s" if 0 < done < total else ""
        note(f"{description} {percent:.0f}%, {now - start:.0f} s{left}{', ' + detail if detail else ''}")

    return update
