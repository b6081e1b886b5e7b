"""The image files of a package, read back strictly: shape, type and header must be what the record says."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from synthrelease.errors import IntegrityError
from synthrelease.release import export, layout
from synthrelease.release.export import BadFile, Geometry, Label
from synthrelease.release_records import PackageProblem, PublicImages, PublicRecord


def geometry_of(images: PublicImages) -> Geometry:
    """Return what the record says of every image file."""
    return Geometry(images.height, images.width, images.dtype, images.voxel_size)


def identifier_root(record_json: bytes, public_pem: bytes) -> str:
    """Return what a package's DICOM identifiers grow from: they differ wherever record or publisher differ."""
    return hashlib.sha256(record_json + b"\x00" + public_pem).hexdigest()


class ImageFiles:
    """Reads the image files of the package in ``root``."""

    def __init__(self, root: Path, record: PublicRecord) -> None:
        self.root, self.record = root, record
        self.geometry = geometry_of(record.images)
        self.suffix = export.SUFFIXES[record.options.image_format]
        self.channels = layout.channel_names(record.images.channels)
        self._identifiers = ""

    def planes(self, path: str, *, keep: bool = True) -> NDArray[Any]:
        """Return the slices (k, h, w) of one file; without ``keep`` they are checked and dropped.

        Raises:
            IntegrityError: The file holds anything but what packaging writes for this record.
        """
        match = layout.IMAGE.fullmatch(path)
        if match is None or match["suffix"] != self.suffix or match["channel"] not in self.channels:
            raise IntegrityError("Its type or channel is not among those that the record names.")
        try:
            return self._checked(path, keep=keep)
        except BadFile as error:
            text = str(error)
            raise IntegrityError(f"{text[:1].upper()}{text[1:]}.") from error

    def tables(self, files: Mapping[str, int]) -> list[PackageProblem]:
        """Return where images.csv, images/metadata.csv and the record disagree with the files that are there."""
        images = {path for path in files if layout.IMAGE.fullmatch(path)}
        problems: list[PackageProblem] = []
        if len(images) != self.record.images.files:
            text = f"The record counts {self.record.images.files} image files; there are {len(images)}."
            problems.append(PackageProblem(code="image-count", path=layout.RECORD, text=text))
        if layout.TABLE in files:
            problems += self._table(images)
        wanted = self.record.options.image_format == "png"
        if wanted != (layout.PNG_TABLE in files):
            text = "It belongs to pictures, and to nothing else."
            problems.append(PackageProblem(code="image-table", path=layout.PNG_TABLE, text=text))
        elif wanted:
            problems += self._picture_table(images)
        return problems

    def _checked(self, path: str, *, keep: bool) -> NDArray[Any]:
        content = (self.root / path).read_bytes()
        match self.record.options.image_format:
            case "nifti":
                return export.check_nifti(content, self.geometry, keep=keep)
            case "png":
                return export.check_png(content, self.geometry, keep=keep)
            case "dicom":
                return export.check_dicom(content, self.geometry, self._label(path))

    def _label(self, path: str) -> Label:
        match = layout.IMAGE.fullmatch(path)
        assert match is not None
        if not self._identifiers:
            record, public = ((self.root / name).read_bytes() for name in (layout.RECORD, layout.PUBLIC_KEY))
            self._identifiers = identifier_root(record, public)
        return Label(match["id"], match["channel"], int(match["slice"] or 1), self._identifiers)

    def _table(self, images: set[str]) -> list[PackageProblem]:
        """Every line must follow from its file's name, so that nothing else can stand in it."""
        faults: list[str] = []
        seen: Counter[str] = Counter()
        head, rows = _rows(self.root / layout.TABLE)
        if head != ["file_name", "synthetic_id", "slice", "slices", "channel"]:
            faults.append(f"Its columns are {', '.join(head)[:80]}.")
        for number, row in enumerate(rows, start=2):
            match = layout.IMAGE.fullmatch(row[0]) if row else None
            slice_ = str(int(match["slice"])) if match and match["slice"] else ""
            wanted = [match[0], match["id"], slice_, *row[3:4], match["channel"]] if match else []
            if row != wanted or len(row) != 5 or not row[3].isdigit():
                faults.append(f"Line {number} is not what packaging writes.")
            else:
                seen[row[0]] += 1
        faults += _differences(seen, images)
        return [PackageProblem(code="image-table", path=layout.TABLE, text=text) for text in faults[:20]]

    def _picture_table(self, images: set[str]) -> list[PackageProblem]:
        faults: list[str] = []
        seen: Counter[str] = Counter()
        head, rows = _rows(self.root / layout.PNG_TABLE)
        if head != ["synthetic_id", "slice", *(f"{channel}_file_name" for channel in self.channels)]:
            faults.append(f"Its columns are {', '.join(head)[:80]}.")
        for number, row in enumerate(rows, start=2):
            found = [layout.IMAGE.fullmatch(f"images/{name}") for name in row[2:]]
            ids = {(m["id"], str(int(m["slice"])) if m["slice"] else "") for m in found if m}
            if None in found or ids != {tuple(row[:2])} or len(row) != len(self.channels) + 2:
                faults.append(f"Line {number} is not what packaging writes.")
            seen.update(f"images/{name}" for name in row[2:])
        faults += _differences(seen, images)
        return [PackageProblem(code="image-table", path=layout.PNG_TABLE, text=text) for text in faults[:20]]


def _rows(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        head, *rows = csv.reader(io.StringIO(path.read_text(encoding="ascii"), newline=""), strict=True)
    except (UnicodeDecodeError, csv.Error, ValueError):
        return [], []
    return head, rows


def _differences(seen: Counter[str], images: set[str]) -> list[str]:
    faults = [f"It lists {path[:80]}, which is not there." for path in sorted(set(seen) - images)]
    faults += [f"It does not list {path}." for path in sorted(images - set(seen))]
    return faults + [f"It lists {path[:80]} more than once." for path, count in sorted(seen.items()) if count > 1]
