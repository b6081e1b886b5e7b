"""What a training shows while it runs: scalars in a file (and TensorBoard where it is installed), grids of samples."""

from __future__ import annotations

import importlib.util
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from synthrelease import store

SCALARS = "scalars.jsonl"
GRIDS = "samples"
BOARD = "tensorboard"


class TrainingLog:
    """Scalars of one training folder, one JSON object a line, and sample grids, one PNG a channel."""

    def __init__(self, folder: Path, *, step: int, board: bool = False) -> None:
        """Open the log; lines after ``step`` are dropped, because a resumed run writes them again.

        Args:
            folder: The training folder.
            step: The step to go on from; 0 starts anew.
            board: Also write for TensorBoard, if it is installed.
        """
        self._folder = folder
        with store.disk_errors(folder):
            store.private_folder(folder / GRIDS)
            kept = [line for line in _lines(folder / SCALARS) if _step_of(line) <= step]
            store.write_text(folder / SCALARS, "".join(f"{line}\n" for line in kept))
        self._board = _board(folder, step) if board else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._board is not None:
            self._board.close()

    def row(self, step: int, values: Mapping[str, float]) -> None:
        """Append the scalars of one step; one that is not finite becomes null, as JSON has no NaN."""
        entry = {"step": step, **{k: v if math.isfinite(v) else None for k, v in values.items()}}
        with (
            store.disk_errors(self._folder / SCALARS),
            (self._folder / SCALARS).open("a", encoding="utf-8") as file,
        ):
            file.write(json.dumps(entry) + "\n")
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def grid(self, step: int, images: NDArray[np.uint8], channels: Sequence[str]) -> list[Path]:
        """Write images (n, c, h, w) as one PNG per channel and return the files."""
        paths = []
        for index, name in enumerate(channels):
            tiles = tiled(images[:, index])
            # A channel's name comes from a file: it must not choose the folder.
            plain = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:40]
            path = self._folder / GRIDS / f"step-{step:09d}-{index}-{plain}.png"
            with store.atomic_path(path) as partial:
                Image.fromarray(tiles).save(partial, format="PNG")
            if self._board is not None:
                self._board.add_image(f"samples/{plain}", tiles[None], step)
            paths.append(path)
        return paths


def read_scalars(folder: Path) -> list[dict[str, Any]]:
    """Return the scalars of a training folder, one entry per logged step, in order."""
    return [json.loads(line) for line in _lines(folder / SCALARS)]


def tiled(planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return planes (n, h, w) side by side in a nearly square grid (rows * h, columns * w); gaps are black."""
    count, height, width = planes.shape
    columns = math.ceil(math.sqrt(count))
    rows = -(-count // columns)
    filled = np.zeros((rows * columns, height, width), np.uint8)
    filled[:count] = planes
    return filled.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, columns * width)


def _lines(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return [line for line in text.split("\n") if _step_of(line) >= 0]


def _step_of(line: str) -> int:
    """Return the step of a line, or -1 for what a crash cut short."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return -1


def _board(folder: Path, step: int) -> Any:
    if importlib.util.find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder / BOARD), purge_step=step + 1)
