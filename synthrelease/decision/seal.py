"""What an audit wrote, sealed in the log: decisions, approvals and the leak gate rest on files that nobody edited.

An approval lapses when evidence changes (`Evidence.binding`), but deciding and approving again would make edited files
count. So the log's line about the audit holds the hash of a list of all hashes, `kept-sha256.txt`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from synthrelease import store
from synthrelease.decision import log
from synthrelease.decision.folder import AUDIT, FINGERPRINTS, IDENTITIES, IMAGES, PAIRS
from synthrelease.errors import IntegrityError
from synthrelease.release_records import Entry

KEPT = "kept-sha256.txt"
SEALED = (AUDIT, IMAGES, FINGERPRINTS, IDENTITIES, f"{PAIRS}/index.json")
REMEDY = "Restore the evidence folder from a copy, or audit again: finished steps are reused."


def seal(folder: Path) -> str:
    """Write the hash of every file that an audit leaves for later steps, and return the list's own hash."""
    paths = [folder / name for name in SEALED] + sorted((folder / PAIRS).glob("*.npz"))
    lines = [f"{store.sha256_of(path)}  {path.relative_to(folder).as_posix()}\n" for path in paths if path.is_file()]
    store.write_text(folder / KEPT, "".join(lines))
    return store.sha256_of(folder / KEPT)


def changed(folder: Path, entries: Sequence[Entry]) -> tuple[str, ...]:
    """Return the files that are not what the last audit in the log wrote; the log itself where it knows no audit.

    Pictures of pairs may be missing: they may have to be destroyed, as agreed with those who gave the data.
    """
    audits = [entry for entry in entries if entry.action == "audit"]
    if not audits:
        return (log.NAME,)
    told = audits[-1].data
    found = [AUDIT] if told.get("audit_sha256") != _sha256(folder / AUDIT) else []
    intact = told.get("kept_sha256") == _sha256(folder / KEPT)
    found += _changed(folder) if intact else [KEPT]
    return tuple(dict.fromkeys(found))


def refuse_changed(folder: Path, entries: Sequence[Entry]) -> None:
    """Raise IntegrityError, naming every file, unless the evidence is what the last audit in the log wrote."""
    found = changed(folder, entries)
    if found == (log.NAME,):
        raise IntegrityError("The decision log knows no audit of this evidence: the log was removed.", REMEDY)
    if found:
        raise IntegrityError(f"These files are not what the audit wrote: {', '.join(found)}.", REMEDY)


def _changed(folder: Path) -> list[str]:
    found = []
    for line in (folder / KEPT).read_text(encoding="utf-8").splitlines():
        sha256, _, name = line.partition("  ")
        picture = name.endswith(".npz")
        if _sha256(folder / name) != sha256 and not (picture and not (folder / name).exists()):
            found.append(name)
    return found


def _sha256(path: Path) -> str:
    return store.sha256_of(path) if path.is_file() else ""
