"""What a result folder says, without dates, seconds and hashes of these; and what in it is only half there."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from PIL import Image
from safetensors import safe_open

from synthrelease.decision import log
from synthrelease.errors import SynthreleaseError
from synthrelease.image_set import is_image_set, open_set
from synthrelease.release.verify import check

OF_TIME = {"date", "seconds", "time", "images_per_second"}
OF_DATED = {"audit_sha256", "kept_sha256", "binding", "decision_sha256", "sha256", "previous", "evidence_sha256"}
HASHES_OF_DATED = {"decisions.head", "kept-sha256.txt"}  # `half_there` checks them by what they stand for
RESULT = re.compile(r"[a-z-]+-[0-9a-f]{16}")
_DATES = re.compile(r"\d{4}-\d\d-\d\d(T[\d:]+(\+[\d:]+|Z)?)?|\b[0-9a-f]{12,64}\b|[\d.]+ (s|seconds|min|minutes)\b")


def said(root: Path) -> dict[str, Any]:
    """Return relative path -> content of every file, and of every image set as one, under ``root``."""
    return {str(path.relative_to(root)): _content(path) for path in _parts(root)}


def _parts(root: Path) -> Iterator[Path]:
    """Yield files and image sets; what is named as unfinished, and the cache's locks, are left out."""
    for path in sorted(root.iterdir()):
        if path.name.startswith(".") or path.name.endswith(".partial") or path.name == "locks":
            continue
        if path.is_dir() and not is_image_set(path):
            yield from _parts(path)
        elif path.name not in HASHES_OF_DATED:
            yield path


def _content(path: Path) -> Any:
    if path.is_dir():
        images = open_set(path, check_content=True)
        return [images.content, images.channels, [asdict(row) for row in images.rows], images.notes, images.voxel_size]
    if path.suffix == ".json":
        return _timeless(json.loads(path.read_text(encoding="utf-8")))
    if path.suffix == ".jsonl":
        return [_timeless(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    if path.suffix == ".html":
        return _DATES.sub("", path.read_text(encoding="utf-8"))
    return path.read_bytes()


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items() if key not in OF_TIME | OF_DATED}
    return [_timeless(item) for item in value] if isinstance(value, list) else value


def half_there(root: Path) -> list[str]:
    """Return everything under its final name that is not whole: files, image sets, results, packages, logs."""
    return [] if not root.is_dir() else sorted(set(_faults(root)))


def _faults(folder: Path) -> Iterator[str]:
    sealed = (folder / "made_from.json").is_file() or is_image_set(folder)
    if RESULT.fullmatch(folder.name) and not sealed:
        yield f"{folder}: a result without its seal"
    if (folder / "manifest-sha256.txt").is_file() and not check(folder).intact:
        yield f"{folder}: a package that does not verify"
    if (folder / "images.zarr").exists() or is_image_set(folder):
        try:
            open_set(folder, check_content=True)
        except SynthreleaseError as error:
            yield f"{folder}: {error.problem}"
    if (folder / log.NAME).is_file():
        try:
            log.read(folder)
        except SynthreleaseError as error:
            yield f"{folder}: {error.problem}"
    for path in folder.iterdir():
        if path.name.startswith(".") or path.name.endswith((".partial", ".zarr")):
            continue
        if path.is_dir():
            yield from _faults(path)
        else:
            try:
                _read(path)
            except Exception as error:  # whatever a reader says of half a file
                yield f"{path}: {type(error).__name__}: {error}"


def _read(path: Path) -> None:
    """Read a file to its end, as its own kind."""
    data = path.read_bytes()
    match path.suffix:
        case ".json":
            json.loads(data)
        case ".jsonl":  # read line by line: what follows the last line break is dropped by whoever reads it
            for line in data.split(b"\n")[:-1]:
                json.loads(line)
        case ".csv":
            if len({len(row) for row in csv.reader(io.StringIO(data.decode("utf-8")))}) != 1 or data[-1:] != b"\n":
                raise ValueError("rows of several lengths, or no last line break")
        case ".npy":
            np.load(path, allow_pickle=False)
        case ".npz":
            if zipfile.ZipFile(path).testzip():
                raise ValueError("a damaged part")
        case ".png":
            Image.open(path).load()
        case ".html":
            if not data.rstrip().endswith(b"</html>"):
                raise ValueError("no end")
        case ".safetensors":
            with safe_open(path, "np") as file:
                for name in file.keys():  # noqa: SIM118 - no mapping
                    file.get_tensor(name)
        case ".gz":
            nibabel.load(path).get_fdata()
