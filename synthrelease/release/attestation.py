"""What the publisher signs: an in-toto Statement v1 about the manifest, the record, and the decision behind them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from synthrelease.decision.log import canonical
from synthrelease.release import layout
from synthrelease.release_records import PackageProblem, PublicRecord

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:synthrelease:release:v1"
_SHA256 = re.compile("[0-9a-f]{64}")
SUBJECTS = (layout.MANIFEST, layout.RECORD)


def statement(
    record: PublicRecord, digests: Mapping[str, str], *, files: int, size: int, log_sha256: str
) -> dict[str, Any]:
    """Return the statement.

    Args:
        record: What the package says about itself.
        digests: SHA-256 of manifest and record.
        files: Number of files that the manifest lists.
        size: Bytes of these files together.
        log_sha256: Hash of the last entry of the decision log: it pins the log as it was at packaging.
    """
    told = record.model_dump(mode="json")
    decided = ("decision", "policy", "policy_version", "policy_sha256", "release_model", "attempts")
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": digests[name]}} for name in SUBJECTS],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "release": {name: told["options"][name] for name in ("title", "version", "creators", "licence")},
            "date": record.date,
            "decision": {name: told[name] for name in decided},
            "approvals": told["approvals"],
            "evidence": {"binding": record.evidence_sha256, "log": log_sha256},
            "contents": {"files": files, "bytes": size, "images": record.images.count},
            "synthrelease": record.synthrelease,
        },
    }


def payload(content: Mapping[str, Any]) -> bytes:
    """Return a statement as the bytes that are signed."""
    return canonical(content).encode("ascii")


def problems(
    signed: bytes, record: PublicRecord, digests: Mapping[str, str], *, files: int | None, size: int | None
) -> list[PackageProblem]:
    """Return where a signed statement differs from the one that this package calls for.

    Without ``files`` and ``size`` what was signed of them is believed: for packages whose files are known to differ.
    """
    try:
        found = json.loads(signed)
        log_sha256 = str(found["predicate"]["evidence"]["log"])
        predicate, contents = dict(found["predicate"]), found["predicate"]["contents"]
        files, size = (contents["files"] if files is None else files), (contents["bytes"] if size is None else size)
        subjects = list(found.get("subject") or [])
        if not _SHA256.fullmatch(log_sha256):
            raise ValueError("the log's hash is none")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return [_problem("bad-statement", "What was signed is no statement about a release.")]
    wanted = statement(record, digests, files=files, size=size, log_sha256=log_sha256)
    faults = [
        _problem("statement-subject", f"The signature is for another {item['name']} than the one that is here.")
        for item in wanted["subject"]
        if item not in subjects
    ]
    faults += [
        _problem("statement-differs", f"What was signed about {name!r} is not what the package says.")
        for name in sorted(set(predicate) | set(wanted["predicate"]))
        if predicate.get(name) != wanted["predicate"].get(name)
    ]
    if not faults and found != wanted:
        faults.append(_problem("bad-statement", "What was signed holds more, or other, than a statement of ours."))
    return faults


def _problem(code: str, text: str) -> PackageProblem:
    return PackageProblem(code=code, path=layout.ATTESTATION, text=text)
