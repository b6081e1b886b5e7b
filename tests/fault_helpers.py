"""What tests of faults share: a disk that fills up or takes nothing, and one bit that turns over."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zarr


class Disk:
    """A small file system in memory, mounted for one test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def grow(self, size: str) -> None:
        """Give the disk another size, e.g. 64m."""
        _mount("-o", f"remount,size={size}", str(self.folder))

    def read_only(self, yes: bool = True) -> None:
        """Let the disk take nothing, from root either."""
        _mount("-o", f"remount,{'ro' if yes else 'rw'}", str(self.folder))

    def fill(self) -> Path:
        """Write until nothing more fits; return the file."""
        filler = self.folder / "filler"
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1024))
            except OSError:
                return filler


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True, capture_output=True)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Disk]:
    """Mount a file system of this size at ``folder``; skip the test where that is not allowed."""
    folder.mkdir()
    try:
        _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a small disk can only be mounted by root")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def flip(path: Path) -> None:
    """Turn over one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def chunk_of(images: Path) -> Path:
    """Return the file of the first stored chunk of an image set."""
    return min(path for path in (images / "images.zarr" / "c").rglob("*") if path.is_file())


def flip_chunk(images: Path) -> None:
    """Turn over one bit in the first stored chunk of an image set."""
    flip(chunk_of(images))


def flip_pixel(images: Path) -> None:
    """Turn over one bit of one pixel, in a chunk that reads well: nothing but the recorded hash can tell."""
    pixels = zarr.open_array(images / "images.zarr", mode="r+")
    pixels[0, 0, 5, 5] = int(pixels[0, 0, 5, 5]) ^ 1
