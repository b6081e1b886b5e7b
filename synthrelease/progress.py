"""How long work tells that it goes on, without knowing whether a person, a log or nobody listens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int], None]


class Progress(Protocol):
    """Anything that can show named tasks; the CLI's is in `cli/console.py`."""

    def task(self, name: str, total: int) -> AbstractContextManager[Advance]:
        """Open a task of ``total`` units; call what it yields with the units just finished."""

    def say(self, text: str) -> None:
        """Show one line."""


class Silent:
    """Tells nobody: the default for library use."""

    @contextmanager
    def task(self, name: str, total: int) -> Iterator[Advance]:
        yield lambda units: None

    def say(self, text: str) -> None:
        """Say nothing."""


SILENT: Progress = Silent()
