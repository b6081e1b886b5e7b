"""Building a package: the same bytes again, all or nothing, and only from what was audited and approved."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from package_helpers import agree, decide, evidence_in, images_of, options, packed, volume_ids

from synthrelease.decision import approval, folder, keeping
from synthrelease.decision.folder import open_evidence
from synthrelease.errors import (
    DecisionError,
    IntegrityError,
    NotApprovedError,
    RejectedError,
    SettingsError,
    StoreError,
    SynthreleaseError,
)
from synthrelease.image_set import ImageSet, image_hashes
from synthrelease.release import export, layout, package, signing
from synthrelease.release.image_files import ImageFiles
from synthrelease.release.package import build
from synthrelease.release.verify import verify
from synthrelease.release_records import PublicRecord

pytestmark = pytest.mark.usefixtures("plain_page")


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def left_behind(place: Path) -> list[str]:
    return [path.name for path in place.iterdir() if ".partial-" in path.name]


@pytest.mark.parametrize("image_format", ["nifti", "png", "dicom"])
def test_every_pixel_of_every_image_arrives_under_its_number(
    built: dict[str, Path], image_format: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = built[image_format]
    record = PublicRecord.model_validate_json((root / layout.RECORD).read_bytes())
    reader = ImageFiles(root, record)
    images = images_of(ids=volume_ids())
    wanted = sorted(plane.tobytes() for image in images.read(slice(None)) for plane in image)
    files, _ = layout.files_of(root)
    found = sorted(plane.tobytes() for path in files if layout.IMAGE.fullmatch(path) for plane in reader.planes(path))
    assert found == wanted
    assert (record.images.count, record.images.volumes) == (6, 1)
    assert len([path for path in files if layout.IMAGE.fullmatch(path)]) == record.images.files


@pytest.mark.parametrize("image_format", ["nifti", "png", "dicom"])
def test_the_same_evidence_key_and_options_give_the_same_bytes(
    tmp_path: Path, image_format: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = packed(tmp_path, to="one", image_format=image_format)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setattr("time.time", lambda: 4e9)
    second = packed(tmp_path, to="two", image_format=image_format)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    assert first.manifest_sha256 == second.manifest_sha256


def test_another_key_gives_another_order_and_source_date_epoch_another_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = images_of(40)
    evidence = evidence_in(tmp_path, images)
    for name in ("a", "b"):
        signing.new_key(tmp_path / f"{name}.pem")
        build(evidence, lambda: images, tmp_path / name, options(), key=tmp_path / f"{name}.pem")
    first = (tmp_path / "a/images/001/synthetic-000001_t1.nii.gz").read_bytes()
    assert first != (tmp_path / "b/images/001/synthetic-000001_t1.nii.gz").read_bytes()
    assert first in [path.read_bytes() for path in (tmp_path / "b").rglob("*_t1.nii.gz")]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1600000000")
    assert build(evidence, lambda: images, tmp_path / "c", options()).date == "2020-09-13"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(SettingsError, match="SOURCE_DATE_EPOCH"):
        build(evidence, lambda: images, tmp_path / "d", options())


def test_building_again_says_that_the_same_package_is_there(tmp_path: Path) -> None:
    assert packed(tmp_path).unchanged is False
    before = tree(tmp_path / "release")
    assert packed(tmp_path).unchanged is True
    assert tree(tmp_path / "release") == before
    with pytest.raises(StoreError, match="not this package"):
        packed(tmp_path, title="Another title")
    (tmp_path / "release" / "README.md").write_text("edited")
    with pytest.raises(StoreError, match="not this package"):
        packed(tmp_path)
    assert not left_behind(tmp_path)


def test_a_place_that_is_taken_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "full", target_is_directory=True)
    for name in ("file", "full", "link"):
        with pytest.raises(StoreError, match="exists"):
            packed(tmp_path, to=name)
    assert (tmp_path / "file").read_text() == (tmp_path / "full" / "x").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    packed(tmp_path, to="empty")
    assert verify(tmp_path / "empty").intact


def test_there_is_no_package_without_an_approval_in_force(tmp_path: Path) -> None:
    images = images_of()
    evidence = evidence_in(tmp_path, images, approve=False)

    def attempt() -> None:
        build(evidence, lambda: images, tmp_path / "release", options())

    with pytest.raises(NotApprovedError):
        attempt()
    agree(evidence)
    approval.withdraw(evidence, by="Stina Steward", role="data steward", reason="A patient asked.")
    with pytest.raises(NotApprovedError, match="withdrawn"):
        attempt()
    agree(evidence)
    folder.write_images(evidence.folder, {"made/0000.png": "0" * 64})
    with pytest.raises(IntegrityError, match="not what the audit wrote"):
        attempt()
    keeping.note_audit(evidence.folder, synthetic="", verdict="pass", images=1, attempt=1)  # newer than the approval
    with pytest.raises(SynthreleaseError, match="older than the evidence"):
        attempt()
    decide(evidence.folder, decision="REJECT")
    with pytest.raises(RejectedError):
        attempt()
    assert not (tmp_path / "release").exists()


def test_images_that_changed_since_the_audit_are_named(tmp_path: Path) -> None:
    images = images_of(30)
    evidence = evidence_in(tmp_path, images)

    def attempt(now: ImageSet, reason: str) -> None:
        with pytest.raises(IntegrityError, match=reason):
            build(evidence, lambda: now, tmp_path / "release", options())
        assert not (tmp_path / "release").exists()
        assert not left_behind(tmp_path)

    pixels = images.read(slice(None)).copy()
    pixels[17, 1, 0, 0] ^= 1
    attempt(dataclasses.replace(images, pixels=pixels), "changed since the audit: made/0017.png changed")
    attempt(dataclasses.replace(images, pixels=images.pixels.astype(np.int16)), "and 25 more changed")
    attempt(images.subset(range(29)), "made/0029.png gone")
    attempt(images_of(31), "made/0030.png new")
    swapped = dataclasses.replace(images, rows=(images.rows[1], images.rows[0], *images.rows[2:]))
    attempt(swapped, "made/0001.png, made/0000.png changed")


def test_options_that_would_deceive_are_refused_all_at_once(tmp_path: Path) -> None:
    bad = options(title="A\x1b[31mB", creators=("", "a\u202eb"), contact="x\x00", version="1 0", generator="line\nline")
    with pytest.raises(SettingsError) as caught:
        package.checked(bad)
    for part in ("title", "creator is empty", "creators", "contact", "version"):
        assert part in str(caught.value)
    assert "generator" not in str(caught.value)
    with pytest.raises(SettingsError, match=r"Did you mean CC-BY-4\.0"):
        package.checked(options(licence="CC-BY-4"))
    assert package.checked(options(licence="cc-by-4.0 or mit")).licence == "CC-BY-4.0 OR MIT"


def test_hostile_strings_are_harmless_in_every_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the real page
    monkeypatch.setenv("SYNTHRELEASE_KEYS", str(tmp_path / "keys"))
    nasty = "<script>alert(1)</script>\"onerror=x' --- {{ 7*7 }} ](x) |`\\ & \u00e9: #"
    built = packed(tmp_path, title=nasty, creators=(nasty,), description=nasty, contact=nasty, generator=nasty)
    assert verify(Path(built.path)).intact
    assert "<script" not in (tmp_path / "release" / layout.PAGE).read_text(encoding="utf-8")
    assert "49" not in (tmp_path / "release" / layout.LICENCE).read_text(encoding="utf-8")


def test_hostile_file_names_of_synthetic_images_never_reach_the_package(tmp_path: Path) -> None:
    names = ["../../../x", "a\nb.png", "<b>.png", "x" * 300, "-rf", "\u202e.png", "%2e%2e", "TCGA_CS_4941.png"]
    built = packed(tmp_path, images_of(ids=names))
    assert verify(Path(built.path)).intact
    together = b"".join(tree(tmp_path / "release").values())
    assert b"TCGA" not in together
    assert not (tmp_path.parent / "x").exists()


def test_key_and_package_keep_out_of_the_evidence_and_each_other(tmp_path: Path) -> None:
    images = images_of()
    evidence = evidence_in(tmp_path, images)
    with pytest.raises(SettingsError, match="evidence folder"):
        build(evidence, lambda: images, evidence.folder / "release", options())
    inside = evidence.folder / "key.pem"
    made = signing.new_key(tmp_path / "key.pem")
    shutil.copy2(made.path, inside)
    with pytest.raises(SettingsError, match="private key"):
        build(evidence, lambda: images, tmp_path / "release", options(), key=inside)
    (tmp_path / "release").mkdir()
    shutil.copy2(made.path, tmp_path / "release" / "key.pem")
    with pytest.raises(SettingsError, match="private key"):
        build(evidence, lambda: images, tmp_path / "release", options(), key=tmp_path / "release" / "key.pem")


def test_types_that_the_format_cannot_hold_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(DecisionError, match="--format nifti"):
        packed(tmp_path, images_of(dtype="float32"), image_format="png")
    assert not (tmp_path / "release").exists()
    assert verify(Path(packed(tmp_path, images_of(dtype="float32")).path)).intact


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, written = Path.write_bytes, []

    def full(path: Path, data: bytes) -> int:
        written.append(path)
        if len(written) > 9:
            raise OSError(28, "No space left on device")
        return real(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StoreError, match="No space left"):
        packed(tmp_path)
    monkeypatch.undo()
    assert len(written) == 10
    assert not (tmp_path / "release").exists()
    assert not left_behind(tmp_path)


def kill_me(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_at_file(number: int) -> Callable[[pytest.MonkeyPatch], None]:
    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        real, count = package._Tree.write, [0]

        def write(self: package._Tree, path: str, content: bytes | str) -> None:
            count[0] += 1
            if count[0] == number:
                (self.root / "README.md").write_text("half a fi")
                kill_me()
            real(self, path, content)

        monkeypatch.setattr(package._Tree, "write", write)

    return patch


def _kill_after_rename(monkeypatch: pytest.MonkeyPatch) -> None:
    real = package._take_name

    def taken(partial: Path, out: Path) -> bool:
        real(partial, out)
        kill_me()
        return False

    monkeypatch.setattr(package, "_take_name", taken)


MOMENTS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], bool]] = {
    "at the first file": (_kill_at_file(1), False),
    "in the middle of the images": (_kill_at_file(12), False),
    "at the manifest": (_kill_at_file(32), False),
    "at the signature": (_kill_at_file(33), False),
    "in the leak gate": (lambda patch: patch.setattr(package.leak_gate, "leaks", kill_me), False),
    "before the rename": (lambda patch: patch.setattr(package, "_take_name", kill_me), False),
    "after the rename": (_kill_after_rename, True),
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_killed_at_any_moment_leaves_nothing_or_a_whole_package(
    tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch, whole = MOMENTS[moment]
    evidence_in(tmp_path, images_of())
    child = os.fork()
    if child == 0:  # in the child: nothing of pytest may run on
        try:
            patch(monkeypatch)
            packed(tmp_path)
        finally:
            os._exit(99)  # it should have been killed
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"exit code {os.waitstatus_to_exitcode(status)}"
    assert (tmp_path / "release").exists() is whole
    if whole:
        assert verify(tmp_path / "release").intact
    else:
        assert left_behind(tmp_path)
    again = packed(tmp_path)
    assert again.unchanged is whole
    assert verify(tmp_path / "release").intact
    assert not left_behind(tmp_path)


def test_an_interrupted_run_clears_up_after_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(package.leak_gate, "leaks", interrupt)
    with pytest.raises(KeyboardInterrupt):
        packed(tmp_path)
    assert not (tmp_path / "release").exists()
    assert not left_behind(tmp_path)


@pytest.mark.parametrize("name", ["release", "*", "[a-z]*", "r" * 200, "a b", "-rf", "ÅÄÖ"])
def test_any_name_of_a_package_does_and_foreign_files_beside_it_survive(tmp_path: Path, name: str) -> None:
    (tmp_path / ".other.partial-x").mkdir()
    (tmp_path / ".release.partial-file").write_text("mine")
    packed(tmp_path, to=name)
    assert verify(tmp_path / name).intact
    assert (tmp_path / ".other.partial-x").is_dir()
    assert (tmp_path / ".release.partial-file").is_file()


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    class Lazy:
        """Noise images made when they are read: the set itself takes no memory."""

        dtype = np.dtype("uint8")

        def __init__(self, count: int) -> None:
            self.shape, self.ndim = (count, 1, 256, 256), 4

        def __getitem__(self, rows: slice) -> Any:
            numbers = range(self.shape[0])[rows]
            return (
                np.stack([np.random.default_rng(i).bytes(1 << 16) for i in numbers])
                .view(np.uint8)
                .reshape(-1, 1, 256, 256)
            )

    def peak(count: int) -> int:
        images = ImageSet(("t1",), images_of(count, size=(2, 2)).rows, Lazy(count), "")
        place = tmp_path / str(count)
        place.mkdir()
        evidence = evidence_in(place, images)
        tracemalloc.start()
        build(evidence, lambda: images, place / "release", options(image_format="png"))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(16)  # what is imported and cached once does not count
    few, many = peak(32), peak(80)
    assert many - few < 48 * 256 * 256 / 5, (few, many)  # far less than the pixels themselves


def test_everybody_may_read_a_finished_package_and_nobody_an_unfinished_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    real = package.leak_gate.leaks

    def look(root: Path, *rest: Any) -> Any:
        seen.append(root.stat().st_mode & 0o777)
        return real(root, *rest)

    monkeypatch.setattr(package.leak_gate, "leaks", look)
    mask = os.umask(0o022)
    try:
        packed(tmp_path)
    finally:
        os.umask(mask)
    assert seen == [0o700]
    assert (tmp_path / "release").stat().st_mode & 0o777 == 0o755


def test_hashes_of_the_audit_are_those_that_packaging_computes(tmp_path: Path) -> None:
    images = images_of(20)
    evidence = evidence_in(tmp_path, images)
    assert open_evidence(tmp_path).images() == dict(zip(images.ids, image_hashes(images), strict=True))
    assert evidence.images() == open_evidence(tmp_path / "evidence").images()


def test_numbers_are_stored_as_they_were(tmp_path: Path) -> None:
    for dtype in ("uint8", "int16", "float32"):
        place = tmp_path / dtype
        place.mkdir()
        root = Path(packed(place, images_of(dtype=dtype)).path)
        record = PublicRecord.model_validate_json((root / layout.RECORD).read_bytes())
        assert record.images.dtype == dtype
        assert export.stored_type(dtype, "nifti") == dtype
