"""Croissant metadata: accepted by the reference implementation, deterministic, and the same facts as the card."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from nasty import NASTY, nasty_record
from release_sample import sample_options, sample_public

from synthrelease.release.croissant import COLUMNS, croissant
from synthrelease.release.numbering import numbered, table
from synthrelease.release_records import PublicRecord
from synthrelease.report import formats, public_words

TABLE = (
    b"file_name,synthetic_id,slice,slices,channel\n"
    b"images/001/synthetic-000001_t1.nii.gz,synthetic-000001,,1,t1\n"
    b"images/001/synthetic-000002_t1.nii.gz,synthetic-000002,,12,t1\n"
)
FILES = {
    "images.csv": (len(TABLE), hashlib.sha256(TABLE).hexdigest()),
    "README.md": (4321, "a" * 64),
    "images/metadata.csv": (33, "c" * 64),
    "images/001/synthetic-000001_t1.nii.gz": (999, "b" * 64),
}


def _document(record: PublicRecord | None = None) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(croissant(record or sample_public(), FILES))
    return loaded


def _opened(folder: Path, record: PublicRecord) -> Any:
    reference = pytest.importorskip("mlcroissant")
    (folder / "croissant.json").write_text(croissant(record, FILES), encoding="utf-8")
    (folder / "images.csv").write_bytes(TABLE)
    return reference.Dataset(jsonld=folder / "croissant.json")


@pytest.mark.parametrize("image_format", ["nifti", "png", "dicom"])
def test_the_reference_implementation_finds_no_error_and_no_warning(tmp_path, image_format):
    opened = _opened(tmp_path, sample_public(options=sample_options(image_format=image_format)))

    assert not opened.metadata.ctx.issues.errors
    assert not opened.metadata.ctx.issues.warnings
    assert opened.metadata.name == "Synthetic gliomas of Linköping"


def test_the_reference_implementation_reads_the_table_of_images(tmp_path):
    rows = list(_opened(tmp_path, sample_public()).records("images"))

    assert [row["images/synthetic_id"] for row in rows] == [b"synthetic-000001", b"synthetic-000002"]
    assert [row["images/slices"] for row in rows] == [1, 12]


@pytest.mark.parametrize("text", NASTY)
def test_a_hostile_text_stays_one_value(text):
    record = nasty_record(text)
    document = _document(record)

    assert document["name"] == formats.shown(text).strip()
    assert set(document) == set(_document())
    assert [person["@type"] for person in document["creator"]] == ["sc:Person", "sc:Person"]


@pytest.mark.parametrize("text", ["a: b\n---", "<script>alert(1)</script>", "@type", "\u202e x", "{}[]"])
def test_the_reference_implementation_takes_a_hostile_text_as_text(tmp_path, text):
    opened = _opened(tmp_path, nasty_record(text))

    assert not opened.metadata.ctx.issues.errors
    assert opened.metadata.name == formats.shown(text).strip()


def test_images_are_described_as_a_set_and_documents_one_by_one():
    listed = {item["@id"]: item for item in _document()["distribution"]}

    assert set(listed) == {"README.md", "images.csv", "images/metadata.csv", "image-files"}
    assert listed["README.md"]["sha256"] == "a" * 64
    assert listed["README.md"]["contentSize"] == "4321 B"
    assert listed["image-files"]["encodingFormat"] == "application/x-nifti+gzip"
    assert "manifest-sha256.txt" in listed["image-files"]["description"]


def test_columns_are_those_of_the_table_that_packaging_writes():
    written = table(numbered({"a.png": "0" * 64}, b"secret", "nifti"), ("t1",), "nifti")

    assert tuple(name for name, _, _ in COLUMNS) == tuple(written.splitlines()[0].split(","))


def test_the_same_record_and_files_give_the_same_bytes_in_any_order():
    shuffled = dict(sorted(FILES.items(), reverse=True))

    assert croissant(sample_public(), FILES) == croissant(sample_public(), shuffled)


def test_responsible_ai_and_provenance_say_what_the_card_says():
    document = _document()

    assert "StyleGAN 2, 256 px" in document["rai:dataCollection"]
    assert "1046 images of 44 real patients (train)" in document["rai:dataCollection"]
    assert set(public_words.LIMITS) < set(document["rai:dataLimitations"])
    assert all(sentence in document["rai:dataUseCases"] for sentence in public_words.REFUSED_USES)
    assert "steward@hospital.example" in document["rai:dataReleaseMaintenancePlan"]
    assert "2027-11-22" in document["rai:dataReleaseMaintenancePlan"]
    assert "8 images taken out" in document["rai:dataManipulationProtocol"]
    assert document["prov:wasGeneratedBy"]["prov:used"]["prov:label"] == "Train: 1046 images of 44 real patients"


def test_only_a_public_release_is_open_to_everybody():
    controlled = _document()["usageInfo"]
    public = _document(sample_public().model_copy(update={"release_model": "public"}))["usageInfo"]

    assert [address.rsplit("/", 1)[1] for address in controlled] == ["DUO_0000042", "DUO_0000026"]
    assert [address.rsplit("/", 1)[1] for address in public] == ["DUO_0000042"]


@pytest.mark.parametrize(
    ("licence", "shown"),
    [
        ("CC-BY-4.0", "https://spdx.org/licenses/CC-BY-4.0"),
        ("CC-BY-4.0 OR MIT", "CC-BY-4.0 OR MIT"),
        ("LicenseRef-Hospital", "LicenseRef-Hospital"),
    ],
)
def test_a_licence_is_an_address_where_it_has_one(licence, shown):
    assert _document(sample_public(options=sample_options(licence=licence)))["license"] == shown
