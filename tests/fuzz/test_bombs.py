"""Files that unpack to far more than they are: refused in little memory, with size, limit and option.

Each is read in a process of its own that may take no more than 512 MiB beyond what its libraries need, with a limit of
16 million values (128 MiB of eight bytes), so that the bombs need not be larger than a gibibyte.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

READ = """
import resource, sys
from pathlib import Path
from synthrelease.scans.readers import read_file
from synthrelease.scans.blocks import Unusable
import zarr, torch, h5py
from synthrelease.features.weight_files import read_weights
from synthrelease.image_set import open_set
from synthrelease.errors import SynthreleaseError
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 29),) * 2)
path = Path(sys.argv[1])
try:
    if path.is_dir():
        open_set(path, check_content=True)
    elif path.suffix in (".pt", ".h5"):
        read_weights(path)
    else:
        for block in read_file(path):
            pass
    print("READ")
except (Unusable, SynthreleaseError) as reason:
    print("REFUSED", reason)
"""
GIB = 1 << 30


def npy_header(shape: tuple[int, ...], kind: str = "|u1") -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})
    return file.getvalue()


def zeros(count: int, packer: object = None) -> Iterator[bytes]:
    """Yield ``count`` zero bytes, packed by ``packer`` where there is one."""
    piece = bytes(1 << 24)
    for _ in range(count >> 24):
        yield packer.compress(piece) if packer is not None else piece  # type: ignore[attr-defined]
    if packer is not None:
        yield packer.flush()  # type: ignore[attr-defined]


def member(path: Path, name: str, start: bytes, count: int) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w", force_zip64=True) as file:
        file.write(start)
        for piece in zeros(count):
            file.write(piece)


def npz_of_many(path: Path) -> None:
    member(path, "images.npy", npy_header((1000, 1, 1000, 1000)), GIB)


def npz_of_huge_images(path: Path) -> None:
    member(path, "images.npy", npy_header((64, 1, 4000, 4000)), GIB)


def npz_with_a_huge_header(path: Path) -> None:
    member(path, "images.npy", b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**26 - 1), GIB // 16)


def nifti(path: Path, *, shape: tuple[int, ...] = (64, 64, 8), offset: int = 352, extension: int = 0) -> None:
    header = nib.Nifti1Header()
    header.set_data_shape((1, 1, 1))
    header.set_data_dtype(np.uint8)
    block = bytearray(header.binaryblock)
    block[40:56] = struct.pack("<8h", len(shape), *shape, *([1] * (7 - len(shape))))
    block[108:112] = struct.pack("<f", offset)
    with gzip.open(path, "wb", 1) as file:
        file.write(bytes(block) + b"\x01\x00\x00\x00" + struct.pack("<ii", extension, 4))
        for piece in zeros(GIB // 2):
            file.write(piece)


def deflated_dicom(path: Path) -> None:
    from pydicom.dataset import Dataset, FileMetaDataset

    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3"
    packed = io.BytesIO()
    data.save_as(packed, enforce_file_format=True)
    head = packed.getvalue()
    head = head[: 144 + struct.unpack_from("<I", head, 140)[0]]
    path.write_bytes(head + b"".join(zeros(GIB, zlib.compressobj(9, zlib.DEFLATED, -15))))


def tiff(path: Path, compression: int, strip: bytes) -> None:
    tags = [
        (256, 16),
        (257, 16),
        (258, 8),
        (259, compression),
        (262, 1),
        (277, 1),
        (278, 16),
        (273, 0),
        (279, len(strip)),
    ]
    start = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, start if tag == 273 else value) for tag, value in sorted(tags))
    path.write_bytes(b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", len(tags)) + entries + bytes(4) + strip)


def tiff_loop(path: Path) -> None:
    tiff(path, 1, bytes(range(256)))
    content = bytearray(path.read_bytes())
    at = 8 + 2 + 12 * 9
    content[at : at + 4] = struct.pack("<I", 8)  # the next page is the first
    path.write_bytes(content)


def png(path: Path) -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )


def webp(path: Path) -> None:
    frame = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (16382).to_bytes(3, "little") * 2
    path.write_bytes(b"RIFF" + struct.pack("<I", len(frame) + 4) + b"WEBP" + frame)


def nested_dicom(path: Path) -> None:
    sequence = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF)
    open_item = sequence + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    path.write_bytes(bytes(128) + b"DICM" + open_item * 20_000)


def stretched_weights(path: Path) -> None:
    import torch

    torch.save({"w": torch.ones(1).expand(2**40)}, path)


def chunked_weights(path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file.create_dataset("layer/kernel:0", shape=(2**20, 2**16), dtype="f4", chunks=(64, 64), compression="gzip")


def image_set(path: Path) -> None:
    from synthrelease.image_set import ImageRow
    from synthrelease.image_writer import ImageSetWriter

    with ImageSetWriter(path, ("grey",)) as writer:
        writer.add("a", np.arange(64, dtype=np.uint8).reshape(1, 1, 8, 8), [ImageRow("a", "s")])
        writer.close()
    place = path / "images.zarr" / "zarr.json"
    about = json.loads(place.read_text())
    about["shape"] = [1, 1, 10**6, 10**6]
    about["chunk_grid"]["configuration"]["chunk_shape"] = [16, 1, 10**6, 10**6]
    place.write_text(json.dumps(about))


BOMBS: dict[str, tuple[Callable[[Path], None], str]] = {
    "many.npz": (npz_of_many, "--largest"),
    "huge-images.npz": (npz_of_huge_images, "ends after|--largest"),
    "huge-header.npz": (npz_with_a_huge_header, "its header has more than"),
    "shape.nii.gz": (lambda path: nifti(path, shape=(30_000, 30_000, 30_000)), "--largest"),
    "offset.nii.gz": (lambda path: nifti(path, offset=2**31), "bytes before them are refused"),
    "extension.nii.gz": (lambda path: nifti(path, extension=2**31 - 16, offset=2**30), "bytes before them are refused"),
    "deflated.dcm": (deflated_dicom, "--largest"),
    "nested.dcm": (nested_dicom, "cannot be read|no image"),
    "strip.tif": (
        lambda path: tiff(path, 8, b"".join(zeros(GIB, zlib.compressobj(9)))),
        "--largest",
    ),
    "page.tif": (lambda path: tiff_loop(path), ""),
    "picture.png": (png, "--largest"),
    "canvas.webp": (webp, "--largest"),
    "stretched.pt": (stretched_weights, "SYNTHRELEASE_LARGEST"),
    "chunked.h5": (chunked_weights, "SYNTHRELEASE_LARGEST"),
    "set": (image_set, "--largest"),
}


def read(path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", READ, str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **environment},
    )


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is limited the way Linux does it")
@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_in_little_memory_and_says_how_to_raise_the_limit(name, tmp_path):
    make, said = BOMBS[name]
    make(tmp_path / name)

    done = read(tmp_path / name, SYNTHRELEASE_LARGEST=str(2**24))

    assert done.returncode == 0, done.stderr[-2000:]
    assert "MemoryError" not in done.stdout + done.stderr
    if said:
        assert done.stdout.startswith("REFUSED")
        assert any(part in done.stdout for part in said.split("|")), done.stdout


def test_the_limit_can_be_raised_and_lowered_and_the_error_names_size_limit_and_option(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(10_000, dtype=np.uint16).reshape(100, 100))

    refused = read(tmp_path / "a.npy", SYNTHRELEASE_LARGEST="9999").stdout

    assert "10,000 values, more than the limit of 9,999" in refused
    assert "--largest" in refused
    assert "READ" in read(tmp_path / "a.npy", SYNTHRELEASE_LARGEST="10000").stdout
    assert "not a number of pixel values" in read(tmp_path / "a.npy", SYNTHRELEASE_LARGEST="much").stdout


def test_the_option_of_prepare_raises_the_limit(tmp_path):
    cohort = tmp_path / "cohort"
    for subject in range(4):
        (cohort / f"s{subject}").mkdir(parents=True)
        pixels = np.random.default_rng(subject).integers(60, 255, (20, 20)).astype(np.uint8)
        np.save(cohort / f"s{subject}" / "a.npy", pixels)

    def prepare(to: str, largest: int) -> subprocess.CompletedProcess[str]:
        command = ["prepare", str(cohort), "--out", str(tmp_path / to), "--workers", "1", "--largest", str(largest)]
        return subprocess.run(
            [sys.executable, "-m", "synthrelease", *command], capture_output=True, text=True, timeout=300
        )

    low, enough = prepare("low", 399), prepare("enough", 4096)

    assert low.returncode == 1
    assert "400 values, more than the limit of 399" in " ".join(low.stderr.split())
    assert enough.returncode == 0, enough.stderr
