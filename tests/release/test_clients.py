"""Packages open with other people's programs, and can be checked without ours."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from PIL import Image
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

from synthrelease.release import layout

FORMATS = ("nifti", "png", "dicom")


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
@pytest.mark.parametrize("image_format", FORMATS)
def test_sha256sum_agrees_and_finds_a_change(built: dict[str, Path], tmp_path: Path, image_format: str) -> None:
    package = shutil.copytree(built[image_format], tmp_path / "release")
    check = ["sha256sum", "--strict", "--check", layout.MANIFEST]
    done = subprocess.run(check, cwd=package, capture_output=True, text=True, check=True)
    assert done.stdout.count(": OK") == len((package / layout.MANIFEST).read_text().splitlines())
    files = {str(path.relative_to(package)) for path in package.rglob("*") if path.is_file()}
    assert done.stdout.count(": OK") == len(files - set(layout.UNLISTED))
    (package / "README.md").write_text("edited")
    assert "README.md: FAILED" in subprocess.run(check, cwd=package, capture_output=True, text=True).stdout


@pytest.mark.parametrize("image_format", FORMATS)
def test_the_signature_and_the_statement_hold_without_any_of_our_code(
    built: dict[str, Path], image_format: str
) -> None:
    package = built[image_format]
    sealed = json.loads((package / "attestations" / "release.dsse.json").read_text())
    public = serialization.load_pem_public_key((package / "attestations" / "publisher.pub").read_bytes())
    assert isinstance(public, Ed25519PublicKey)
    body, kind = base64.b64decode(sealed["payload"]), sealed["payloadType"].encode()
    signed = b"DSSEv1 " + str(len(kind)).encode() + b" " + kind + b" " + str(len(body)).encode() + b" " + body
    public.verify(base64.b64decode(sealed["signatures"][0]["sig"]), signed)  # raises if it does not hold
    statement = json.loads(body)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    for subject in statement["subject"]:
        assert subject["digest"]["sha256"] == hashlib.sha256((package / subject["name"]).read_bytes()).hexdigest()
    assert [subject["name"] for subject in statement["subject"]] == ["manifest-sha256.txt", "report/record.json"]
    listed = (package / "manifest-sha256.txt").read_text().splitlines()
    assert statement["predicate"]["contents"]["files"] == len(listed)
    sizes = [(package / line.split("  ", 1)[1]).stat().st_size for line in listed]
    assert statement["predicate"]["contents"]["bytes"] == sum(sizes)
    record = json.loads((package / "report" / "record.json").read_text())
    assert statement["predicate"]["decision"]["decision"] == record["decision"]
    assert statement["predicate"]["approvals"] == record["approvals"]
    assert statement["predicate"]["evidence"]["binding"] == record["evidence_sha256"]


def test_the_signature_holds_in_securesystemslib(built: dict[str, Path]) -> None:
    package = built["nifti"]
    sealed = Envelope.from_dict(json.loads((package / "attestations" / "release.dsse.json").read_text()))
    pem = (package / "attestations" / "publisher.pub").read_bytes()
    key = SSlibKey.from_crypto(serialization.load_pem_public_key(pem))
    assert list(sealed.verify([key], 1)) == [key.keyid]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_the_signature_holds_in_openssl_as_the_guide_says(built: dict[str, Path], tmp_path: Path) -> None:
    sealed = json.loads((built["nifti"] / "attestations" / "release.dsse.json").read_text())
    body, kind = base64.b64decode(sealed["payload"]), sealed["payloadType"].encode()
    (tmp_path / "signed").write_bytes(b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(body), body))
    (tmp_path / "signature").write_bytes(base64.b64decode(sealed["signatures"][0]["sig"]))
    key = built["nifti"] / "attestations" / "publisher.pub"
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(key), "-rawin", "-in", "signed"]
    done = subprocess.run([*command, "-sigfile", "signature"], cwd=tmp_path, capture_output=True, text=True)
    if "rawin" in done.stderr.lower() and "unknown" in done.stderr.lower():
        pytest.skip("this openssl is too old for Ed25519")
    assert "Verified Successfully" in done.stdout, done.stderr


@pytest.mark.parametrize("image_format", FORMATS)
def test_every_image_of_the_table_opens(built: dict[str, Path], image_format: str) -> None:
    import pydicom

    package = built[image_format]
    with (package / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    for row in rows:
        path = package / row["file_name"]
        if image_format == "nifti":
            image: Any = nib.load(path)
            assert image.shape == (20, 24, int(row["slices"]))
            assert np.asarray(image.dataobj).dtype == np.uint8
        elif image_format == "png":
            with Image.open(path) as picture:
                assert (picture.size, picture.mode) == ((20, 24), "L")
        else:
            assert pydicom.dcmread(path).pixel_array.shape == (24, 20)


@pytest.mark.parametrize("image_format", FORMATS)
def test_croissant_is_valid_and_its_hashes_are_right(built: dict[str, Path], image_format: str) -> None:
    pytest.importorskip("mlcroissant")
    package = built[image_format]
    command = [str(Path(sys.executable).with_name("mlcroissant")), "validate", "--jsonld", "croissant.json"]
    done = subprocess.run(command, cwd=package, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    for item in json.loads((package / "croissant.json").read_text())["distribution"]:
        if "sha256" in item:
            assert item["sha256"] == hashlib.sha256((package / item["contentUrl"]).read_bytes()).hexdigest()


def _loaded(package: Path, home: Path) -> Any:
    """Return what Hugging Face `datasets` makes of the package, loaded in another process without network."""
    pytest.importorskip("datasets")
    code = (
        "import json, sys\nfrom datasets import load_dataset\n"
        "data = load_dataset(sys.argv[1])['train']\n"
        "print(json.dumps({'columns': data.column_names, 'rows': len(data), 'first': "
        "{k: v.size if hasattr(v, 'size') else v for k, v in data[0].items()}}))"
    )
    place = {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code, str(package)], capture_output=True, text=True, env=place)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_hugging_face_shows_pictures_with_all_their_channels(built: dict[str, Path], tmp_path: Path) -> None:
    data = _loaded(built["png"], tmp_path)
    assert {"t1", "flair", "mask", "synthetic_id"} <= set(data["columns"])
    assert data["rows"] == 8
    assert data["first"]["t1"] == data["first"]["mask"] == [20, 24]
    assert data["first"]["synthetic_id"] == "synthetic-000001"


def test_hugging_face_shows_the_table_of_files(built: dict[str, Path], tmp_path: Path) -> None:
    data = _loaded(built["nifti"], tmp_path)
    assert data["columns"] == ["file_name", "synthetic_id", "slice", "slices", "channel"]
    assert (built["nifti"] / data["first"]["file_name"]).is_file()
