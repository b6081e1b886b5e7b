"""Progress for people (a bar) and for logs (a line per tenth); both on stderr, so stdout stays parseable."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from synthrelease.progress import Advance


class ConsoleProgress:
    """Shows tasks on stderr: a rich bar on a terminal, at most ten plain lines a task elsewhere."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)

    @contextmanager
    def task(self, name: str, total: int) -> Iterator[Advance]:
        if not self.console.is_terminal:
            yield _Lines(name, total).advance
            return
        columns = (TextColumn("{task.description:<34}"), BarColumn(bar_width=16), MofNCompleteColumn())
        with Progress(*columns, TimeRemainingColumn(), console=self.console, transient=True) as bars:
            bar = bars.add_task(name, total=total)
            yield lambda units: bars.advance(bar, units)
        self.console.print(Text(f"  {name}: done"))

    def say(self, text: str) -> None:
        self.console.print(Text(text))  # Text, not markup: file names may hold square brackets


class _Lines:
    def __init__(self, name: str, total: int) -> None:
        self.name, self.total, self.done, self.printed, self.start = name, max(total, 1), 0, -1, time.monotonic()

    def advance(self, units: int) -> None:
        self.done += units
        tenth = 10 * self.done // self.total
        if tenth > self.printed:
            self.printed = tenth
            seconds = time.monotonic() - self.start
            print(f"{self.name}: {min(10 * tenth, 100)} % ({seconds:.0f} s)", file=sys.stderr, flush=True)
