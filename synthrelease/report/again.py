"""Reports made again from their records: years later, without the audited images, without torch."""

from __future__ import annotations

import csv
import gzip
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from synthrelease import store
from synthrelease.decision import log
from synthrelease.decision.folder import AUDIT, PAIRS, Evidence, open_evidence
from synthrelease.errors import DecisionError, IntegrityError
from synthrelease.records import Suspect
from synthrelease.release_records import PairInfo, PublicImages, PublicRecord
from synthrelease.report.card import card
from synthrelease.report.pairs import Pair
from synthrelease.report.public import public_page
from synthrelease.report.samples import MOST
from synthrelease.report.views import write_audit_report

RECORD, CARD, PAGE, TABLE = "report/record.json", "README.md", "report/index.html", "images.csv"  # of a package
MOST_SUSPECTS, MOST_PARTS, MOST_CLOSEST = 20, 10, 20  # pairs on the internal page
NIFTI_HEAD = 352  # bytes before the pixels of a file that packaging wrote


def render(path: Path, out: Path | None) -> tuple[Path, ...]:
    """Write the report of an evidence folder, or card and report of a package, and return the files.

    Args:
        path: OUT of an audit, its `evidence` folder, or a package.
        out: Folder to write to. None writes `report.html` into the evidence folder; a package needs a folder, because
            its own files are sealed by its manifest.

    Raises:
        DecisionError: There is neither an audit nor a package, or ``out`` lies in the package.
        IntegrityError: A record is damaged.
    """
    if (path / RECORD).is_file():
        return _package(path, out)
    if not any((folder / AUDIT).is_file() for folder in (path, path / "evidence")):
        raise DecisionError(
            f"{path} holds neither an audit ({AUDIT}) nor a package ({RECORD}).",
            "Name OUT of `synthrelease audit`, its folder 'evidence', or a package.",
        )
    return (_evidence(open_evidence(path), out),)


def _evidence(evidence: Evidence, out: Path | None) -> Path:
    sealed = () if out is None else (out.resolve(), *out.resolve().parents)
    within = next((folder for folder in sealed if (folder / RECORD).is_file()), None)
    if within is not None:
        raise DecisionError(
            f"{within} is a package, and this report shows patients' images: it must stay inside.",
            "Choose another --out.",
        )
    decision = evidence.decision()
    folder = evidence.folder if out is None else store.private_folder(out)
    return write_audit_report(
        evidence.audit,
        list(_pairs(evidence)),
        folder,
        decision=decision,
        entries=log.read(evidence.folder),
        decision_holds=decision is not None and decision.binding == evidence.binding(),
    )


def _pairs(evidence: Evidence) -> Iterator[Pair]:
    """Yield the pairs of the page, the most similar first; never those that were planted to measure readers."""
    kept = sorted(evidence.pairs(), key=lambda info: (not info.exact, -info.score, info.pair_id))
    for kind, most in (("suspect", MOST_SUSPECTS), ("part", MOST_PARTS), ("closest", MOST_CLOSEST)):
        for info in [info for info in kept if info.kind == kind][:most]:
            images = _pixels(evidence.folder / PAIRS / f"{info.pair_id}.npz")
            if "synthetic" in images and "train" in images:  # pixels may have been destroyed since, as agreed
                yield _pair(info, images)


def _pixels(path: Path) -> dict[str, NDArray[np.float32]]:
    """Return the images (c, s, s) in [0, 1] of one pair; none where they are gone."""
    if not path.is_file():
        return {}
    try:
        with np.load(path, allow_pickle=False) as images:
            return {name: images[name].astype(np.float32) / 255 for name in images.files}
    except (OSError, ValueError, zlib.error, zipfile.BadZipFile, EOFError) as error:
        raise IntegrityError(f"{path.name} in {path.parent} is damaged.", "Restore it, or audit again.") from error


def _pair(info: PairInfo, images: dict[str, NDArray[np.float32]]) -> Pair:
    suspect = Suspect(
        image_id=info.image_id,
        train_image_id=info.train_image_id,
        train_subject=info.train_subject,
        score=info.score,
        exact=info.exact,
        above_alarm=info.above_alarm,
        mirrored=info.mirrored,
        holdout_image_id=info.holdout_image_id,
        holdout_score=info.holdout_score,
    )
    kind = info.kind
    assert kind in ("suspect", "closest", "part")
    return Pair(suspect, images["synthetic"], images["train"], images.get("holdout"), info.channels, kind)


def _package(path: Path, out: Path | None) -> tuple[Path, ...]:
    if out is None or out.resolve() == path.resolve() or path.resolve() in out.resolve().parents:
        raise DecisionError(
            "The files of a package are sealed by its manifest, so its pages are not written into it.",
            "Name another folder with --out.",
        )
    try:
        record = PublicRecord.model_validate_json((path / RECORD).read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        raise IntegrityError(
            f"{RECORD} is damaged or was edited: {'.'.join(map(str, first['loc']))}: {first['msg']}.",
            "Check the package with `synthrelease verify`.",
        ) from error
    store.write_text(out / CARD, card(record))
    store.write_text(out / PAGE, public_page(record, list(_samples(path, record))))
    return out / CARD, out / PAGE


def _samples(path: Path, record: PublicRecord) -> Iterator[NDArray[Any]]:
    """Yield the first images (c, h, w) by number, of a volume its middle slice; none of DICOM, which needs a reader."""
    if record.options.image_format == "dicom" or not (path / TABLE).is_file():
        return
    rows: dict[str, list[dict[str, str]]] = {}
    with (path / TABLE).open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["synthetic_id"] not in rows and len(rows) == MOST:
                break  # files are listed by image
            rows.setdefault(row["synthetic_id"], []).append(row)
    for listed in rows.values():
        slices = list(dict.fromkeys(row["slice"] for row in listed))
        middle = [row for row in listed if row["slice"] == slices[len(slices) // 2]]
        yield np.stack([_middle_plane(path, row["file_name"], record.images) for row in middle])


def _middle_plane(path: Path, name: str, images: PublicImages) -> NDArray[Any]:
    """Return the middle slice (h, w) of one file of a package, reading no more than the record allows."""
    file = (path / name).resolve()
    if path.resolve() not in file.parents:
        raise IntegrityError(f"{TABLE} names a file outside the package: {name}.", "Do not use this package.")
    try:
        return _png(file, images) if file.suffix == ".png" else _nifti(file, images)
    except (OSError, EOFError, ValueError, zlib.error, struct.error) as error:
        raise IntegrityError(
            f"{name} is not what packaging wrote: {error}.", "Check the package with `synthrelease verify`."
        ) from error


def _png(file: Path, images: PublicImages) -> NDArray[Any]:
    with Image.open(file, formats=["PNG"]) as image:
        if image.size != (images.width, images.height):  # before any pixel is unpacked
            raise ValueError("its size is not the record's")
        return np.asarray(image)


def _nifti(file: Path, images: PublicImages) -> NDArray[Any]:
    kind = np.dtype(images.dtype).newbyteorder("<")
    plane = images.height * images.width * kind.itemsize
    with gzip.open(file) as content:
        slices = struct.unpack_from("<h", content.read(NIFTI_HEAD), 46)[0]
        for _ in range(slices // 2):
            content.read(plane)
        pixels = content.read(plane)
    return np.frombuffer(pixels, kind).reshape(images.height, images.width)
