"""Progress for people (a bar) and for logs (a line now and then); both on stderr, so stdout stays parseable."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from synthrelease.cli import printable
from synthrelease.progress import Advance

PAUSE = 10.0  # seconds between lines in a log: a scheduler keeps every one of them


class ConsoleProgress:
    """Shows tasks on stderr: a rich bar on a terminal, a plain line every `PAUSE` seconds elsewhere."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)

    @contextmanager
    def task(self, name: str, total: int) -> Iterator[Advance]:
        if not self.console.is_terminal:
            yield _Lines(name, total).advance
            return
        columns = (TextColumn("{task.description:<34}"), BarColumn(bar_width=10), MofNCompleteColumn(), _Rate())
        with Progress(*columns, TimeRemainingColumn(compact=True), console=self.console, transient=True) as bars:
            bar = bars.add_task(name, total=total)
            yield lambda units: bars.advance(bar, units)
        self.console.print(Text(f"  {name}: done"))

    def say(self, text: str) -> None:
        self.console.print(Text(printable(text)))  # Text, not markup: file names may hold square brackets


class _Rate(ProgressColumn):
    """Units a second, once that is known."""

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{_rounded(task.speed)}/s")


def _rounded(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}"


class _Lines:
    def __init__(self, name: str, total: int) -> None:
        self.name, self.total, self.done = name, max(total, 1), 0
        self.first: int | None = None  # what a resumed run reports at once is not its pace
        self.start = self.spoken = time.monotonic()

    def advance(self, units: int) -> None:
        self.done += units
        now = time.monotonic()
        if self.first is None:
            self.first = self.done if now - self.start < 0.1 else 0
        finished = self.done >= self.total and now - self.start > 2
        if finished or now - self.spoken > PAUSE:
            self.spoken = now
            percent = min(100, 100 * self.done // self.total)
            rate = (self.done - self.first) / (now - self.start)
            left = f", {(self.total - self.done) / rate:.0f} s left" if rate > 0 and not finished else ""
            pace = f"{now - self.start:.0f} s, {_rounded(rate)}/s{left}"
            print(f"{self.name}: {percent} % ({pace})", file=sys.stderr, flush=True)
