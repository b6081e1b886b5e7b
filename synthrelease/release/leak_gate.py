"""The last look at a finished package before it takes its name: what is not ours, or known to be real, stops it."""

from __future__ import annotations

import base64
import binascii
import html
import io
import json
import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from synthrelease import fingerprints
from synthrelease.decision.decide import shipped_words
from synthrelease.decision.folder import Evidence
from synthrelease.errors import IntegrityError
from synthrelease.progress import Progress
from synthrelease.release import layout, signing
from synthrelease.release.image_files import ImageFiles
from synthrelease.release.known_names import KnownNames
from synthrelease.release_records import PackageProblem, PublicRecord

_PICTURE = re.compile(r"data:(?P<type>[\w.+/-]*)(?P<rest>;base64)?,(?P<data>[A-Za-z0-9+/=%]*)")
_STYLE_HASH = re.compile(r"sha256-[A-Za-z0-9+/]{43}=")
DOCUMENTS = (layout.CARD, layout.LICENCE, layout.CROISSANT, layout.PAGE, layout.RECORD)


def leaks(root: Path, evidence: Evidence, record: PublicRecord, progress: Progress) -> list[PackageProblem]:
    """Return everything in the finished tree that must not leave, named by file.

    Args:
        root: The finished package, before it takes its final name.
        evidence: What is known of the real images and patients.
        record: What the package says about itself.
        progress: Hears of every image file.
    """
    options = record.options
    names = KnownNames(
        evidence.identities(),
        harmless=record.images.channels,
        addresses=(options.contact, *options.creators),
    )
    real = evidence.fingerprints()
    files, found = layout.files_of(root)
    found += layout.missing(files)
    for path in sorted(set(files) & set(DOCUMENTS)):
        found += _in_document(root, path, names, real)
    for what, text in said(record):
        found += [_leak(layout.RECORD, f"{what} holds {name!r}") for name in sorted(names.in_said(text))]
    found += _beside_record(root, files, record)
    found += _in_curves(record, evidence)
    found += _in_attestations(root, files, names)
    found += _in_images(root, files, record, names, real, progress)
    return list(dict.fromkeys(found))


def said(record: PublicRecord) -> Iterator[tuple[str, str]]:
    """Yield every text in the record that a person wrote, with the name of its place."""
    for name, value in record.options.model_dump().items():
        for text in value if isinstance(value, tuple) else (value,):
            yield name, text
    for number, approval in enumerate(record.approvals, start=1):
        for text in (approval.by, approval.role, approval.reason, *approval.conditions):
            yield f"approval {number}", text
    measured = [*(record.quality.measurements if record.quality else ())]
    measured += [*(record.utility.measurements if record.utility else ())]
    for item in measured:
        yield f"measurement {item.name}", " ".join((item.name, item.extractor, item.preprocessing, item.note))
    if record.utility:
        yield "segmenter", record.utility.segmenter
    ours = shipped_words()
    for place, text in [("policy", record.policy)] + [
        ("policy rule", text) for item in record.findings for text in (item.rule, item.reason, item.source)
    ]:
        if text not in ours:
            yield place, text


def _beside_record(root: Path, files: dict[str, int], record: PublicRecord) -> list[PackageProblem]:
    """Return a problem where the written record holds anything but what was let out field by field."""
    if layout.RECORD not in files:
        return []
    try:
        written = PublicRecord.model_validate_json((root / layout.RECORD).read_bytes())
    except ValueError:
        return [_leak(layout.RECORD, "it holds fields that no public record has")]
    return [] if written == record else [_leak(layout.RECORD, "it holds more or other than what may leave")]


def _in_curves(record: PublicRecord, evidence: Evidence) -> list[PackageProblem]:
    """Return the curves that tell a real value on which fewer patients stand than the policy's minimum cell."""
    decision = evidence.decision()
    quality = None if decision is None else decision.quality
    if decision is None or quality is None:
        return [_leak(layout.RECORD, "it shows a curve that nobody measured") for _ in record.curves[:1]]
    behind = {(curve.name, curve.view): curve.real_subjects for curve in quality.curves}
    found = []
    for curve in record.curves:
        counts = behind.get((curve.name, curve.view), ())
        few = [value for value, count in zip_longest(curve.real, counts, fillvalue=0) if count < decision.minimum_cell]
        if curve.real and (len(curve.real) != len(counts) or any(value is not None for value in few)):
            about = f"{curve.name} {curve.view}".strip()
            found.append(_leak(layout.RECORD, f"its curve {about!r} tells of too few real patients"))
    return found


def _in_document(root: Path, path: str, names: KnownNames, real: frozenset[str]) -> list[PackageProblem]:
    try:
        text = (root / path).read_text(encoding="utf-8")
        views = readings(path, text)
    except ValueError:
        return [_leak(path, "it cannot be read as the kind of text that it should be")]
    pictures = _PICTURE.finditer(text) if path == layout.PAGE else ()
    found = [_leak(path, fault) for match in pictures for fault in _in_picture(match, names, real)]
    return found + [_leak(path, f"it holds {name!r}") for name in sorted(set().union(*map(names.in_text, views)))]


def _in_picture(match: re.Match[str], names: KnownNames, real: frozenset[str]) -> list[str]:
    """Return what is wrong with a picture inside the page: not PNG, a name in it, or a real image."""
    if match["type"] != "image/png" or not match["rest"]:
        return [f"it holds data of type {match['type']!r}"]
    try:
        content = base64.b64decode(match["data"], validate=True)
        with Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
            planes = np.atleast_3d(np.asarray(picture))
            texts = [f"{key} {value}" for key, value in picture.info.items() if isinstance(value, str)]
    except (binascii.Error, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return [f"one of its pictures cannot be read ({type(error).__name__})"]
    faults = [f"a picture says {name!r}" for text in texts for name in sorted(names.in_said(text))]
    faults += [f"a picture holds {name!r}" for name in sorted(names.in_bytes(content))]
    if any(fingerprints.of_plane(planes[:, :, k]) in real for k in range(planes.shape[2])):
        faults.append("one of its pictures equals a real image")
    return faults


def _in_attestations(root: Path, files: dict[str, int], names: KnownNames) -> list[PackageProblem]:
    found: list[PackageProblem] = []
    if layout.PUBLIC_KEY in files:
        content = (root / layout.PUBLIC_KEY).read_bytes()
        try:
            plain = signing.as_pem(content) == content
        except ValueError:
            plain = False
        if not plain:
            found.append(_leak(layout.PUBLIC_KEY, "it holds more than a public key"))
    if layout.ATTESTATION in files:
        path = layout.ATTESTATION
        try:
            sealed = json.loads((root / path).read_bytes())
            if set(sealed) != {"payload", "payloadType", "signatures"}:
                raise ValueError("other fields")
            texts = [*_json_strings(base64.b64decode(sealed["payload"]).decode()), str(sealed["payloadType"])]
        except (ValueError, KeyError, TypeError) as error:
            return [*found, _leak(path, f"it is no envelope ({error})")]
        held = set().union(*map(names.in_text, texts))
        found += [_leak(path, f"it holds {name!r}") for name in sorted(held)]
    return found


def _in_images(
    root: Path, files: dict[str, int], record: PublicRecord, names: KnownNames, real: frozenset[str], progress: Progress
) -> list[PackageProblem]:
    """Return what image files and their tables hold besides synthetic pixels and our own marks."""
    reader = ImageFiles(root, record)
    found = reader.tables(files)
    paths = [path for path in sorted(files) if layout.IMAGE.fullmatch(path)]
    with progress.task("Checking for leaks", len(paths)) as advance:
        for path in paths:
            try:
                planes = reader.planes(path)
            except IntegrityError as error:
                found.append(PackageProblem(code="bad-image", path=path, text=error.problem))
                continue
            if any(fingerprints.of_plane(plane) in real for plane in planes):
                found.append(_leak(path, "it equals a real image (rescaled, turned or mirrored counts)"))
            found += [_leak(path, f"its pixels spell {name!r}") for name in sorted(names.in_bytes(planes.tobytes()))]
            advance(1)
    return found


def _json_strings(text: str) -> Iterator[str]:
    """Yield every text in a JSON document, names of fields included."""

    def walk(value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            for key, item in value.items():
                yield key
                yield from walk(item)
        elif isinstance(value, list):
            for item in value:
                yield from walk(item)

    try:
        yield from walk(json.loads(text))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def readings(path: str, text: str) -> list[str]:
    """Return what a document says: each string of JSON; else the text as a browser or a Markdown reader shows it.

    Pictures are left out. ValueError: the text is no JSON although its file should be.
    """
    if path.endswith(".json"):
        return list(_json_strings(text))
    if path == layout.PAGE:
        text = _STYLE_HASH.sub(" ", _PICTURE.sub(" ", text))
    shown = html.unescape(text)
    decoded = re.sub(r"%([0-9A-Fa-f]{2})", lambda match: chr(int(match[1], 16)), shown)
    return list(dict.fromkeys((shown, re.sub(r"\\([^A-Za-z0-9\s])", r"\1", shown), decoded)))


def _leak(path: str, text: str) -> PackageProblem:
    return PackageProblem(code="leak", path=path, text=text[:1].upper() + text[1:] + ".")
