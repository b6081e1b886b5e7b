"""Approved evidence in, a release package out: all of it under its name, or nothing."""

from __future__ import annotations

import datetime
import filecmp
import hashlib
import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from synthrelease import store
from synthrelease.decision import approval, log
from synthrelease.decision.folder import Evidence
from synthrelease.errors import DecisionError, IntegrityError, LeakError, SettingsError, StoreError
from synthrelease.image_set import ImageSet
from synthrelease.progress import SILENT, Progress
from synthrelease.release import attestation, export, layout, leak_gate, licence, manifest, numbering, signing, verify
from synthrelease.release.export import Geometry
from synthrelease.release.image_files import identifier_root
from synthrelease.release.image_writer import ImageWriter, check_ids
from synthrelease.release.signing import SigningKey
from synthrelease.release_records import Approval, PackageInfo, PublicImages, PublicRecord, ReleaseOptions

LONGEST_TITLE, LONGEST_TEXT = 300, 10_000  # characters
LONGEST_NAME = 60  # of the package in the name of its unfinished folder
MOST_LEAKS = 20  # that an error lists
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+_-]{0,39}")


@dataclass
class _Tree:
    """A package being written: remembers size and SHA-256 of every file."""

    root: Path
    files: dict[str, tuple[int, str]] = field(default_factory=dict)

    def write(self, path: str, content: bytes | str) -> None:
        data = content.encode("utf-8") if isinstance(content, str) else content
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        self.files[path] = (len(data), hashlib.sha256(data).hexdigest())

    def sha256(self, path: str) -> str:
        return self.files[path][1]


def build(
    evidence: Evidence,
    images: Callable[[], ImageSet],
    out: Path,
    options: ReleaseOptions,
    *,
    key: Path | None = None,
    progress: Progress = SILENT,
) -> PackageInfo:
    """Build a package at ``out`` and return what it is; equal evidence, key and options give equal bytes.

    Args:
        evidence: The audit, its decision and approvals.
        images: Opens the synthetic images as the audit saw them, removed ones left out.
        out: The package; must not exist, unless it is the very package that would be built.
        options: What is said about the release.
        key: Private Ed25519 key; None takes the user's own and makes it once.
        progress: Hears of every image.

    Raises:
        NotApprovedError, RejectedError: No approval is in force.
        IntegrityError: Evidence or images are not what was audited and approved.
        LeakError: The finished tree holds something real; it is gone again.
    """
    options = checked(options)
    approvals = approval.in_force(evidence)
    out = out.absolute()
    _refuse_place(evidence, out)
    signer = signing.load_key(key)
    _refuse_key_inside(signer.path, evidence, out)
    with store.disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with store.one_writer(out):
            _clear_partials(out)
            partial = Path(tempfile.mkdtemp(prefix=_partial_prefix(out), dir=out.parent))
            try:
                record = _fill(_Tree(partial), evidence, approvals, images(), options, signer, progress)
                _refuse_leaks(partial, evidence, record, progress)
                unchanged = _take_name(partial, out)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    return _info(out, record, signer, unchanged=unchanged)


def checked(options: ReleaseOptions) -> ReleaseOptions:
    """Return the options with their licence in its usual spelling; raise with every problem in them at once."""
    problems = []
    for name, text in (("title", options.title), *(("creator", creator) for creator in options.creators)):
        problems += [f"the {name} is empty"] if not text.strip() else []
        problems += [f"the {name} has more than {LONGEST_TITLE} characters"] if len(text) > LONGEST_TITLE else []
    problems += ["no creator is named"] if not options.creators else []
    long = ("description", "contact", "generator", "intended_uses")
    problems += [f"--{name} is too long" for name in long if len(getattr(options, name)) > LONGEST_TEXT]
    if not _VERSION.fullmatch(options.version):
        problems.append(f"the version {options.version!r} is no version such as 1.0.0")
    for name, value in options.model_dump().items():
        for text in value if isinstance(value, tuple) else (value,):
            lines = "\n" if name in long else ""
            problems += [f"the {name} holds an invisible character ({bad!r})" for bad in _invisible(text, lines)[:1]]
    if problems:
        raise SettingsError(f"This cannot be printed on a release: {'; '.join(problems)}.", "Give them as plain text.")
    return options.model_copy(update={"licence": licence.checked(options.licence)})


def _invisible(text: str, allowed: str) -> list[str]:
    """Return control characters and those that reorder or hide text: they would deceive readers."""
    return [c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c not in allowed]


def _fill(
    tree: _Tree,
    evidence: Evidence,
    approvals: Sequence[Approval],
    images: ImageSet,
    options: ReleaseOptions,
    signer: SigningKey,
    progress: Progress,
) -> PublicRecord:
    from synthrelease.release.croissant import croissant
    from synthrelease.report.card import card
    from synthrelease.report.public import public_page

    audited = evidence.images()
    check_ids(images, audited)
    order = numbering.numbered(audited, signing.order_secret(signer), options.image_format)
    channels = layout.channel_names(images.channels)
    record = _record(evidence, approvals, images, options, order)
    record_json = record.model_dump_json(indent=1) + "\n"
    geometry = Geometry(images.size[0], images.size[1], record.images.dtype, images.voxel_size)
    identifiers = identifier_root(record_json.encode("utf-8"), signer.public_pem)
    writer = ImageWriter(tree.write, images, order, channels)
    samples = writer.run(audited, geometry, options.image_format, identifiers, progress)
    tree.write(layout.TABLE, numbering.table(order, channels, options.image_format))
    if options.image_format == "png":
        tree.write(layout.PNG_TABLE, numbering.picture_table(order, channels))
    tree.write(layout.RECORD, record_json)
    tree.write(layout.PAGE, public_page(record, samples))
    tree.write(layout.CARD, card(record))
    tree.write(layout.LICENCE, licence.text(options.licence, options.contact))
    tree.write(layout.PUBLIC_KEY, signer.public_pem)
    tree.write(layout.CROISSANT, croissant(record, tree.files))
    _sign(tree, record, evidence, signer)
    return record


def _record(
    evidence: Evidence,
    approvals: Sequence[Approval],
    images: ImageSet,
    options: ReleaseOptions,
    order: Sequence[numbering.Numbered],
) -> PublicRecord:
    from synthrelease.release.publish import public_record

    decision = evidence.decision()
    if decision is None:
        raise DecisionError("There is no decision yet.", "Run `synthrelease decide EVIDENCE --policy POLICY` first.")
    numbers = PublicImages(
        count=len(order),
        files=sum(len(image.slice_numbers(options.image_format)) for image in order) * len(images.channels),
        height=images.size[0],
        width=images.size[1],
        channels=images.channels,
        dtype=export.stored_type(np.dtype(images.pixels.dtype).name, options.image_format),
        voxel_size=images.voxel_size,
        volumes=sum(image.volume for image in order),
    )
    return public_record(evidence, decision, approvals, options, numbers, _date(approvals))


def _date(approvals: Sequence[Approval]) -> str:
    """Return ``SOURCE_DATE_EPOCH``, else the last approval's date: the same evidence gives the same package later."""
    moment = os.environ.get("SOURCE_DATE_EPOCH")
    if moment:
        try:
            return datetime.datetime.fromtimestamp(int(moment), datetime.UTC).date().isoformat()
        except (ValueError, OverflowError, OSError) as error:
            raise SettingsError(f"SOURCE_DATE_EPOCH is {moment!r}.", "Give seconds since 1970, or unset it.") from error
    return max(given.date for given in approvals)[:10]


def _sign(tree: _Tree, record: PublicRecord, evidence: Evidence, signer: SigningKey) -> None:
    listed = {path: sha256 for path, (_, sha256) in tree.files.items()}
    size = sum(size for size, _ in tree.files.values())
    tree.write(layout.MANIFEST, manifest.text(listed))
    digests = {name: tree.sha256(name) for name in attestation.SUBJECTS}
    head = log.head(evidence.folder)
    content = attestation.statement(record, digests, files=len(listed), size=size, log_sha256=head)
    tree.write(layout.ATTESTATION, signing.envelope(attestation.payload(content), signer))


def _refuse_leaks(root: Path, evidence: Evidence, record: PublicRecord, progress: Progress) -> None:
    found = leak_gate.leaks(root, evidence, record, progress)
    if found:
        more = f"\n... and {len(found) - MOST_LEAKS} more." if len(found) > MOST_LEAKS else ""
        listed = "\n".join(f"{leak.path}: {leak.text}" for leak in found[:MOST_LEAKS])
        raise LeakError(
            f"No package was written: it would have held what must not leave.\n{listed}{more}",
            "Take it out of what was said about the release (options, approvals, your policy) or of the images, and "
            "run the same command again.",
        )
    written = verify.check(root, images=False)
    if not written.intact:
        first = written.problems[0]
        raise IntegrityError(f"What was written cannot be read back: {first.path}: {first.text}", "Check the disk.")


def _take_name(partial: Path, out: Path) -> bool:
    """Rename the finished tree; return True instead if the same package is there already."""
    if out.is_symlink() or out.is_file():
        raise StoreError(f"{out} exists.", "Choose another --out.")
    if out.is_dir() and any(out.iterdir()):
        if _same(partial, out):
            return True
        raise StoreError(f"{out} exists and is not this package.", "Choose another --out, or move it away.")
    mask = os.umask(0)
    os.umask(mask)
    partial.chmod(0o777 & ~mask)  # until now nobody else could look inside
    partial.replace(out)
    return False


def _same(first: Path, second: Path) -> bool:
    """Say whether two trees hold the same files with the same bytes."""
    (mine, faults), (theirs, others) = layout.files_of(first), layout.files_of(second)
    if faults or others or mine != theirs:
        return False
    return all(filecmp.cmp(first / path, second / path, shallow=False) for path in mine)


def _partial_prefix(out: Path) -> str:
    name = out.name if len(out.name) <= LONGEST_NAME else f"{out.name[:LONGEST_NAME]}-{store.digest(out.name)}"
    return f".{name}.partial-"


def _clear_partials(out: Path) -> None:
    """Remove what a killed run left; the lock says that no other run works on this package now."""
    for stale in list(out.parent.iterdir()):
        if stale.name.startswith(_partial_prefix(out)) and stale.is_dir() and not stale.is_symlink():
            shutil.rmtree(stale, ignore_errors=True)


def _refuse_place(evidence: Evidence, out: Path) -> None:
    inside, place = evidence.folder.resolve(), out.resolve()
    if place == inside or inside in place.parents:
        raise SettingsError(f"{out} lies in the evidence folder, which never leaves.", "Choose another --out.")
    within = next((folder for folder in place.parents if (folder / layout.MANIFEST).exists()), None)
    if within is not None:
        raise SettingsError(f"{out} lies in the package {within}, which is sealed.", "Choose another --out.")


def _refuse_key_inside(path: Path, evidence: Evidence, out: Path) -> None:
    key = path.resolve()
    for tree in (evidence.folder.resolve(), out.resolve()):
        if tree in key.parents:
            raise SettingsError(f"The private key {path} lies in {tree}.", "Move it out of there first.")


def _info(out: Path, record: PublicRecord, signer: SigningKey, *, unchanged: bool) -> PackageInfo:
    listed, _ = manifest.parsed((out / layout.MANIFEST).read_bytes())
    return PackageInfo(
        path=str(out),
        title=record.options.title,
        version=record.options.version,
        decision=record.decision,
        overridden=any(given.override_of for given in record.approvals),
        date=record.date,
        images=record.images.count,
        files=len(listed),
        bytes=sum((out / path).stat().st_size for path in listed),
        manifest_sha256=store.sha256_of(out / layout.MANIFEST),
        key=signer.info,
        unchanged=unchanged,
    )
