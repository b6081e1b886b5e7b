"""Writes image sets piece by piece; what was added survives a crash."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import zarr
from numpy.typing import NDArray

from synthrelease import store
from synthrelease.errors import ScanError, StoreError
from synthrelease.image_set import (
    FORMAT,
    IMAGES_PER_CHUNK,
    ImageRow,
    ImageSet,
    Unread,
    content_hash,
    is_image_set,
    open_set,
)


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
        with contextlib.ExitStack() as alone:
            alone.enter_context(store.one_writer(self.partial))
            shutil.rmtree(self._replaced, ignore_errors=True)  # of a run that was killed while it deleted
            store.private_folder(self.partial)  # now: whoever wrote before has renamed the last one
            log = self.partial / "log.jsonl"
            if log.is_file():
                self._replay(log.read_bytes())
            self._alone = alone.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        """Let others write; the partial folder stays for the next attempt until `close` renames it."""
        self._alone.close()

    @property
    def partial(self) -> Path:
        return self.folder.with_name(self.folder.name + ".partial")

    @property
    def _replaced(self) -> Path:
        return self.folder.with_name(f".{self.folder.name}.replaced")

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
                "content": content_hash(self.channels, self._rows, pixels.blocks(64)),
                "unread": [asdict(u) for u in self._unread],
                "notes": self._notes,
            }
            (self.partial / "set.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
            _refuse_foreign(self.folder)
            if self.folder.exists():
                self.folder.replace(self._replaced)  # its name must never stand for half of it
            self.partial.replace(self.folder)
            (self.folder / "log.jsonl").unlink()  # kept until now: a run killed before goes on from it
            shutil.rmtree(self._replaced, ignore_errors=True)
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
    return entry if isinstance(entry, dict) and {"piece", "rows", "unread", "tally", "sha256"} <= entry.keys() else None


def _pixel_hash(pixels: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()
