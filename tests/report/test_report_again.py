"""Reports made again from their records, of an evidence folder and of a package."""

from __future__ import annotations

import base64
import gzip
import io
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from package_helpers import packed
from PIL import Image
from release_sample import sample_decision, sample_images, sample_options, sample_public
from sample import CHANNELS, sample_record

from synthrelease.decision import log
from synthrelease.decision.folder import AUDIT, DECISION, PAIRS, Evidence, open_evidence, write_pairs, write_record
from synthrelease.errors import DecisionError, IntegrityError
from synthrelease.records import AuditRecord
from synthrelease.release import image_writer
from synthrelease.release_records import PairInfo, PublicRecord
from synthrelease.report import samples
from synthrelease.report.again import NIFTI_HEAD, render
from synthrelease.report.card import card
from synthrelease.report.public import public_page


def _pair(number: int, kind: str, score: float) -> PairInfo:
    return PairInfo(
        pair_id=f"{number:012x}",
        kind=kind,  # type: ignore[arg-type]
        image_id=f"generated/{kind.replace(' ', '-')}-{number}.png",
        train_image_id=f"TCGA_{number}/slice.webp",
        train_subject=f"TCGA_{number}",
        score=score,
        channels=CHANNELS,
    )


@pytest.fixture
def evidence(tmp_path: Path) -> Evidence:
    """Return an evidence folder with an audit, pairs of every kind, and a log."""
    folder = tmp_path / "out" / "evidence"
    (folder / PAIRS).mkdir(parents=True)
    write_record(folder / AUDIT, sample_record())
    kinds = ("closest", "planted copy", "suspect", "planted stranger", "suspect", "part")
    pairs = [_pair(number, kind, 0.5 + number / 100) for number, kind in enumerate(kinds)]
    random = np.random.default_rng(0)
    for pair in pairs:
        images = {
            role: random.integers(0, 256, (4, 32, 32), dtype=np.uint8) for role in ("synthetic", "train", "holdout")
        }
        np.savez(folder / PAIRS / f"{pair.pair_id}.npz", allow_pickle=False, **images)
    write_pairs(folder, pairs)
    log.append(folder, "audit", data={"synthetic": "c" * 64})
    return open_evidence(folder)


def test_the_internal_report_comes_back_with_its_pairs_the_most_similar_first(evidence):
    (page,) = render(evidence.folder.parent, None)
    text = page.read_text(encoding="utf-8")

    assert page == evidence.folder / "report.html"
    shown = re.findall(r"generated/(?:suspect|closest|part)-\d\.png", text[text.index('<section id="pairs"') :])
    assert list(dict.fromkeys(shown)) == [
        *("generated/suspect-4.png", "generated/suspect-2.png", "generated/part-5.png", "generated/closest-0.png"),
    ]


def test_planted_pairs_are_never_shown(evidence):
    (page,) = render(evidence.folder, None)

    assert "planted-copy" not in page.read_text(encoding="utf-8")
    assert "planted-stranger" not in page.read_text(encoding="utf-8")


def test_a_decision_is_shown_and_lapses_when_the_evidence_changes(evidence):
    write_record(evidence.folder / DECISION, sample_decision(binding=evidence.binding()))
    (page,) = render(evidence.folder, None)
    assert "Decision and sign-off" in page.read_text(encoding="utf-8")
    assert "no longer holds" not in page.read_text(encoding="utf-8")

    log.append(evidence.folder, "pair", by="Rita", data={"pair_id": "x"})
    (page,) = render(evidence.folder, None)

    assert "no longer holds" in page.read_text(encoding="utf-8")


def test_pixels_that_were_destroyed_leave_the_rest_of_the_report(evidence):
    for file in (evidence.folder / PAIRS).glob("*.npz"):
        file.unlink()

    (page,) = render(evidence.folder, None)

    assert "No pairs were drawn for this page." in page.read_text(encoding="utf-8")


def test_damaged_pixels_are_named(evidence):
    file = evidence.folder / PAIRS / f"{4:012x}.npz"
    file.write_bytes(file.read_bytes()[:200])

    with pytest.raises(IntegrityError, match=file.name):
        render(evidence.folder, None)


def test_an_evidence_folder_can_be_reported_elsewhere_for_the_owner_alone(evidence, tmp_path):
    (page,) = render(evidence.folder, tmp_path / "years" / "later")

    assert page == tmp_path / "years" / "later" / "report.html"
    assert page.parent.stat().st_mode & 0o077 == 0
    assert not (evidence.folder / "report.html").exists()


@pytest.mark.parametrize("inside", [".", "pages"])
def test_the_internal_report_is_never_written_into_a_package(evidence, tmp_path, inside):
    package = tmp_path / "release"
    (package / "report").mkdir(parents=True)
    (package / "report" / "record.json").write_text("{}")

    with pytest.raises(DecisionError, match="must stay inside"):
        render(evidence.folder, package / inside)
    assert [path.name for path in package.rglob("*")] == ["report", "record.json"]


def test_an_edited_log_is_not_reported(evidence):
    place = evidence.folder / log.NAME
    place.write_text(place.read_text(encoding="utf-8").replace("cccc", "dddd"), encoding="utf-8")

    with pytest.raises(IntegrityError):
        render(evidence.folder, None)


def test_a_folder_that_is_neither_is_refused(tmp_path):
    with pytest.raises(DecisionError, match="neither an audit"):
        render(tmp_path, None)


# --- packages ---------------------------------------------------------------------------------------------------------


def _package(root: Path, image_format: str = "nifti", slices: int = 3) -> PublicRecord:
    """Write what `report` reads of a package: a record, a table, and one volume of two channels."""
    record = sample_public(
        options=sample_options(image_format=image_format),
        images=sample_images(count=1, files=2, channels=("t1", "mask"), height=96, width=98, volumes=1),
    )
    volume = np.arange(2 * slices * 96 * 98, dtype=np.uint64).reshape(2, slices, 96, 98) % 251
    lines = ["file_name,synthetic_id,slice,slices,channel"]
    (root / "images" / "001").mkdir(parents=True)
    for channel, planes in zip(("t1", "mask"), volume.astype(np.uint8), strict=True):
        if image_format == "nifti":
            name = f"images/001/synthetic-000001_{channel}.nii.gz"
            head = bytearray(NIFTI_HEAD)
            struct.pack_into("<h", head, 46, slices)
            (root / name).write_bytes(gzip.compress(bytes(head) + planes.tobytes()))
            lines.append(f"{name},synthetic-000001,,{slices},{channel}")
        else:
            for number, plane in enumerate(planes, start=1):
                name = f"images/001/synthetic-000001-s{number:04d}_{channel}.png"
                Image.fromarray(plane).save(root / name)
                lines.append(f"{name},synthetic-000001,{number},1,{channel}")
    (root / "images.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (root / "report").mkdir()
    (root / "report" / "record.json").write_text(record.model_dump_json(), encoding="utf-8")
    return record


def _middle(slices: int = 3) -> list[np.ndarray]:
    volume = np.arange(2 * slices * 96 * 98, dtype=np.uint64).reshape(2, slices, 96, 98) % 251
    return [volume[:, slices // 2].astype(np.uint8)]


@pytest.mark.parametrize("image_format", ["nifti", "png"])
def test_card_and_page_of_a_package_come_back_byte_for_byte(tmp_path, image_format):
    record = _package(tmp_path / "release", image_format)

    written = render(tmp_path / "release", tmp_path / "pages")

    assert [path.relative_to(tmp_path / "pages").as_posix() for path in written] == ["README.md", "report/index.html"]
    assert written[0].read_text(encoding="utf-8") == card(record)
    assert written[1].read_text(encoding="utf-8") == public_page(record, _middle())


def test_the_images_on_the_page_are_those_of_the_package(tmp_path):
    _package(tmp_path / "release")

    page = render(tmp_path / "release", tmp_path / "pages")[1].read_text(encoding="utf-8")

    shown = Image.open(io.BytesIO(base64.b64decode(re.findall(r'src="data:image/png;base64,([^"]+)"', page)[0])))
    assert np.array_equal(np.asarray(shown)[:, :98], _middle()[0][0])


def test_a_package_with_dicom_is_reported_without_its_images_and_says_so(tmp_path):
    root = tmp_path / "release"
    record = _package(root)
    dicom = record.model_copy(update={"options": sample_options(image_format="dicom")})
    (root / "report" / "record.json").write_text(dicom.model_dump_json(), encoding="utf-8")

    page = render(root, tmp_path / "pages")[1].read_text(encoding="utf-8")

    assert "No images are shown on this page." in page


@pytest.mark.parametrize("inside", ["", "report", "new"])
def test_nothing_is_written_into_a_package(tmp_path, inside):
    _package(tmp_path / "release")

    with pytest.raises(DecisionError, match="sealed"):
        render(tmp_path / "release", tmp_path / "release" / inside)
    with pytest.raises(DecisionError, match="sealed"):
        render(tmp_path / "release", None)


def test_a_table_that_points_outside_is_refused(tmp_path):
    root = tmp_path / "release"
    _package(root)
    (tmp_path / "secret.png").write_bytes(b"")
    (root / "images.csv").write_text(
        "file_name,synthetic_id,slice,slices,channel\n../secret.png,synthetic-000001,,1,t1\n", encoding="utf-8"
    )

    with pytest.raises(IntegrityError, match="outside the package"):
        render(root, tmp_path / "pages")


@pytest.mark.parametrize("content", [b"", b"no gzip", gzip.compress(b"short"), gzip.compress(bytes(400))])
def test_an_image_that_packaging_did_not_write_is_named(tmp_path, content):
    root = tmp_path / "release"
    _package(root)
    (root / "images" / "001" / "synthetic-000001_t1.nii.gz").write_bytes(content)

    with pytest.raises(IntegrityError, match="synthetic-000001_t1"):
        render(root, tmp_path / "pages")


def test_an_edited_record_is_named(tmp_path):
    root = tmp_path / "release"
    _package(root)
    (root / "report" / "record.json").write_text('{"schema_version": 1}', encoding="utf-8")

    with pytest.raises(IntegrityError, match=r"record\.json is damaged or was edited"):
        render(root, tmp_path / "pages")


def test_as_many_images_are_shown_as_packaging_shows():
    assert image_writer.SAMPLES == samples.MOST


# --- the command ------------------------------------------------------------------------------------------------------


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; sys.modules['torch'] = None; from synthrelease.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, "report", *arguments], capture_output=True, text=True, env={**os.environ}
    )


def test_the_command_needs_no_torch_and_prints_what_it_wrote(tmp_path):
    packed(tmp_path)

    done = _run(str(tmp_path / "release"), "--out", str(tmp_path / "pages"))

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(tmp_path / "pages" / name) for name in ("README.md", "report/index.html")]


def test_the_command_reports_evidence_and_answers_in_json(evidence):
    done = _run(str(evidence.folder), "--json")

    assert done.returncode == 0, done.stderr
    assert done.stdout == f'{{"files": ["{evidence.folder / "report.html"}"]}}\n'


def test_the_command_refuses_what_is_neither(tmp_path):
    done = _run(str(tmp_path))

    assert done.returncode == 1
    assert "neither an audit" in done.stderr


def test_an_audit_record_of_today_opens_tomorrow():
    assert AuditRecord.model_validate_json(sample_record().model_dump_json()) == sample_record()
