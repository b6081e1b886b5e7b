"""Which patient an image shows: a CSV in the folder, a pattern on the path, a folder per subject, or the file."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from synthrelease.errors import ScanError, SettingsError
from synthrelease.scans.files import SUBJECTS_FILE, Listing, Source, relative

Finder = Callable[[str, Source, str], str]  # image id, its file, the subject that the file itself states


def compiled(pattern: str | None) -> re.Pattern[str] | None:
    """Return the pattern, checked.

    Raises:
        SettingsError: not a regular expression, or no group to take the subject from.
    """
    if pattern is None:
        return None
    try:
        found = re.compile(pattern)
    except re.error as error:
        raise SettingsError(
            f"--subject-pattern {pattern!r} is not a regular expression: {error}.",
            r"Example: '^(TCGA_\w+_\d+)' takes what the brackets match as the subject.",
        ) from error
    if found.groups < 1:
        raise SettingsError(
            f"--subject-pattern {pattern!r} has no group.", "Put round brackets around the part that names the subject."
        )
    return found


def subject_finder(listing: Listing, pattern: re.Pattern[str] | None, *, needs_subject: bool) -> Finder:
    """Return what names the subject of an image; '' where a synthetic image has none.

    ``subjects.csv`` in the folder wins, then subjects that a file itself states (NPZ), the pattern, BraTS
    names, the first folder of the path, and last, for real images only, the file's own name.

    Raises:
        ScanError: real files that the CSV or the pattern does not cover (the first few are named).
    """
    table = _read_table(listing.root / SUBJECTS_FILE)
    if table is not None:
        if pattern is not None:
            listing.notes.append(f"{SUBJECTS_FILE} names the subjects; --subject-pattern was not used")
        return _table_finder(table, listing, needs_subject=needs_subject)
    if pattern is not None:
        return _pattern_finder(pattern, listing, needs_subject=needs_subject)
    _note_folders(listing, needs_subject=needs_subject)
    return lambda image_id, source, stated: stated or _from_place(image_id, source, needs_subject=needs_subject)


def _from_place(image_id: str, source: Source, *, needs_subject: bool) -> str:
    if source.case is not None:
        return source.case.subject
    first, slash, _ = source.name.partition("/")
    if slash:
        return first
    return source.name if needs_subject else ""


def _note_folders(listing: Listing, *, needs_subject: bool) -> None:
    if listing.sources[0].case is not None:
        return
    firsts = [source.name.partition("/") for source in listing.sources]
    flat = sum(not slash for _, slash, _ in firsts)
    folders = {first for first, slash, _ in firsts if slash}
    if folders:
        listing.notes.append(f"{len(folders)} sub-folders taken as subjects")
    if needs_subject and flat > 1:
        listing.notes.append(
            f"warning: {flat} files lie in no subject's folder and each counts as its own subject; "
            f"if one patient has several, give --subject-pattern or a {SUBJECTS_FILE}"
        )


def _is_npz(listing: Listing) -> bool:
    return listing.sources[0].path.suffix.lower() == ".npz"


def _pattern_finder(pattern: re.Pattern[str], listing: Listing, *, needs_subject: bool) -> Finder:
    def find(image_id: str, source: Source, stated: str) -> str:
        named_inside = source.path.suffix.lower() == ".npz"
        match = pattern.search(image_id if named_inside else _path_name(source, listing.root))
        return stated or ((match[1] or "") if match else "")

    if needs_subject and not _is_npz(listing):
        lost = [s.name for s in listing.sources if not find(s.name, s, "")]
        _refuse(lost, len(listing.sources), f"--subject-pattern {pattern.pattern!r} does not match")
    return find


def _path_name(source: Source, root: Path) -> str:
    return source.name if source.case is None else relative(source.path, root)


def _table_finder(table: dict[str, str], listing: Listing, *, needs_subject: bool) -> Finder:
    def find(image_id: str, source: Source, stated: str) -> str:
        return table.get(image_id) or table.get(source.name) or stated

    if needs_subject and not _is_npz(listing):
        known = {key.rpartition("#")[0] for key in table if "#" in key}
        lost = [s.name for s in listing.sources if not find(s.name, s, "") and s.name not in known]
        _refuse(lost, len(listing.sources), f"{SUBJECTS_FILE} does not list")
    return find


def refuse_nameless(names: Sequence[str], total: int) -> None:
    """Raise if real images ended up without a subject."""
    _refuse(names, total, "no subject is known for")


def _refuse(names: Sequence[str], total: int, problem: str) -> None:
    if names:
        shown = ", ".join(repr(name) for name in names[:5])
        raise ScanError(
            f"{problem} {len(names)} of {total} real images, for example {shown}.",
            "Every real image needs its subject: correct the pattern or the list, or leave files out with --exclude.",
        )


def _read_table(path: Path) -> dict[str, str] | None:
    if not path.is_file():
        return None
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            reader = csv.DictReader(file)
            names = reader.fieldnames or []
            key = next((name for name in ("image_id", "file") if name in names), None)
            if key is None or "subject" not in names:
                raise ScanError(
                    f"{path} has the columns {', '.join(names) or 'none'}.", "It needs image_id (or file) and subject."
                )
            rows = [(row[key] or "", (row["subject"] or "").strip()) for row in reader]
    except (OSError, csv.Error) as error:
        raise ScanError(
            f"{path} cannot be read: {error}", "Save it as CSV with the columns file and subject."
        ) from error
    table = dict(rows)
    torn = [name for name, subject in rows if table[name] != subject]
    if torn:
        raise ScanError(f"{path} gives {torn[0]!r} more than one subject.", "Keep one line per image.")
    return table
