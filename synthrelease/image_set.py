"""Images on disk: a folder with ``images.zarr``, ``index.csv`` and ``set.json``; or the same in memory."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from synthrelease import store
from synthrelease.elsewhere import elsewhere
from synthrelease.errors import ScanError
from synthrelease.object_storage import address_of, is_file, read_text

FORMAT = 1
IMAGES_PER_CHUNK = 16
_DAMAGE = (OSError, LookupError, ArithmeticError, ValueError, TypeError, RecursionError, csv.Error, ScanError)
MASK = "mask"  # the channel that holds labels instead of intensities


@dataclass(frozen=True)
class ImageRow:
    """Where one image came from. Synthetic images carry ``seed`` and ``generator`` instead of a subject."""

    image_id: str
    subject: str = ""
    slice: int = 0
    source: str = ""
    seed: int | None = None
    generator: str = ""


@dataclass(frozen=True)
class Unread:
    """A file (or slice) that could not be used, and why."""

    image_id: str
    reason: str


@dataclass(frozen=True)
class ImageSet:
    """Images of one role. ``pixels`` is (n, c, h, w): a NumPy array, or a Zarr array read in pieces."""

    channels: tuple[str, ...]
    rows: tuple[ImageRow, ...]
    pixels: Any  # numpy.ndarray or zarr.Array: only shape, dtype and slicing are used
    content: str  # SHA-256 over pixels and rows: names this content in every cache key
    voxel_size: tuple[float, float, float] = (1.0, 1.0, 1.0)  # mm: row, column, slice
    unread: tuple[Unread, ...] = ()
    notes: tuple[str, ...] = ()  # what reading decided for the user, e.g. "41 empty slices left out"
    folder: Path | None = None

    def __post_init__(self) -> None:
        if self.pixels.ndim != 4 or self.pixels.shape[:2] != (len(self.rows), len(self.channels)):
            raise ScanError(
                f"Pixels {self.pixels.shape} do not fit {len(self.rows)} rows and {len(self.channels)} channels.",
                "Expected: (n, c, h, w). Prepare the images again.",
            )

    def __len__(self) -> int:
        return len(self.rows)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to a worker of a cluster; pixels on disk are looked for there, and must be the same."""
        pixels = self.pixels if isinstance(self.pixels, np.ndarray) else elsewhere(self.pixels)
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return _arrived, (values | {"pixels": pixels},)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return int(self.pixels.shape[2]), int(self.pixels.shape[3])

    @property
    def ids(self) -> list[str]:
        return [row.image_id for row in self.rows]

    @property
    def subjects(self) -> NDArray[np.str_]:
        """(n,) subject of each image; an empty string where there is none."""
        return np.array([row.subject for row in self.rows], dtype=np.str_)

    @property
    def contrasts(self) -> tuple[str, ...]:
        """Channels that hold intensities."""
        return tuple(name for name in self.channels if name != MASK)

    def read(self, rows: slice | Sequence[int], channels: Sequence[str] | None = None) -> NDArray[Any]:
        """Return pixels (k, c, h, w) as stored, for a slice or a list of row numbers."""
        if isinstance(self.pixels, np.ndarray):
            block = self.pixels[rows if isinstance(rows, slice) else np.asarray(rows, dtype=np.int64)]
        else:
            block = self._stored(rows)
        if channels is None or tuple(channels) == self.channels:
            return block
        return block[:, [self.channels.index(name) for name in channels]]

    def _stored(self, rows: slice | Sequence[int]) -> NDArray[Any]:
        try:
            if isinstance(rows, slice):
                return np.asarray(self.pixels[rows])
            return np.asarray(self.pixels.oindex[np.asarray(rows, dtype=np.int64)])
        except (RuntimeError, ValueError, TypeError) as error:  # what decoders raise on a damaged chunk
            raise ScanError(f"Images of {self.folder} are damaged: {error}.", "Prepare them again.") from error

    def blocks(self, images: int, channels: Sequence[str] | None = None) -> Iterator[NDArray[Any]]:
        """Yield the set in order, at most ``images`` at a time."""
        for start in range(0, len(self), images):
            yield self.read(slice(start, start + images), channels)

    def subset(self, keep: Sequence[int]) -> ImageSet:
        """Return the chosen rows, in memory."""
        chosen = tuple(self.rows[i] for i in keep)
        return from_arrays(
            self.read(list(keep)), chosen, channels=self.channels, voxel_size=self.voxel_size, notes=self.notes
        )


def _arrived(values: dict[str, Any]) -> ImageSet:
    return ImageSet(**values)


def from_arrays(
    pixels: NDArray[Any],
    rows: Sequence[ImageRow],
    *,
    channels: Sequence[str] | None = None,
    voxel_size: tuple[float, float, float] = (1.0, 1.0, 1.0),
    notes: tuple[str, ...] = (),
) -> ImageSet:
    """Return an image set in memory from pixels (n, c, h, w) and one row each."""
    pixels = np.asarray(pixels)
    if pixels.ndim != 4:
        raise ScanError(f"Images have shape {pixels.shape}; expected (n, c, h, w).")
    names = tuple(channels) if channels is not None else tuple(f"channel{i}" for i in range(pixels.shape[1]))
    content = content_hash(names, rows, iter([pixels]))
    return ImageSet(names, tuple(rows), pixels, content, voxel_size, notes=notes)


def is_image_set(folder: Path) -> bool:
    """Say whether ``folder`` is a prepared image set, on this machine or on object storage."""
    return is_file(folder / "set.json") and is_file(folder / "index.csv")


def open_set(folder: Path, *, check_content: bool = False) -> ImageSet:
    """Open a prepared image set; with ``check_content``, compare its pixels with the recorded SHA-256."""
    try:
        about = json.loads(read_text(folder / "set.json"))
        table = csv.DictReader(io.StringIO(read_text(folder / "index.csv"), newline=""))
        rows = tuple(_row_from(entry) for entry in table)
        store.refuse_foreign_array(read_text(folder / "images.zarr" / "zarr.json"), IMAGES_PER_CHUNK)
        place = folder / "images.zarr"
        pixels = zarr.open_array(address_of(place) or place, mode="r", zarr_format=3)
        images = ImageSet(
            channels=tuple(map(store.text, about["channels"])),
            rows=rows,
            pixels=pixels,
            content=store.text(about["content"]),
            voxel_size=store.three_numbers(about["voxel_size"]),
            unread=tuple(Unread(store.text(e["image_id"]), store.text(e["reason"])) for e in about["unread"]),
            notes=tuple(map(store.text, about["notes"])),
            folder=folder,
        )
    except (
        OSError,
        LookupError,
        ArithmeticError,
        ValueError,
        TypeError,
        RecursionError,
        csv.Error,
        ScanError,
    ) as error:
        raise ScanError(
            f"{folder} looks like an image set but cannot be opened: {error}", "Prepare it again."
        ) from error
    if check_content and _content_on_disk(images) != images.content:
        raise ScanError(
            f"{folder} does not hold what set.json recorded: its pixels or index were changed.", "Prepare it again."
        )
    return images


def _content_on_disk(images: ImageSet) -> str:
    try:
        return content_hash(images.channels, images.rows, images.blocks(64))
    except Exception:  # Zarr's decoders raise whatever they like on a damaged chunk
        return ""


def _row_from(entry: dict[str, str]) -> ImageRow:
    if None in entry or None in entry.values():
        raise ValueError("index.csv has lines of different lengths")
    row = ImageRow(entry["image_id"], entry.get("subject", ""), int(entry.get("slice") or 0), entry.get("source", ""))
    seed = int(entry["seed"]) if entry.get("seed") else None
    return replace(row, seed=seed, generator=entry.get("generator", ""))


def content_hash(channels: Sequence[str], rows: Sequence[ImageRow], blocks: Iterator[NDArray[Any]]) -> str:
    """Return the SHA-256 of channel names, ids, subjects and pixels, however the pixels are cut into blocks."""
    sha = hashlib.sha256("\x1f".join(channels).encode(errors="surrogatepass"))
    for row in rows:
        sha.update(f"{row.image_id}\x00{row.subject}\x01".encode(errors="surrogatepass"))
    for number, block in enumerate(blocks):
        if number == 0:  # once: the hash must not depend on how the pixels are cut into blocks
            sha.update(f"{block.dtype}{block.shape[1:]}".encode())
        sha.update(np.ascontiguousarray(block).data)
    return sha.hexdigest()


def image_hashes(images: ImageSet) -> Iterator[str]:
    """Yield the SHA-256 of each image as stored: type, shape (c, h, w) and pixels."""
    for block in images.blocks(64):
        kind = f"{block.dtype}{block.shape[1:]}".encode()
        for image in block:
            yield hashlib.sha256(kind + np.ascontiguousarray(image).tobytes()).hexdigest()
