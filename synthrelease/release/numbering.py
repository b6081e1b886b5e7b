"""Which number and which file each synthetic image gets: an order that only the publisher's key can tell."""

from __future__ import annotations

import csv
import hmac
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import PurePosixPath

from synthrelease.release.export import FLAT, SUFFIXES

PER_FOLDER = 1000  # images
_SLICE = re.compile(r"(?P<file>.+)#(?P<slice>\d+)", re.DOTALL)
_STACKS = (".npy", ".npz")  # their entries are images in a row, not slices of one volume


@dataclass(frozen=True)
class Numbered:
    """One released image: a single slice, or the slices of a volume from feet to head."""

    number: int  # from 1
    image_ids: tuple[str, ...]
    folder: int  # from 1

    @property
    def synthetic_id(self) -> str:
        return f"synthetic-{self.number:06d}"

    @property
    def volume(self) -> bool:
        return len(self.image_ids) > 1

    def path(self, channel: str, image_format: str, slice_number: int = 0) -> str:
        """Return the file of one channel; with ``slice_number`` (from 1) the file of one slice of a volume."""
        part = f"-s{slice_number:04d}" if slice_number else ""
        return f"images/{self.folder:03d}/{self.synthetic_id}{part}_{channel}{SUFFIXES[image_format]}"

    def slice_numbers(self, image_format: str) -> tuple[int, ...]:
        """Return the numbers of slices that have their own files; (0,) where one file holds them all."""
        return tuple(range(1, len(self.image_ids) + 1)) if self.volume and image_format in FLAT else (0,)


def numbered(hashes: Mapping[str, str], secret: bytes, image_format: str) -> tuple[Numbered, ...]:
    """Return all images in the order of the keyed hash of their pixels.

    Args:
        hashes: Image id -> SHA-256 of its pixels, in the order of the audited set.
        secret: From the signing key: without it nobody can tell where an image stood in the generator's output.
        image_format: `nifti`, `png` or `dicom`.
    """
    units = volumes_and_slices(tuple(hashes))
    keyed = sorted((_keyed([hashes[name] for name in unit], secret), unit) for unit in units)
    images: list[Numbered] = []
    before = 0
    for number, (_, unit) in enumerate(keyed, start=1):
        images.append(Numbered(number, unit, before // PER_FOLDER + 1))
        before += len(unit) if image_format in FLAT else 1
    return tuple(images)


def volumes_and_slices(ids: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the ids of each volume whose slices `FILE#k` are all there, and of every other image alone."""
    by_file: dict[str, dict[int, str]] = {}
    for name in ids:
        match = _SLICE.fullmatch(name)
        if match and PurePosixPath(match["file"]).suffix.lower() not in _STACKS:
            by_file.setdefault(match["file"], {})[int(match["slice"])] = name
    volumes = []
    for slices in by_file.values():
        run = sorted(slices)
        if len(run) > 1 and run[-1] - run[0] + 1 == len(run):
            volumes.append(tuple(slices[k] for k in run))
    inside = {name for volume in volumes for name in volume}
    return [*volumes, *((name,) for name in ids if name not in inside)]


def table(images: Sequence[Numbered], channels: Sequence[str], image_format: str) -> str:
    """Return images.csv: a line per file; nothing in it comes from real or from generated images' names."""
    rows = (
        (image.path(channel, image_format, k), image.synthetic_id, k or "", _slices_in_file(image, k), channel)
        for image in images
        for k in image.slice_numbers(image_format)
        for channel in channels
    )
    return _csv(("file_name", "synthetic_id", "slice", "slices", "channel"), rows)


def picture_table(images: Sequence[Numbered], channels: Sequence[str]) -> str:
    """Return images/metadata.csv, from which Hugging Face `datasets` shows one row per image with all channels."""
    rows = (
        (image.synthetic_id, k or "", *(image.path(channel, "png", k).removeprefix("images/") for channel in channels))
        for image in images
        for k in image.slice_numbers("png")
    )
    return _csv(("synthetic_id", "slice", *(f"{channel}_file_name" for channel in channels)), rows)


def _slices_in_file(image: Numbered, slice_number: int) -> int:
    return 1 if slice_number else len(image.image_ids)


def _keyed(hashes: Sequence[str], secret: bytes) -> str:
    return hmac.new(secret, " ".join(hashes).encode("ascii"), sha256).hexdigest()


def _csv(head: Sequence[str], rows: object) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)  # type: ignore[arg-type]
    return text.getvalue()
