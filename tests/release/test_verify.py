"""Every kind of tampering is caught and named; what is harmless passes."""

from __future__ import annotations

import base64
import json
import os
import shutil
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from package_helpers import codes, tampered

from synthrelease.errors import SettingsError, StoreError
from synthrelease.release import attestation, layout, manifest, signing
from synthrelease.release.verify import verify
from synthrelease.release_records import PublicRecord
from synthrelease.store import sha256_of

T1 = "images/001/synthetic-000001_t1.nii.gz"


def flip_a_bit(package: Path, name: str) -> None:
    content = bytearray((package / name).read_bytes())
    content[len(content) // 2] ^= 1
    (package / name).write_bytes(content)


def list_again(package: Path) -> None:
    """Write the manifest anew, as a careful attacker would."""
    files, _ = layout.files_of(package)
    hashes = {name: sha256_of(package / name) for name in files if name not in layout.UNLISTED}
    (package / layout.MANIFEST).write_text(manifest.text(hashes))


def sign_again(package: Path) -> None:
    """List and sign anew with the attacker's own key, enclosing its public half."""
    key_file = package.parent / "attacker.pem"
    if not key_file.exists():
        signing.new_key(key_file)
    key = signing.load_key(key_file)
    (package / layout.PUBLIC_KEY).write_bytes(key.public_pem)
    list_again(package)
    record = PublicRecord.model_validate_json((package / layout.RECORD).read_bytes())
    listed, _ = manifest.parsed((package / layout.MANIFEST).read_bytes())
    content = attestation.statement(
        record,
        {name: sha256_of(package / name) for name in attestation.SUBJECTS},
        files=len(listed),
        size=sum((package / name).stat().st_size for name in listed),
        log_sha256="0" * 64,
    )
    (package / layout.ATTESTATION).write_text(signing.envelope(attestation.payload(content), key))


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(package: Path) -> None:
        text = (package / name).read_text(encoding="utf-8")
        assert old in text
        (package / name).write_text(text.replace(old, new), encoding="utf-8")

    return change


def swap(package: Path) -> None:
    shutil.copy(package / "images/001/synthetic-000002_t1.nii.gz", package / T1)


def drop_line(package: Path) -> None:
    lines = (package / layout.MANIFEST).read_text().splitlines(keepends=True)
    (package / layout.MANIFEST).write_text("".join(line for line in lines if T1 not in line))


def add_line(line: str) -> Callable[[Path], None]:
    def change(package: Path) -> None:
        with (package / layout.MANIFEST).open("a") as file:
            file.write(line)

    return change


def link(name: str, target: str) -> Callable[[Path], None]:
    def change(package: Path) -> None:
        (package / name).unlink(missing_ok=True)
        (package / name).symlink_to(target)

    return change


def put(name: str, content: bytes = b"x") -> Callable[[Path], None]:
    def change(package: Path) -> None:
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_bytes(content)

    return change


def remove(name: str) -> Callable[[Path], None]:
    return lambda package: (package / name).unlink()


def enclose_another_key(package: Path) -> None:
    made = signing.new_key(package.parent / "other.pem")
    (package / layout.PUBLIC_KEY).write_text(made.public_key)


def huge(package: Path) -> None:
    with (package / layout.CARD).open("r+b") as file:
        file.truncate(layout.LARGEST_TEXT + 1)  # sparse: takes no room


SIGNED = ("statement-subject", layout.ATTESTATION)
TAMPERINGS: dict[str, tuple[Callable[[Path], object], set[tuple[str, str]]]] = {
    "a flipped bit in an image": (lambda p: flip_a_bit(p, T1), {("changed-file", T1)}),
    "a swapped image": (swap, {("changed-file", T1)}),
    "an added image": (
        put("images/001/synthetic-000099_t1.nii.gz"),
        {("unlisted-file", "images/001/synthetic-000099_t1.nii.gz")},
    ),
    "an added file": (put("notes.txt"), {("unexpected-file", "notes.txt")}),
    "an added array": (put("images/001/features.npz"), {("unexpected-file", "images/001/features.npz")}),
    "an added folder": (lambda p: (p / "extra").mkdir(), {("unexpected-folder", "extra")}),
    "a deep folder": (put("a/b/c/d/e/f/g/h"), {("unexpected-folder", "a"), ("unexpected-folder", "a/b")}),
    "a hidden file": (put(".DS_Store"), {("hidden-file", ".DS_Store")}),
    "a removed image": (remove(T1), {("missing-file", T1)}),
    "a removed card": (remove("README.md"), {("missing-file", "README.md")}),
    "a removed manifest": (remove(layout.MANIFEST), {("missing-file", layout.MANIFEST)}),
    "a removed signature": (remove(layout.ATTESTATION), {("missing-file", layout.ATTESTATION)}),
    "a removed key": (remove(layout.PUBLIC_KEY), {("missing-file", layout.PUBLIC_KEY)}),
    "a removed line of the manifest": (drop_line, {("unlisted-file", T1), SIGNED}),
    "an edited report": (edit(layout.PAGE, "Synthetic", "Real"), {("changed-file", layout.PAGE)}),
    "an edited card": (edit("README.md", "CC-BY-4.0", "CC0-1.0"), {("changed-file", "README.md")}),
    "an edited record": (
        edit(layout.RECORD, '"decision": "APPROVE"', '"decision": "REVIEW"'),
        {("changed-file", layout.RECORD), SIGNED, ("statement-differs", layout.ATTESTATION)},
    ),
    "a record that is none": (put(layout.RECORD, b"{"), {("bad-record", layout.RECORD), ("bad-text", layout.RECORD)}),
    "an edited image and manifest": (lambda p: (flip_a_bit(p, T1), list_again(p)), {SIGNED, ("bad-image", T1)}),
    "../ in the manifest": (add_line("0" * 64 + "  ../outside\n"), {("manifest-path", layout.MANIFEST), SIGNED}),
    "an absolute path in the manifest": (
        add_line("0" * 64 + "  /etc/passwd\n"),
        {("manifest-path", layout.MANIFEST), SIGNED},
    ),
    "a line twice": (lambda p: add_line(f"{sha256_of(p / T1)}  {T1}\n")(p), {("manifest-line", layout.MANIFEST)}),
    "capital digits": (add_line("A" * 64 + f"  {T1}\n"), {("manifest-line", layout.MANIFEST)}),
    "an escaped line": (add_line("\\" + "0" * 64 + "  a\\nb\n"), {("manifest-line", layout.MANIFEST)}),
    "half a line": (add_line("0" * 12), {("manifest-line", layout.MANIFEST)}),
    "bytes that are no text": (
        lambda p: (p / layout.MANIFEST).write_bytes(b"\xff\xfe"),
        {("manifest-line", layout.MANIFEST), ("unlisted-file", T1)},
    ),
    "a link to a file outside": (link(T1, "../../../outside"), {("link", T1)}),
    "a link to a file inside": (link(T1, "synthetic-000002_t1.nii.gz"), {("link", T1)}),
    "a link in place of the manifest": (link(layout.MANIFEST, "/dev/null"), {("link", layout.MANIFEST)}),
    "a pipe": (lambda p: os.mkfifo(p / "README.pipe"), {("special-file", "README.pipe")}),
    "a document of no end": (huge, {("too-large", layout.CARD)}),
    "another key enclosed": (
        enclose_another_key,
        {("changed-file", layout.PUBLIC_KEY), ("bad-signature", layout.ATTESTATION)},
    ),
    "a key with a remark": (
        lambda p: put(layout.PUBLIC_KEY, b"anna\n" + (p / layout.PUBLIC_KEY).read_bytes())(p),
        {("bad-key", layout.PUBLIC_KEY)},
    ),
    "a broken signature": (
        edit(layout.ATTESTATION, '"sig": "', '"sig": "AAAA'),
        {("bad-signature", layout.ATTESTATION)},
    ),
    "no signature": (put(layout.ATTESTATION, b"{}"), {("bad-signature", layout.ATTESTATION)}),
}  # fmt: skip


@pytest.mark.parametrize("tampering", TAMPERINGS)
def test_tampering_is_caught_and_named(built: dict[str, Path], tmp_path: Path, tampering: str) -> None:
    change, expected = TAMPERINGS[tampering]
    found = verify(tampered(built["nifti"], tmp_path / "release", change))
    assert not found.intact
    assert expected <= codes(found), codes(found)
    assert all(problem.text and problem.code for problem in found.problems)


def test_one_change_is_one_problem(built: dict[str, Path], tmp_path: Path) -> None:
    found = verify(tampered(built["nifti"], tmp_path / "release", lambda p: flip_a_bit(p, T1)))
    assert codes(found) == {("changed-file", T1)}


def test_all_problems_are_found_at_once(built: dict[str, Path], tmp_path: Path) -> None:
    def change(package: Path) -> None:
        for name in ("an added file", "an edited card", "a link to a file inside", "a broken signature"):
            TAMPERINGS[name][0](package)

    names = {code for code, _ in codes(verify(tampered(built["nifti"], tmp_path / "release", change)))}
    assert {"unexpected-file", "changed-file", "link", "bad-signature"} <= names


@pytest.mark.parametrize("image_format", ["nifti", "png", "dicom"])
def test_an_untouched_package_is_intact_and_its_signer_known_only_by_key(
    built: dict[str, Path], image_format: str
) -> None:
    without = verify(built[image_format])
    assert (without.intact, without.signer, without.problems) == (True, "unverified", ())
    with_key = verify(built[image_format], built["keys"] / "publisher.pub")
    assert (with_key.intact, with_key.signer) == (True, "verified")
    assert with_key.files == len((built[image_format] / layout.MANIFEST).read_text().splitlines())


def test_a_package_signed_again_with_another_key_is_caught_by_the_publishers_key_alone(
    built: dict[str, Path], tmp_path: Path
) -> None:
    package = tampered(built["nifti"], tmp_path / "release", lambda p: (edit("README.md", "a", "e")(p), sign_again(p)))
    assert verify(package).signer == "unverified"  # nothing can show who it was
    found = verify(package, built["keys"] / "publisher.pub")
    assert (found.intact, found.signer) == (False, "failed")
    assert codes(found) == {("other-signer", layout.ATTESTATION)}


def deep(change: Callable[[Path], object]) -> Callable[[Path], None]:
    """Return a change whose author also lists and signs anew: only looking inside helps."""

    def whole(package: Path) -> None:
        change(package)
        sign_again(package)

    return whole


def zip_bomb(package: Path) -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    chunks = (
        (b"IHDR", head),
        (b"tEXt", b"Synthetic\x00yes"),
        (b"IDAT", zlib.compress(bytes(50_000_000))),
        (b"IEND", b""),
    )
    content = b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks)
    put("images/001/synthetic-000001_t1.png", content)(package)


INSIDE: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "a bomb-like PNG": ("png", zip_bomb, "bad-image"),
    "an image that is none": ("png", put("images/001/synthetic-000001_t1.png"), "bad-image"),
    "a NIfTI from elsewhere": ("nifti", put(T1, b"\x1f\x8b" + bytes(100)), "bad-image"),
    "a DICOM from elsewhere": ("dicom", put("images/001/synthetic-000001_t1.dcm", bytes(128) + b"DICM"), "bad-image"),
    "a file that the table does not list": ("nifti", edit("images.csv", T1, T1.replace("01_", "09_")), "image-table"),
    "a table that says more": ("nifti", edit("images.csv", "channel\n", "channel,subject\n"), "image-table"),
    "a remark in the table": ("nifti", edit("images.csv", ",,1,t1", ",anna,1,t1"), "image-table"),
    "a table of pictures that says more": (
        "png", edit("images/metadata.csv", "synthetic_id", "subject"), "image-table"),
    "an image too many": (
        "nifti", lambda p: shutil.copy(p / T1, p / T1.replace("01_", "77_")), "image-count"),
    "a path of somebody's computer": (
        "nifti", edit("README.md", "Synthetic", "/".join(("see ", "home", "anna", "scans "))), "absolute-path"),
    "a script": ("nifti", edit(layout.PAGE, "</body>", "<script>1</script></body>"), "active-content"),
    "another document inside": ("nifti", edit(layout.PAGE, "</body>", "<IFRAME src=x></body>"), "active-content"),
}  # fmt: skip


@pytest.mark.parametrize("tampering", INSIDE)
def test_what_a_new_signature_cannot_hide_is_caught(built: dict[str, Path], tmp_path: Path, tampering: str) -> None:
    image_format, change, code = INSIDE[tampering]
    found = verify(tampered(built[image_format], tmp_path / "release", deep(change)))
    assert code in {code for code, _ in codes(found)}, codes(found)


NESTED = "[" * 100_000 + "]" * 100_000
HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "metadata nested without end": (put(layout.CROISSANT, NESTED.encode()), "bad-text"),
    "a record nested without end": (put(layout.RECORD, NESTED.encode()), "bad-record"),
    "a number type that is none": (edit(layout.RECORD, '"dtype": "uint8"', '"dtype": "object"'), "bad-record"),
    "sides that no file can have": (edit(layout.RECORD, '"height": 24', '"height": 70000'), "bad-record"),
    "a page of unclosed tags": (put(layout.PAGE, b"<a b" * 500_000), "changed-file"),
    "an event handler": (edit(layout.PAGE, "</body>", "<p class='x'onclick = 'y()'></p></body>"), "active-content"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_documents_are_named_quickly_and_never_crash_the_check(
    built: dict[str, Path], tmp_path: Path, name: str
) -> None:
    change, code = HOSTILE[name]
    started = time.monotonic()
    found = verify(tampered(built["nifti"], tmp_path / "release", change))
    assert code in {code for code, _ in codes(found)}
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("content", [b"[]", b'{"predicate": []}', NESTED.encode()])
def test_what_was_signed_may_be_anything(built: dict[str, Path], tmp_path: Path, content: bytes) -> None:
    found = verify(tampered(built["nifti"], tmp_path / "release", signed_again(content, tmp_path)))
    assert codes(found) == {("bad-statement", layout.ATTESTATION)}


@pytest.mark.parametrize("changes", [{"subject": 5}, {"log": "/".join(("", "home", "anna", "log"))}])
def test_a_statement_with_other_things_in_it_does_not_pass(
    built: dict[str, Path], tmp_path: Path, changes: dict[str, Any]
) -> None:
    sealed = json.loads((built["nifti"] / layout.ATTESTATION).read_text())
    statement = json.loads(base64.b64decode(sealed["payload"]))
    statement["subject"] = changes.get("subject", statement["subject"])
    statement["predicate"]["evidence"]["log"] = changes.get("log", "0" * 64)
    change = signed_again(json.dumps(statement).encode(), tmp_path)
    assert codes(verify(tampered(built["nifti"], tmp_path / "release", change))) == {
        ("bad-statement", layout.ATTESTATION)
    }


def signed_again(content: bytes, place: Path) -> Callable[[Path], object]:
    """Return a change that signs this content with another key, and encloses that key."""
    signing.new_key(place / "attacker.pem")
    key = signing.load_key(place / "attacker.pem")

    def change(package: Path) -> None:
        (package / layout.PUBLIC_KEY).write_bytes(key.public_pem)
        list_again(package)
        (package / layout.ATTESTATION).write_text(signing.envelope(content, key))

    return change


def test_a_statement_about_another_release_does_not_fit(built: dict[str, Path], tmp_path: Path) -> None:
    def change(package: Path) -> None:
        sealed = json.loads((built["png"] / layout.ATTESTATION).read_bytes())
        (package / layout.ATTESTATION).write_text(json.dumps(sealed))

    found = verify(tampered(built["nifti"], tmp_path / "release", change))  # same publisher, other release
    assert {("statement-subject", layout.ATTESTATION), ("statement-differs", layout.ATTESTATION)} <= codes(found)


def test_statements_that_hold_more_than_ours_do_not_pass(built: dict[str, Path], tmp_path: Path) -> None:
    key = signing.load_key(built["keys"] / "publisher.pem")
    sealed = json.loads((built["nifti"] / layout.ATTESTATION).read_bytes())
    content = json.loads(base64.b64decode(sealed["payload"]))
    for changes in ({"note": "x"}, {"_type": "other"}, {"subject": [*content["subject"], *content["subject"]]}):
        text = signing.envelope(attestation.payload(content | changes), key)
        put(layout.ATTESTATION, text.encode())
        package = tampered(built["nifti"], tmp_path / str(len(str(changes))), put(layout.ATTESTATION, text.encode()))
        assert not verify(package).intact
    for garbage in (b"", b"[]", b'{"predicate": 3}', b"\xff"):
        text = signing.envelope(garbage, key)
        place = tmp_path / f"garbage {garbage.hex()}"
        assert ("bad-statement", layout.ATTESTATION) in codes(
            verify(tampered(built["nifti"], place, put(layout.ATTESTATION, text.encode())))
        )


def test_what_is_no_package_is_said_in_a_sentence(built: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is a file; a package is a folder"):
        verify(built["nifti"] / "README.md")
    with pytest.raises(StoreError, match="does not exist"):
        verify(tmp_path / "nothing")
    with pytest.raises(SettingsError, match="no public"):
        verify(built["nifti"], tmp_path / "nothing.pub")
    (tmp_path / "empty").mkdir()
    assert {code for code, _ in codes(verify(tmp_path / "empty"))} == {"missing-file"}


def test_file_names_that_are_no_text_are_named(built: dict[str, Path], tmp_path: Path) -> None:
    def change(package: Path) -> None:
        with Path(os.fsdecode(os.fsencode(package) + b"/\xff\xfe")).open("w"):
            pass

    found = verify(tampered(built["nifti"], tmp_path / "release", change))
    assert ("unexpected-file", "\\xff\\xfe") in codes(found)
    found.model_dump_json()


def test_verify_changes_nothing_and_loads_no_torch(built: dict[str, Path]) -> None:
    before = {path: path.stat().st_mtime_ns for path in built["nifti"].rglob("*")}
    code = (
        "import sys; from pathlib import Path; from synthrelease.release.verify import verify\n"
        f"assert verify(Path({str(built['nifti'])!r})).intact\n"
        "print([m for m in ('torch', 'zarr', 'matplotlib', 'jinja2', 'faiss', 'sklearn', 'scipy.stats') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert {path: path.stat().st_mtime_ns for path in built["nifti"].rglob("*")} == before
