"""Arrays in files that are mapped into memory.

A disk that fills up under a map ends the process without a word, so a new file takes all its room before it is mapped:
then a full disk is an error like any other.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

New = Callable[[str, tuple[int, ...], DTypeLike], NDArray[Any]]  # (name, shape, type): a table of zeros to fill
MAPPED = 2**20  # bytes; smaller files are read


def new_array(path: Path, shape: tuple[int, ...], dtype: DTypeLike) -> np.memmap[Any, np.dtype[Any]]:
    """Return an array of zeros that is the NPY file ``path``, to be filled and flushed.

    Raises:
        OSError: There is no room for it (ENOSPC).
    """
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def in_memory(name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return zeros to fill: a table that no file holds."""
    return np.zeros(shape, dtype)


def read_array(path: Path) -> NDArray[Any]:
    """Return the array of an NPY file, mapped into memory unless it is small; it cannot be written."""
    large = path.stat().st_size >= MAPPED
    array: NDArray[Any] = np.load(path, mmap_mode="r" if large else None, allow_pickle=False)
    array.flags.writeable = False
    return array
