"""From real patients to a package, by the commands of the README: no patient gets out, and clients can read it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import lgg_copies as lgg
import nibabel
import numpy as np
import pytest
from audit_helpers import Run, run_cli
from PIL import Image

from synthrelease import fingerprints
from synthrelease.decision.folder import open_evidence
from synthrelease.review.desk import Desk

pytestmark = [pytest.mark.real, pytest.mark.slow]

PERSON = ("--by", "A. Steward", "--role", "data steward", "--reason", "Recipients are bound by agreement.")
TOLD = ("--licence", "CC-BY-4.0", "--title", "Stand-ins", "--creator", "A hospital")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("release")


@pytest.fixture(scope="module")
def folders(real_data, place) -> dict[str, Path]:
    return lgg.split(real_data / "lgg", place, seed=0)


@pytest.fixture(scope="module")
def truth(folders) -> dict[str, tuple[str, str]]:
    return lgg.hide_copies(folders["train"], folders["standin"], lgg.ISSUE_KINDS, 0)


@pytest.fixture(scope="module")
def call(place):
    def run(*arguments: object) -> Run:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SYNTHRELEASE_KEYS", str(place / "keys"))
            return run_cli(*arguments, cache=place / "cache", power_floor=0.8, planted_subjects=72)

    return run


@pytest.fixture(scope="module")
def package(folders, truth, call, place) -> Path:
    """Audit, review, decide, approve, package: as a steward does, with a reader who knows the truth."""
    out = place / "result"
    roles = ("--train", folders["train"], "--holdout", folders["holdout"], "--synthetic", folders["standin"])
    assert call("audit", *roles, "--out", out).code == 4
    assert call("decide", out, "--policy", "controlled").code == 3  # nobody has read the alarms

    desk = Desk(open_evidence(out))
    for pair in desk.standing().due:
        copy = pair.image_id in truth or pair.kind == "planted copy"
        desk.answer(pair, "copy" if copy else "not a copy", by="R. Reader", role="reader", reason="seen")
    assert call("decide", out, "--policy", "controlled").code == 4  # copies were confirmed
    assert call("approve", out, *PERSON).code == 4  # and nobody can override that

    decided = call("decide", out, "--policy", "controlled", "--remove-suspects", "--json")
    assert decided.code == 3
    assert decided.document["attempts"] == 2
    for pair in Desk(open_evidence(out)).standing().due:
        Desk(open_evidence(out)).answer(pair, "not a copy", by="R. Reader", role="reader", reason="seen")
    assert call("decide", out, "--policy", "controlled").code == 3  # 16 holdout patients are too few

    assert call("package", out, "--out", place / "package", *TOLD).code == 3  # nobody has approved
    assert call("approve", out, *PERSON).code == 0
    packaged = call("package", out, "--out", place / "package", *TOLD)
    assert packaged.code == 0, packaged.err
    return place / "package"


def test_no_hidden_copy_is_among_the_released_images(package, truth, place):
    evidence = open_evidence(place / "result")

    assert not set(evidence.images()) & set(truth)
    assert len(evidence.images()) >= 100
    assert evidence.sources().removed


def test_the_package_verifies_with_and_without_the_publishers_key(package, call, place):
    public = next((place / "keys").glob("*.pub"), None) or package / "attestations" / "publisher.pub"

    assert call("verify", package).code == 0
    assert call("verify", package, "--key", public, "--json").document["signer"] == "verified"


def test_checksums_hold_for_those_who_have_only_coreutils(package):
    subprocess.run(["sha256sum", "--check", "--quiet", "manifest-sha256.txt"], cwd=package, check=True)


def test_no_real_plane_subject_or_path_is_in_the_package(package, folders):
    subjects = {folder.name for role in ("train", "holdout") for folder in folders[role].iterdir()}
    content = b"".join(file.read_bytes() for file in sorted(package.rglob("*")) if file.is_file())
    assert not [subject for subject in subjects if subject.encode() in content]
    assert str(folders["train"].parent).encode() not in content

    real = set()
    for role in ("train", "holdout"):
        for file in folders[role].rglob("*.webp"):
            with Image.open(file) as image:
                planes = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
            real |= {fingerprints.of_plane(plane) for plane in planes}
    released = [nibabel.load(file).get_fdata()[..., 0] for file in sorted(package.rglob("*.nii.gz"))]
    assert released
    assert not {fingerprints.of_plane(plane) for plane in released} & (real - {None})


def test_croissant_and_hugging_face_read_it_offline(package, monkeypatch):
    mlcroissant = pytest.importorskip("mlcroissant")
    assert not mlcroissant.Dataset(package / "croissant.json").metadata.ctx.issues.errors
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "1")
    datasets = pytest.importorskip("datasets")
    table = datasets.load_dataset(str(package), cache_dir=str(package.parent / "hf"))["train"]
    assert len(table) >= 100


def test_packaging_again_gives_the_same_bytes(package, call, place):
    again = place / "again"
    assert call("package", place / "result", "--out", again, *TOLD).code == 0

    files = [file.relative_to(package) for file in package.rglob("*") if file.is_file()]
    assert files
    assert all((package / file).read_bytes() == (again / file).read_bytes() for file in files)
