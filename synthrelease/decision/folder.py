"""The evidence folder: what lies in it, and the hash that an approval is bound to."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from synthrelease import store
from synthrelease.decision import log
from synthrelease.errors import DecisionError, IntegrityError
from synthrelease.records import AuditRecord, Record
from synthrelease.release_records import DecisionRecord, Identities, PairInfo, QualityRecord, Sources, UtilityRecord

AUDIT, SOURCES, IMAGES, DECISION, POLICY = "audit.json", "sources.json", "images.csv", "decision.json", "policy.toml"
QUALITY, UTILITY, PAIRS, ATTEMPTS = "quality.json", "utility.json", "pairs", "attempts"
FINGERPRINTS, IDENTITIES = "fingerprints.txt", "identities.json"

AnyRecord = TypeVar("AnyRecord", bound=Record)


@dataclass(frozen=True)
class Evidence:
    """One evidence folder and its audit."""

    folder: Path
    audit: AuditRecord

    def sources(self) -> Sources:
        """Return where the audited images lay."""
        return _needed(self.folder / SOURCES, Sources)

    def images(self) -> dict[str, str]:
        """Return image id -> SHA-256 of its pixels, for every image that may be released, in the set's order."""
        if not (self.folder / IMAGES).is_file():
            return {}
        try:
            with (self.folder / IMAGES).open(newline="", encoding="utf-8") as file:
                return {row["image_id"]: row["pixels_sha256"] for row in csv.DictReader(file)}
        except (ValueError, KeyError, csv.Error) as error:
            raise _damaged(IMAGES, str(error)) from error

    def identities(self) -> Identities:
        """Return the names that must not leave."""
        return _needed(self.folder / IDENTITIES, Identities)

    def fingerprints(self) -> frozenset[str]:
        """Return `fingerprints.of_plane` of every plane of every real image."""
        try:
            return frozenset((self.folder / FINGERPRINTS).read_text(encoding="ascii").split())
        except ValueError as error:
            raise _damaged(FINGERPRINTS, str(error)) from error

    def pairs(self) -> tuple[PairInfo, ...]:
        """Return the pairs that the audit kept for readers, planted ones among them, in the order of reading."""
        path = self.folder / PAIRS / "index.json"
        found = _read(path, _PairList)
        return () if found is None else found.pairs

    def quality(self) -> QualityRecord | None:
        """Return `quality.json`; None where there is none."""
        return _read(self.folder / QUALITY, QualityRecord)

    def utility(self) -> UtilityRecord | None:
        """Return `utility.json`; None where there is none."""
        return _read(self.folder / UTILITY, UtilityRecord)

    def decision(self) -> DecisionRecord | None:
        """Return the latest decision; None before `decide`."""
        return _read(self.folder / DECISION, DecisionRecord)

    def binding(self) -> str:
        """Return a hash over audit, quality, utility, policy, image list and what readers said.

        An approval names it. When any of these changes, the hash changes and the approval has lapsed.
        """
        files = {name: _sha256(self.folder / name) for name in (AUDIT, QUALITY, UTILITY, POLICY, IMAGES)}
        answers = [entry.data for entry in log.read(self.folder) if entry.action == "pair"]
        return hashlib.sha256(log.canonical({"files": files, "answers": answers}).encode()).hexdigest()


class _PairList(Record):
    pairs: tuple[PairInfo, ...]


def open_evidence(path: Path) -> Evidence:
    """Return the evidence at ``path``: an audit's OUT, or its OUT/evidence.

    Raises:
        DecisionError: There is no audit.
        IntegrityError: audit.json is damaged.
    """
    folder = next((f for f in (path, path / "evidence") if (f / AUDIT).is_file()), None)
    if folder is None:
        raise DecisionError(
            f"{path} holds no audit: there is no {AUDIT} in it or in its folder 'evidence'.",
            "Run `synthrelease audit ... --out OUT` first, and name OUT here.",
        )
    return Evidence(folder, _needed(folder / AUDIT, AuditRecord))


def write_record(path: Path, record: Record) -> None:
    """Write a record as JSON, whole or not at all."""
    store.write_text(path, record.model_dump_json(indent=1) + "\n")


def write_pairs(folder: Path, pairs: Sequence[PairInfo]) -> None:
    """Write the index of the pairs for readers."""
    write_record(folder / PAIRS / "index.json", _PairList(pairs=tuple(pairs)))


def write_images(folder: Path, images: dict[str, str]) -> None:
    """Write the list of images that may be released, with the hash of each image's pixels."""
    with store.atomic_path(folder / IMAGES) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("image_id", "pixels_sha256"))
        writer.writerows(images.items())


def _needed(path: Path, kind: type[AnyRecord]) -> AnyRecord:
    record = _read(path, kind)
    if record is None:
        raise DecisionError(
            f"{path.name} is missing in {path.parent}.",
            "Run the audit again with this version of synthrelease: finished steps are reused.",
        )
    return record


def _read(path: Path, kind: type[AnyRecord]) -> AnyRecord | None:
    if not path.is_file():
        return None
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or path.name
        raise _damaged(path.name, f"{place}: {first['msg']}") from error


def _damaged(name: str, why: str) -> IntegrityError:
    return IntegrityError(f"{name} is damaged or was edited: {why}.", "Run the audit again, or restore it.")


def _sha256(path: Path) -> str:
    return store.sha256_of(path) if path.is_file() else ""
