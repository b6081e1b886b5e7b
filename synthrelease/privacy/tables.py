"""Train made searchable, as tables of the cache that are mapped into memory: made once for each set of train images.

A search reads what it needs of them, so that its memory does not grow with the number of train images.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from synthrelease import store
from synthrelease.features.interface import ExtractorInfo
from synthrelease.mapped import New, new_array, read_array
from synthrelease.privacy.neighbours import BLOCK, Whitening, fit_whitening, whitening_tables

VERSION = 1
Table = TypeVar("Table")


@dataclass(frozen=True)
class Whitened:
    """One extractor's whitened features of the train images."""

    mean: NDArray[np.float32]  # (d,)
    matrix: NDArray[np.float32]  # (d, w)
    features: NDArray[np.float32]  # (n, w)

    @property
    def whitening(self) -> Whitening:
        """The map that made them."""
        return Whitening(self.mean, self.matrix)

    @classmethod
    def of(cls, features: NDArray[np.float32], new: New) -> Whitened:
        """Return the whitened features of (n, d), block by block."""
        whiten = fit_whitening(features)
        mean, matrix = whitening_tables(whiten, new)
        made = new("features", (len(features), matrix.shape[1]), np.float32)
        for start in range(0, len(features), BLOCK):
            made[start : start + BLOCK] = whiten(features[start : start + BLOCK])
        return cls(mean, matrix, made)


def kept(cache: Path, name: str, made_from: object, kind: type[Table], make: Callable[[New], Table]) -> Table:
    """Return a dataclass of tables from the cache, mapped into memory; ``make`` fills them where they are missing.

    Args:
        cache: Folder that keeps them; they are data of real patients.
        name: Of the entry.
        made_from: JSON-able: everything that shaped them.
        kind: A dataclass whose fields are arrays.
        make: Gets what makes an empty table on disk, under the name of a field.
    """

    def on_disk(folder: Path) -> New:
        def new(field: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
            if math.prod(shape) == 0:  # nothing that could be mapped
                np.save(folder / f"{field}.npy", np.zeros(shape, dtype), allow_pickle=False)
                return np.zeros(shape, dtype)
            return new_array(folder / f"{field}.npy", shape, dtype)

        return new

    def read(folder: Path) -> Table:
        names = [field.name for field in fields(kind)]  # type: ignore[arg-type]  # a dataclass
        return kind(*(read_array(folder / f"{name}.npy") for name in names))

    return store.kept(cache, name, [VERSION, made_from], lambda folder: _flushed(make(on_disk(folder))), read)


def kept_whitened(cache: Path, features: NDArray[np.float32], made_from: object, info: ExtractorInfo) -> Whitened:
    """Return an extractor's whitened features of train from the cache; ``made_from`` names images and frame."""
    made_from = [made_from, asdict(info)]
    return kept(cache, "whitened", made_from, Whitened, lambda new: Whitened.of(features, new))


def _flushed(tables: object) -> None:
    for table in vars(tables).values():
        if isinstance(table, np.memmap):
            table.flush()
