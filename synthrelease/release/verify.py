"""Checks a package as a stranger can: from cheap to dear, every problem named, nothing followed or unpacked blindly."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import ValidationError

from synthrelease import store
from synthrelease.errors import IntegrityError, StoreError
from synthrelease.release import attestation, export, layout, manifest, signing
from synthrelease.release.image_files import ImageFiles, geometry_of
from synthrelease.release.known_names import absolute_paths
from synthrelease.release.leak_gate import DOCUMENTS, readings
from synthrelease.release_records import PackageProblem, PublicRecord, Signer, Verification

_ACTIVE = re.compile(r"<\s{0,9}(?:script|iframe|object|embed|form|base|link)\b", re.IGNORECASE)
_HANDLER = re.compile(r"[\s/\"']on\w+\s*=", re.IGNORECASE)


def verify(package: Path, key: Path | None = None) -> Verification:
    """Return every problem of the package, and whether ``key`` (the publisher's public key) signed it.

    Without ``key`` the enclosed one is used: that shows that nothing changed since somebody signed, not who.

    Raises:
        StoreError: There is no folder to check.
        SettingsError: ``key`` cannot be read.
    """
    public = signing.load_public(key) if key else None
    if not package.is_dir():
        what = "is a file; a package is a folder" if package.exists() else "does not exist"
        raise StoreError(f"{package} {what}.", "Unpack it if it came as an archive, and name the folder.")
    return check(package, public)


def check(root: Path, public_pem: bytes | None = None, *, images: bool = True) -> Verification:
    """Return what `verify` does for an existing folder; without ``images`` their content is only hashed."""
    files, problems = layout.files_of(root)
    problems += layout.missing(files, problems)
    listed = _manifest(root, files, problems)
    problems += manifest.changed(root, listed, files)
    same_files = not problems
    record = _record(root, files, problems)
    signed, signer, key_id = _signed(root, files, public_pem, problems)
    if signed is not None and record is not None and layout.MANIFEST in files:
        digests = {name: store.sha256_of(root / name) for name in attestation.SUBJECTS}
        counted = (len(listed), sum(files[path] for path in listed)) if same_files else (None, None)
        problems += attestation.problems(signed, record, digests, files=counted[0], size=counted[1])
    problems += _documents(root, files)
    if record is not None:
        reader = ImageFiles(root, record)
        problems += reader.tables(files)
        problems += _images(reader, files, problems) if images else []
    options = record.options if record else None
    return Verification(
        path=str(root),
        intact=not problems,
        signer=signer,
        key_id=key_id,
        problems=tuple(dict.fromkeys(problems)),
        files=len(listed),
        bytes=sum(files.get(path, 0) for path in listed),
        images=record.images.count if record else 0,
        title=options.title if options else "",
        version=options.version if options else "",
        decision=record.decision if record else "",
        overridden=any(given.override_of for given in record.approvals) if record else False,
        date=record.date if record else "",
    )


def _manifest(root: Path, files: Mapping[str, int], problems: list[PackageProblem]) -> dict[str, str]:
    if layout.MANIFEST not in files:
        return {}
    listed, found = manifest.parsed((root / layout.MANIFEST).read_bytes())
    named = {problem.path for problem in problems}
    problems += found + [gap for gap in manifest.compared(listed, files) if gap.path not in named]
    return listed


def _record(root: Path, files: Mapping[str, int], problems: list[PackageProblem]) -> PublicRecord | None:
    if layout.RECORD not in files:
        return None
    try:
        record = PublicRecord.model_validate_json((root / layout.RECORD).read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "it"
        text = f"It is no record of a release: {place}: {first['msg']}."
        problems.append(PackageProblem(code="bad-record", path=layout.RECORD, text=text))
        return None
    if not export.possible(geometry_of(record.images), record.options.image_format):
        text = "It is no record of a release: no image file has the size, number type or voxel size that it names."
        problems.append(PackageProblem(code="bad-record", path=layout.RECORD, text=text))
        return None
    return record


def _signed(
    root: Path, files: Mapping[str, int], wanted: bytes | None, problems: list[PackageProblem]
) -> tuple[bytes | None, Signer, str]:
    """Return what was signed, how far the signer is known, and the id of the key that signed."""
    enclosed = _enclosed_key(root, files, problems)
    if layout.ATTESTATION not in files:
        return None, "failed", ""
    envelope = (root / layout.ATTESTATION).read_bytes()
    reason = ""
    for key in [wanted] if wanted else [enclosed] if enclosed else []:
        try:
            return signing.opened(envelope, key), "verified" if wanted else "unverified", signing.key_id(key)
        except IntegrityError as error:
            reason = error.problem
    if wanted and enclosed and enclosed != wanted:
        try:
            signed = signing.opened(envelope, enclosed)
        except IntegrityError:
            pass
        else:
            text = f"It was signed with another key ({signing.key_id(enclosed)[:16]}...) than the one you gave."
            problems.append(PackageProblem(code="other-signer", path=layout.ATTESTATION, text=text))
            return signed, "failed", signing.key_id(enclosed)
    if wanted or enclosed:
        problems.append(PackageProblem(code="bad-signature", path=layout.ATTESTATION, text=reason))
    return None, "failed", ""


def _enclosed_key(root: Path, files: Mapping[str, int], problems: list[PackageProblem]) -> bytes | None:
    if layout.PUBLIC_KEY not in files:
        return None
    content = (root / layout.PUBLIC_KEY).read_bytes()
    try:
        key = signing.as_pem(content)
        if key != content:
            raise ValueError("it holds more than the key")
    except ValueError as error:
        text = f"It is no public Ed25519 key: {error}."
        problems.append(PackageProblem(code="bad-key", path=layout.PUBLIC_KEY, text=text))
        return None
    return key


def _documents(root: Path, files: Mapping[str, int]) -> list[PackageProblem]:
    """Return leaks that show without knowing any secret: paths of somebody's computer, and pages that do things."""
    problems: list[PackageProblem] = []
    for path in sorted(set(files) & set(DOCUMENTS)):
        try:
            text = (root / path).read_text(encoding="utf-8")
            found = sorted({place for view in readings(path, text) for place in absolute_paths(view)})
        except ValueError:
            text = "It cannot be read as the kind of text that it should be."
            problems.append(PackageProblem(code="bad-text", path=path, text=text))
            continue
        problems += [
            PackageProblem(code="absolute-path", path=path, text=f"It names a place on a computer: {place[:80]!r}.")
            for place in found
        ]
        if path == layout.PAGE and _is_active(text):
            text = "It holds scripts, forms or other active content; a report holds none."
            problems.append(PackageProblem(code="active-content", path=path, text=text))
    return problems


def _is_active(page: str) -> bool:
    """Say whether a page does things; each character is looked at once, however hostile the page."""
    if _ACTIVE.search(page):
        return True
    tags = (piece[piece.index("<") :] for piece in page.split(">") if "<" in piece)
    return any(_HANDLER.search(tag) for tag in tags)


def _images(reader: ImageFiles, files: Iterable[str], told: Iterable[PackageProblem]) -> list[PackageProblem]:
    problems: list[PackageProblem] = []
    named = {problem.path for problem in told}
    for path in sorted(files):
        if layout.IMAGE.fullmatch(path) and path not in named:
            try:
                reader.planes(path, keep=False)
            except IntegrityError as error:
                problems.append(PackageProblem(code="bad-image", path=path, text=error.problem))
    return problems
