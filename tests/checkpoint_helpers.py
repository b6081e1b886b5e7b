"""What tests of any training share: breaking it off, and comparing what two of them left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from synthrelease.progress import Advance
from synthrelease.training import checkpoint
from synthrelease.training.training_log import read_scalars


class Watched:
    """Progress that does something after a given number of steps, and remembers what was said."""

    def __init__(self, after: int, act: Callable[[], None]) -> None:
        self.left, self.act, self.said = after + 1, act, list[str]()  # the first report is what was done before

    @contextmanager
    def task(self, name: str, total: int) -> Iterator[Advance]:
        """Count steps."""

        def advance(units: int) -> None:
            self.left -= 1
            if self.left == 0:
                self.act()

        yield advance

    def say(self, text: str) -> None:
        """Remember."""
        self.said.append(text)


def power_failure() -> None:
    """Break off as nothing in the program would."""
    raise RuntimeError("power failure")


def everything_in(folder: Path) -> dict[str, Any]:
    """Return every tensor and number of the newest checkpoint by name."""
    latest = checkpoint.latest(folder)
    assert latest is not None
    state = checkpoint.load(latest)
    found: dict[str, Any] = {f"{part}/{name}": t for part, net in state.networks.items() for name, t in net.items()}
    for part, optimiser in state.optimisers.items():
        for number, entries in optimiser["state"].items():
            found |= {f"{part}/{number}/{key}": value for key, value in entries.items()}
    return found | {f"scalar/{name}": value for name, value in state.scalars.items()} | {"step": state.step}


def tensors_in(folder: Path) -> dict[str, torch.Tensor]:
    """Return every tensor of the newest checkpoint by name."""
    return {name: value for name, value in everything_in(folder).items() if isinstance(value, torch.Tensor)}


def same(first: Path, second: Path) -> bool:
    """Return whether two training folders' newest checkpoints are equal to the bit."""
    one, two = everything_in(first), everything_in(second)
    return one.keys() == two.keys() and all(_equal(one[name], two[name]) for name in one)


def _equal(one: Any, two: Any) -> bool:
    return torch.equal(one, two) if isinstance(one, torch.Tensor) else bool(one == two)


def curve(folder: Path) -> list[dict[str, Any]]:
    """Return the logged scalars, without the pace."""
    return [{k: v for k, v in row.items() if k != "images_per_second"} for row in read_scalars(folder)]
