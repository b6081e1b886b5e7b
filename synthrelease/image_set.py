"""Images on disk: a folder with ``images.zarr``, ``index.csv`` and ``set.json``; or the same in memory."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import zarr
from numpy.typing import NDArray

from synthrelease import store
from synthrelease.elsewhere import elsewhere
from synthrelease.errors import ScanError, StoreError

FORMAT = 1
IMAGES_PER_CHUNK = 16
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
                f"Pixels of shape {self.pixels.shape} do not fit {len(self.rows)} rows "
                f"and {len(self.channels)} channels; expected (n, c, h, w)."
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
        if isinstance(rows, slice):
            block = np.asarray(self.pixels[rows])
        elif isinstance(self.pixels, np.ndarray):
            block = self.pixels[np.asarray(rows, dtype=np.int64)]
        else:
            block = np.asarray(self.pixels.oindex[np.asarray(rows, dtype=np.int64)])
        if channels is None or tuple(channels) == self.channels:
            return block
        return block[:, [self.channels.index(name) for name in channels]]

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
    content = _content_hash(names, rows, iter([pixels]))
    return ImageSet(names, tuple(rows), pixels, content, voxel_size, notes=notes)


def is_image_set(folder: Path) -> bool:
    """Say whether ``folder`` is a prepared image set."""
    return (folder / "set.json").is_file() and (folder / "index.csv").is_file()


def open_set(folder: Path, *, check_content: bool = False) -> ImageSet:
    """Open a prepared image set; with ``check_content``, compare its pixels with the recorded SHA-256."""
    try:
        about = json.loads((folder / "set.json").read_text(encoding="utf-8"))
        with (folder / "index.csv").open(newline="", encoding="utf-8", errors="surrogatepass") as file:
            rows = tuple(_row_from(entry) for entry in csv.DictReader(file))
        pixels = zarr.open_array(folder / "images.zarr", mode="r")
        images = ImageSet(
            channels=tuple(about["channels"]),
            rows=rows,
            pixels=pixels,
            content=about["content"],
            voxel_size=tuple(about["voxel_size"]),
            unread=tuple(Unread(**entry) for entry in about["unread"]),
            notes=tuple(about["notes"]),
            folder=folder,
        )
    except (OSError, KeyError, ValueError, TypeError, csv.Error, ScanError) as error:
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
        return _content_hash(images.channels, images.rows, images.blocks(64))
    except Exception:  # Zarr's decoders raise whatever they like on a damaged chunk
        return ""


@dataclass
class ImageSetWriter:
    """Writes an image set piece by piece; what was added survives a crash and is not made again.

    Pixels go to Zarr first, then their rows to a log. A writer opened again on the same folder drops
    pixels without rows and tells, in ``finished``, which pieces need not be added again.
    """

    folder: Path  # final place; work happens in `<folder>.partial`
    channels: tuple[str, ...]
    voxel_size: tuple[float, float, float] = (1.0, 1.0, 1.0)
    finished: set[str] = field(default_factory=set)
    tally: Counter[str] = field(default_factory=Counter)  # what pieces counted; survives a crash as they do
    _rows: list[ImageRow] = field(default_factory=list)
    _unread: list[Unread] = field(default_factory=list)
    _notes: list[str] = field(default_factory=list)
    _pixels: Any = None

    def __enter__(self) -> Self:
        _refuse_foreign(self.folder)
        store.private_folder(self.partial)
        self._alone = contextlib.ExitStack()
        self._alone.enter_context(store.one_writer(self.partial))
        log = self.partial / "log.jsonl"
        if log.is_file():
            self._replay(log.read_bytes())
        return self

    def __exit__(self, *error: object) -> None:
        """Let others write; the partial folder stays for the next attempt until `close` renames it."""
        self._alone.close()

    @property
    def partial(self) -> Path:
        return self.folder.with_name(self.folder.name + ".partial")

    @property
    def rows(self) -> tuple[ImageRow, ...]:
        """What was added so far, in order."""
        return tuple(self._rows)

    @property
    def unread(self) -> tuple[Unread, ...]:
        """What was found unreadable so far."""
        return tuple(self._unread)

    def add(
        self,
        piece: str,
        pixels: NDArray[Any] | None,
        rows: Sequence[ImageRow],
        unread: Sequence[Unread] = (),
        tally: Mapping[str, int] | None = None,
    ) -> None:
        """Append one piece (a subject, a file): pixels (k, c, h, w) with a row each, and what was unreadable."""
        with store.disk_errors(self.partial):
            sha256 = self._append(pixels) if pixels is not None and len(rows) else ""
            entry = {
                "piece": piece,
                "rows": [asdict(r) for r in rows],
                "unread": [asdict(u) for u in unread],
                "tally": dict(tally or {}),
                "sha256": sha256,
            }
            with (self.partial / "log.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
                file.flush()
                os.fsync(file.fileno())
        self._accept(entry)

    def note(self, text: str) -> None:
        """Record something that reading decided for the user."""
        if text not in self._notes:
            self._notes.append(text)

    def close(self) -> ImageSet:
        """Finish the set under its final name and open it."""
        if not self._rows:
            reasons = "; ".join(f"{u.image_id}: {u.reason}" for u in self._unread[:5])
            raise ScanError(f"{self.folder.name}: no image could be read. {reasons}".strip())
        with store.disk_errors(self.partial):
            order = list(ImageRow.__dataclass_fields__)
            # Names that are no valid Unicode reach us as lone surrogates; they must survive the round trip.
            with (self.partial / "index.csv").open("w", newline="", encoding="utf-8", errors="surrogatepass") as file:
                writer = csv.DictWriter(file, order)
                writer.writeheader()
                writer.writerows(asdict(row) for row in self._rows)
            pixels = ImageSet(self.channels, tuple(self._rows), self._pixels, "")
            about = {
                "format": FORMAT,
                "channels": self.channels,
                "dtype": str(self._pixels.dtype),
                "shape": self._pixels.shape,
                "voxel_size": self.voxel_size,
                "content": _content_hash(self.channels, self._rows, pixels.blocks(64)),
                "unread": [asdict(u) for u in self._unread],
                "notes": self._notes,
            }
            (self.partial / "set.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
            (self.partial / "log.jsonl").unlink()
            _refuse_foreign(self.folder)
            if self.folder.exists():
                shutil.rmtree(self.folder)
            self.partial.replace(self.folder)
        return open_set(self.folder)

    def _append(self, pixels: NDArray[Any]) -> str:
        """Add pixels to the array and return the SHA-256 of what was stored."""
        if self._pixels is None:
            self._pixels = zarr.create_array(
                self.partial / "images.zarr",
                shape=(0, *pixels.shape[1:]),
                chunks=(IMAGES_PER_CHUNK, *pixels.shape[1:]),
                dtype=pixels.dtype,
                overwrite=True,
            )
        if pixels.shape[1:] != self._pixels.shape[1:]:
            raise ScanError(
                f"Images of shape {pixels.shape[1:]} and {self._pixels.shape[1:]} (c, h, w) in one set.",
                "Export every image at one size, or keep the sizes in separate folders.",
            )
        pixels = pixels.astype(self._pixels.dtype, copy=False)
        self._pixels.append(pixels)
        return _pixel_hash(pixels)

    def _replay(self, log: bytes) -> None:
        """Take over the pieces whose log line and pixels both arrived on disk; drop what follows them."""
        stored = self._stored_pixels()
        good: list[bytes] = []
        for line in log.split(b"\n")[:-1]:  # what stands after the last line break was cut short by a crash
            entry = _complete_entry(line)
            if entry is None or not self._arrived(entry, stored):
                break
            self._accept(entry)
            good.append(line + b"\n")
        (self.partial / "log.jsonl").write_bytes(b"".join(good))
        if stored is not None and self._rows:
            self._pixels = stored
            self._pixels.resize((len(self._rows), *self._pixels.shape[1:]))

    def _stored_pixels(self) -> Any:
        try:
            return zarr.open_array(self.partial / "images.zarr", mode="r+")
        except (OSError, ValueError, KeyError):  # the crash came before the first image
            return None

    def _arrived(self, entry: dict[str, Any], stored: Any) -> bool:
        """Say whether the pixels of a logged piece are on disk: a power failure can lose them."""
        if not entry["rows"]:
            return True
        start, stop = len(self._rows), len(self._rows) + len(entry["rows"])
        if stored is None or stored.shape[0] < stop:
            return False
        try:
            return bool(_pixel_hash(np.asarray(stored[start:stop])) == entry["sha256"])
        except Exception:  # as in _content_on_disk
            return False

    def _accept(self, entry: dict[str, Any]) -> None:
        self._rows.extend(ImageRow(**row) for row in entry["rows"])
        self._unread.extend(Unread(**item) for item in entry["unread"])
        self.tally.update(entry["tally"])
        self.finished.add(entry["piece"])


def _refuse_foreign(folder: Path) -> None:
    """Raise if the final place holds anything but an older image set, which alone may be replaced."""
    if folder.is_dir() and not is_image_set(folder) and any(folder.iterdir()):
        raise StoreError(
            f"{folder} holds files that are no image set, and they would be replaced.",
            "Choose another --out folder, or move these files away.",
        )


def _complete_entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    wanted = {"piece", "rows", "unread", "tally", "sha256"}
    return entry if isinstance(entry, dict) and wanted <= entry.keys() else None


def _pixel_hash(pixels: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()


def _row_from(entry: dict[str, str]) -> ImageRow:
    row = ImageRow(entry["image_id"], entry.get("subject", ""), int(entry.get("slice") or 0), entry.get("source", ""))
    seed = entry.get("seed")
    return replace(row, seed=int(seed) if seed else None, generator=entry.get("generator", ""))


def _content_hash(channels: Sequence[str], rows: Sequence[ImageRow], blocks: Iterator[NDArray[Any]]) -> str:
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
