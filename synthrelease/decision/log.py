"""The decision log: one JSON line per act, each holding the hash of the line before.

An edited, reordered or removed line breaks the chain. A chain that was cut at its end is still a chain, so the hash of
its last line is also kept beside it. Whoever rewrites both is not caught; the signed attestation of a package pins the
chain as it was when packaged.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from synthrelease import store
from synthrelease.errors import IntegrityError, StoreError
from synthrelease.release_records import Action, Entry

NAME, HEAD = "decisions.jsonl", "decisions.head"
FIRST = "0" * 64


def read(folder: Path) -> tuple[Entry, ...]:
    """Return every entry of the evidence folder's log, oldest first; none where there is no log yet.

    Raises:
        IntegrityError: A line was edited, removed, reordered, added by hand, or cut short; it is named.
    """
    path = folder / NAME
    last = _kept_head(folder)  # before the log: another process may append between the two
    content = path.read_bytes() if path.is_file() else b""
    whole = content[: content.rfind(b"\n") + 1]
    known = _known(path, whole)
    entries = list(known.entries)
    for number, line in enumerate(whole[len(known.content) :].split(b"\n")[:-1], start=len(entries) + 1):
        previous = entries[-1].sha256 if entries else FIRST
        entry = _entry(line)
        if entry is None or entry.number != number or entry.previous != previous or entry.sha256 != _sha256(entry):
            raise IntegrityError(
                f"Line {number} of {NAME} is not what was written: it, or the line before it, was changed.",
                "Restore the evidence folder from a copy. What was decided after that line cannot be relied on.",
            )
        entries.append(entry)
    if last and last not in (entry.sha256 for entry in reversed(entries)):
        raise IntegrityError(
            f"Lines are missing at the end of {NAME}: it no longer holds the last act that was written.",
            "Restore the evidence folder from a copy. A rejection or a withdrawal may be among the lost lines.",
        )
    found = known.entries if len(entries) == len(known.entries) else tuple(entries)
    _remember(path, _Checked(whole, found))
    return found


@dataclass(frozen=True)
class _Checked:
    """What this process has checked of a log: the bytes and what they say."""

    content: bytes = b""
    entries: tuple[Entry, ...] = ()


_CHECKED: dict[Path, _Checked] = {}
_MOST_CHECKED = 4  # logs; a review page has one


def _known(path: Path, content: bytes) -> _Checked:
    """Return what was checked before of these very bytes: checking every line at every answer would be quadratic.

    All bytes are compared, so a change anywhere in them has the whole log checked anew, and told by its line.
    """
    known = _CHECKED.get(path.absolute(), _Checked())
    return known if content.startswith(known.content) else _Checked()


def _remember(path: Path, checked: _Checked) -> None:
    place = path.absolute()
    while len(_CHECKED) >= _MOST_CHECKED and place not in _CHECKED:
        _CHECKED.pop(next(iter(_CHECKED), place), None)
    _CHECKED[place] = checked


def append(
    folder: Path,
    action: Action,
    *,
    by: str = "",
    role: str = "",
    reason: str = "",
    data: Mapping[str, object] | None = None,
) -> Entry:
    """Add one entry to the log, on disk when this returns, and return it. Several processes may append at once."""
    with store.disk_errors(folder), store.one_writer(folder / NAME):
        _drop_torn_line(folder / NAME)
        entries = read(folder)
        entry = Entry(
            number=len(entries) + 1,
            time=now(),
            action=action,
            by=by,
            role=role,
            reason=reason,
            data=dict(data or {}),
            previous=entries[-1].sha256 if entries else FIRST,
            sha256="",
        )
        entry = entry.model_copy(update={"sha256": _sha256(entry)})
        handle = os.open(folder / NAME, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            _write_whole(
                handle, (canonical(entry.model_dump(mode="json")) + "\n").encode(), folder / HEAD, entry.sha256
            )
        finally:
            os.close(handle)
    return entry


def head(folder: Path) -> str:
    """Return the hash of the last entry, which stands for the whole log; 64 zeros for an empty one."""
    entries = read(folder)
    return entries[-1].sha256 if entries else FIRST


def now() -> str:
    """Return the time in UTC, ISO 8601, whole seconds. It is the real one: no variable may put an act into the past."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _kept_head(folder: Path) -> str:
    path = folder / HEAD
    return path.read_text(encoding="utf-8", errors="replace").strip() if path.is_file() else ""


def _write_whole(handle: int, line: bytes, head: Path, sha256: str) -> None:
    """Write a line and its hash, or leave the log as it was: half a line (a full disk) would break the chain."""
    size = os.fstat(handle).st_size
    try:
        written = os.write(handle, line)
        if written != len(line):
            raise OSError(28, "No space left on device")
        os.fsync(handle)
        store.write_text(head, f"{sha256}\n")
    except (OSError, StoreError):
        with contextlib.suppress(OSError):
            os.ftruncate(handle, size)
        raise


def _drop_torn_line(path: Path) -> None:
    """Remove what stands after the last line break: the process or the machine stopped while writing it."""
    if not path.is_file():
        return
    with path.open("r+b") as file:
        file.seek(-min(1, file.seek(0, os.SEEK_END)), os.SEEK_END)
        if file.read() in (b"", b"\n"):
            return
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


def _entry(line: bytes) -> Entry | None:
    try:
        return Entry.model_validate_json(line)
    except ValidationError:
        return None


def _sha256(entry: Entry) -> str:
    return hashlib.sha256(canonical(entry.model_dump(mode="json", exclude={"sha256"})).encode()).hexdigest()


def canonical(value: object) -> str:
    """Return JSON that is the same for equal values: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
