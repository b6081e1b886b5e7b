"""Small results kept as JSON under the name of everything that shaped them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter

from synthrelease import store
from synthrelease.privacy.gallery import Frame

T = TypeVar("T")


def remembered(frame: Frame, title: str, made_from: object, kind: type[T], compute: Callable[[], T]) -> T:
    """Return what ``compute`` gives, from the cache where it was computed before.

    Args:
        frame: Its cache is used and its progress told.
        title: What is being done, for people; also names the result.
        made_from: JSON-able; everything that shapes the value.
        kind: Type of the value: a record, a dataclass, or a tuple of them.
        compute: Makes the value.
    """
    adapter = TypeAdapter(kind)

    def make(folder: Path) -> None:
        with frame.progress.task(title, 1) as advance:
            store.write_text(folder / "value.json", adapter.dump_json(compute()).decode())
            advance(1)

    def read(folder: Path) -> T:
        return adapter.validate_json((folder / "value.json").read_bytes())

    return store.kept(frame.cache, "-".join(title.lower().split()), made_from, make, read)
