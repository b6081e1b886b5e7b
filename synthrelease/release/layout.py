"""What may lie where in a package: a list of what is allowed, so that everything else is refused."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from synthrelease.release_records import PackageProblem

CARD, LICENCE, CROISSANT, TABLE = "README.md", "LICENSE", "croissant.json", "images.csv"
PAGE, RECORD, MANIFEST = "report/index.html", "report/record.json", "manifest-sha256.txt"
ATTESTATION, PUBLIC_KEY = "attestations/release.dsse.json", "attestations/publisher.pub"
PNG_TABLE = "images/metadata.csv"  # Hugging Face looks for this name beside pictures
REQUIRED = (CARD, LICENCE, CROISSANT, TABLE, PAGE, RECORD, MANIFEST, ATTESTATION, PUBLIC_KEY)
UNLISTED = (MANIFEST, ATTESTATION)  # the manifest does not hold itself, nor what is signed over it
IMAGE = re.compile(
    r"images/(?P<folder>\d{3,6})/(?P<id>synthetic-\d{6,9})(?:-s(?P<slice>\d{4,6}))?"
    r"_(?P<channel>[a-z0-9]+(?:-[a-z0-9]+)*)(?P<suffix>\.nii\.gz|\.png|\.dcm)",
    re.ASCII,
)
FOLDERS = re.compile(r"images|images/\d{3,6}|report|attestations", re.ASCII)
LONGEST_NAME = 40  # characters of a channel in a file name
LARGEST_TABLE, LARGEST_TEXT = 512 << 20, 8 << 20  # bytes: manifest and tables grow with the images, pages do not
LARGEST_IMAGE = 1 << 30  # bytes of one image file
DEEPEST = 4


def channel_names(channels: Sequence[str]) -> tuple[str, ...]:
    """Return each channel's name for use in file names: lower-case letters, digits and hyphens, all different."""
    names: list[str] = []
    for number, channel in enumerate(channels):
        plain = re.sub(r"[^a-z0-9]+", "-", channel.lower()).strip("-")[:LONGEST_NAME].strip("-")
        name, again = plain or f"channel{number}", 2
        while name in names:
            name, again = f"{plain or 'channel'}-{again}", again + 1
        names.append(name)
    return tuple(names)


def allowed(path: str) -> bool:
    """Say whether a file may lie at this place within a package."""
    return path in REQUIRED or path == PNG_TABLE or IMAGE.fullmatch(path) is not None


def files_of(root: Path) -> tuple[dict[str, int], list[PackageProblem]]:
    """Return the size of every allowed file, by its path within ``root``, and all that must not be there."""
    files: dict[str, int] = {}
    problems: list[PackageProblem] = []
    for path, entry in _walk(root, ""):
        shown = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        fault = _fault(path, entry)
        if fault:
            problems.append(PackageProblem(code=fault[0], path=shown, text=fault[1]))
        elif not entry.is_dir(follow_symlinks=False):
            files[path] = entry.stat(follow_symlinks=False).st_size
    return files, problems


def missing(files: Mapping[str, int], told: Iterable[PackageProblem] = ()) -> list[PackageProblem]:
    """Return one problem per file that every package has, this one has not, and no problem named before."""
    named = {problem.path for problem in told}
    return [
        PackageProblem(code="missing-file", path=path, text="Every package has this file; here it is missing.")
        for path in REQUIRED
        if path not in files and path not in named
    ]


def _walk(root: Path, inside: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield everything below ``root`` without following any link."""
    with os.scandir(root / inside) as entries:
        for entry in sorted(entries, key=lambda found: found.name):
            path = f"{inside}/{entry.name}" if inside else entry.name
            yield path, entry
            if entry.is_dir(follow_symlinks=False) and path.count("/") < DEEPEST:
                yield from _walk(root, path)


def _fault(path: str, entry: os.DirEntry[str]) -> tuple[str, str] | None:
    about = entry.stat(follow_symlinks=False)
    if entry.is_symlink():
        return "link", "It is a link: it may point outside. A package holds plain files."
    if stat.S_ISDIR(about.st_mode):
        return None if FOLDERS.fullmatch(path) else ("unexpected-folder", "No package has a folder here.")
    if not stat.S_ISREG(about.st_mode):
        return "special-file", "It is no plain file (a device, pipe or socket)."
    if entry.name.startswith("."):
        return "hidden-file", "It is hidden: its name starts with a dot."
    if not allowed(path):
        return "unexpected-file", "No package has a file of this name or type here."
    table = path in (MANIFEST, TABLE, PNG_TABLE)
    if about.st_size > (LARGEST_IMAGE if IMAGE.fullmatch(path) else LARGEST_TABLE if table else LARGEST_TEXT):
        return "too-large", f"It has {about.st_size} bytes, more than any such file of a package."
    return None
