"""Progress as lines of text, where there is no terminal."""

import io

import pytest
from rich.console import Console

from cgc_ros import progress
from cgc_ros.progress import progress_bar


@pytest.fixture
def clock(monkeypatch):
    """The time that progress goes by, seconds; the test moves it."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def lines_of(clock, moments):
    """What is printed for (seconds, done, total, detail), one update each."""
    output = io.StringIO()
    with progress_bar("mapping", Console(file=output)) as update:
        for clock[0], done, total, detail in moments:
            update(done, total, detail)
    return output.getvalue().splitlines()


def test_a_line_comes_at_once_every_few_seconds_and_at_the_end(clock):
    moments = [(0.0, 0, 20, "a"), (4.0, 4, 20, "b"), (5.0, 5, 20, "c"), (6.0, 20, 20, ""), (6.5, 20, 20, "")]
    assert lines_of(clock, moments) == ["mapping 0%, 0 s, a", "mapping 25%, 5 s, eta 15 s, c", "mapping 100%, 6 s"]


def test_work_of_unknown_length_has_neither_share_nor_eta(clock):
    assert lines_of(clock, [(0.0, 0, None, ""), (7.0, 7, None, "still here")]) == [
        "mapping, 0 s",
        "mapping, 7 s, still here",
    ]


def test_what_looks_like_markup_is_printed_as_it_is(clock):
    assert lines_of(clock, [(0.0, 0, None, "[red]x[/red]")]) == ["mapping, 0 s, [red]x[/red]"]


def test_a_terminal_has_a_bar_with_the_detail_below():
    output = io.StringIO()
    with progress_bar("mapping", Console(file=output, force_terminal=True, width=80)) as update:
        update(5, 20, "12 objects")
    assert "mapping" in output.getvalue() and "25%" in output.getvalue() and "12 objects" in output.getvalue()
