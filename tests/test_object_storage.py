"""Image sets on object storage: read like folders from a local S3 server; what is missing there is never zeros."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthrelease import object_storage, store
from synthrelease.errors import ScanError, StoreError
from synthrelease.image_set import ImageRow, is_image_set, open_set
from synthrelease.image_writer import ImageSetWriter
from synthrelease.opening import open_role
from synthrelease.progress import SILENT
from synthrelease.settings import AuditSettings

BUCKET = "hospital"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    server_of = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    running = server_of.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def bucket(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A bucket with one image set under `sets/train`, and the file system that it lies in."""
    import s3fs

    for name, value in {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    files = s3fs.S3FileSystem()
    files.mkdir(BUCKET)
    files.put(str(a_set(tmp_path / "train")), f"{BUCKET}/sets/train", recursive=True)
    yield files
    files.rm(BUCKET, recursive=True)
    s3fs.S3FileSystem.clear_instance_cache()


def a_set(folder: Path) -> Path:
    pixels = np.random.default_rng(0).integers(1, 255, (40, 2, 16, 16), dtype=np.uint8)
    with ImageSetWriter(folder, ("t1", "flair")) as writer:
        writer.add("all", pixels, [ImageRow(f"bild-ä{i}", f"s{i // 4}", slice=i % 4) for i in range(40)])
        writer.close()
    return folder


def there(name: str = "sets/train") -> Path:
    return Path(f"s3://{BUCKET}/{name}")


def test_a_set_on_s3_is_the_set_that_was_copied_there(bucket: Any, tmp_path: Path) -> None:
    here = open_set(tmp_path / "train")
    found = open_set(there(), check_content=True)

    assert is_image_set(there())
    assert (found.content, found.rows, found.channels) == (here.content, here.rows, here.channels)
    assert (found.read([39, 0, 17]) == here.read([39, 0, 17])).all()


def test_an_audits_role_is_opened_by_its_url_from_any_folder(bucket: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    images = open_role(there(), AuditSettings(), tmp_path / "cache", SILENT, real=True)

    assert images.folder == there()
    again = open_role(Path(str(images.folder)), AuditSettings(), tmp_path / "cache", SILENT, real=True)
    assert again.content == images.content


def test_a_lost_chunk_is_an_error_and_not_black_images(bucket: Any) -> None:
    chunks = [name for name in bucket.find(f"{BUCKET}/sets/train/images.zarr") if "/c/" in name]
    bucket.rm(chunks[1])

    with pytest.raises(ScanError, match=r"does not hold what set\.json recorded"):
        open_set(there(), check_content=True)


def test_a_changed_chunk_is_an_error(bucket: Any) -> None:
    chunks = [name for name in bucket.find(f"{BUCKET}/sets/train/images.zarr") if "/c/" in name]
    bucket.copy(chunks[0], chunks[1])

    with pytest.raises(ScanError, match=r"does not hold what set\.json recorded"):
        open_set(there(), check_content=True)


def test_what_is_no_image_set_there_says_so(bucket: Any, tmp_path: Path) -> None:
    with pytest.raises(ScanError, match=r"s3://hospital/sets/nothing is no prepared image set"):
        open_role(there("sets/nothing"), AuditSettings(), tmp_path, SILENT, real=True)


def test_a_damaged_record_there_is_told_like_one_here(bucket: Any) -> None:
    bucket.pipe(f"{BUCKET}/sets/train/set.json", json.dumps({"channels": ["t1"]}).encode())

    with pytest.raises(ScanError, match="cannot be opened"):
        open_set(there())


def test_a_server_that_does_not_answer_is_an_error_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    s3fs = pytest.importorskip("s3fs")
    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")

    with pytest.raises(StoreError, match="cannot be reached") as caught:
        open_set(there())
    assert "AWS_ENDPOINT_URL" in caught.value.remedy
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_file_url_is_a_folder_of_this_machine(tmp_path: Path) -> None:
    folder = a_set(tmp_path / "train")
    found = open_set(Path(f"file://{folder}"), check_content=True)

    assert found.content == open_set(folder).content


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("s3://bucket/a/b", "s3://bucket/a/b"),
        ("gs://bucket/a", "gs://bucket/a"),
        ("file:///data/set", "file:///data/set"),
        ("C:/data/set", None),
        ("data/s3:/bucket", None),
        ("/data/set", None),
        ("../set", None),
    ],
)
def test_what_is_a_url_and_what_a_folder(text: str, url: str | None) -> None:
    assert object_storage.address_of(Path(text)) == url


def test_an_unknown_storage_says_which_are_known() -> None:
    with pytest.raises(ScanError, match="no place that can be read"):
        open_set(Path("nowhere://bucket/set"))


def test_results_are_never_written_to_a_folder_called_like_a_url(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match="cannot be written to s3://bucket/result"):
        store.private_folder(Path("s3://bucket/result"))
    with pytest.raises(StoreError, match="cannot be written"), ImageSetWriter(Path("s3://bucket/set"), ("t1",)):
        pass
    assert list(tmp_path.iterdir()) == []
