"""Image files: what is written comes back, opens elsewhere, and nothing else passes the check."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from synthrelease.errors import DecisionError
from synthrelease.release import export
from synthrelease.release.export import BadFile, Geometry, Label
from synthrelease.scans.readers import read_file

LABEL = Label("synthetic-000001", "t1", 1, "root")


def geometry(dtype: str = "uint8") -> Geometry:
    return Geometry(20, 30, dtype, (1.5, 0.75, 3.0))


def slices(dtype: str = "uint8", count: int = 4) -> NDArray[Any]:
    return (np.random.default_rng(0).random((count, 20, 30)) * 200).astype(dtype)


@pytest.mark.parametrize("dtype", export.TYPES["nifti"])
def test_nifti_keeps_every_number_and_opens_upright_in_nibabel(dtype: str, tmp_path: Path) -> None:
    path = tmp_path / "x.nii.gz"
    path.write_bytes(export.nifti(slices(dtype), geometry(dtype)))
    image: Any = nib.load(path)
    assert image.shape == (30, 20, 4)  # x, y, z
    assert image.get_data_dtype() == np.dtype(dtype)
    assert image.header.get_zooms() == (0.75, 1.5, 3.0)
    assert nib.aff2axcodes(image.affine) == ("L", "P", "S")
    assert np.array_equal(np.asanyarray(image.dataobj).transpose(2, 1, 0), slices(dtype))
    assert np.array_equal(export.check_nifti(path.read_bytes(), geometry(dtype)), slices(dtype))
    assert np.allclose(next(read_file(path)).pixels[:, 0], slices(dtype))  # our own reader turns nothing round


def test_nifti_is_marked_and_says_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.nii.gz"
    path.write_bytes(export.nifti(slices(), geometry()))
    header: Any = nib.load(path).header
    assert header["intent_name"] == b"SYNTHETIC"
    assert header["descrip"] == header["aux_file"] == header["db_name"] == b""
    assert not header.extensions
    assert path.read_bytes()[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # no time, no file name


@pytest.mark.parametrize("dtype", export.TYPES["png"])
def test_png_keeps_every_number_and_is_marked(dtype: str) -> None:
    plane = slices(dtype, 1)[0] * (300 if dtype == "uint16" else 1)
    content = export.png(plane, geometry(dtype))
    with Image.open(io.BytesIO(content)) as picture:
        assert np.array_equal(np.asarray(picture), plane)
        assert picture.info == {"Synthetic": "yes"}
    assert np.array_equal(export.check_png(content, geometry(dtype))[0], plane)


@pytest.mark.parametrize("dtype", export.TYPES["dicom"])
def test_dicom_keeps_every_number_and_is_marked_as_synthetic_data(dtype: str) -> None:
    plane = slices(dtype, 1)[0]
    content = export.dicom(plane, geometry(dtype), LABEL)
    data = pydicom.dcmread(io.BytesIO(content))
    assert data[0x0008, 0x001C].value == "YES"
    assert "SYNTHETIC" in data.SeriesDescription
    assert data.ContributingEquipmentSequence[0].PurposeOfReferenceCodeSequence[0].CodeValue == "109100"
    assert (data.PatientID, str(data.PatientName)) == ("synthetic-000001", "synthetic-000001")
    assert not [item for item in data if item.VR in ("DA", "TM", "DT") and item.value]
    assert np.array_equal(data.pixel_array, plane)
    assert np.array_equal(export.check_dicom(content, geometry(dtype), LABEL)[0], plane)


def test_dicom_identifiers_are_equal_for_equal_packages_and_differ_for_others() -> None:
    def uids(label: Label) -> set[str]:
        data = pydicom.dcmread(io.BytesIO(export.dicom(slices(count=1)[0], geometry(), label)))
        return {str(data.SOPInstanceUID), str(data.StudyInstanceUID), str(data.SeriesInstanceUID)}

    assert uids(LABEL) == uids(LABEL)
    assert len(uids(LABEL)) == 3
    assert not uids(LABEL) & uids(Label("synthetic-000001", "t1", 1, "another root"))
    assert all(uid.startswith("2.25.") and len(uid) <= 64 for uid in uids(LABEL))


def test_types_that_a_format_would_bend_are_refused_with_the_one_that_holds_them() -> None:
    for dtype, image_format in (("float32", "png"), ("int16", "png"), ("float64", "dicom"), ("int32", "dicom")):
        with pytest.raises(DecisionError, match="nifti"):
            export.stored_type(dtype, image_format)
    assert export.stored_type("bool", "png") == "uint8"
    assert export.stored_type("float16", "nifti") == "float32"


HEADER_FIELDS = {"descrip": 148, "aux_file": 228, "db_name": 14, "intent_name": 328, "data_type": 4, "unused": 123}


@pytest.mark.parametrize("field", HEADER_FIELDS)
def test_nothing_can_hide_in_a_nifti_header(field: str) -> None:
    raw = bytearray(gzip.decompress(export.nifti(slices(), geometry())))
    raw[HEADER_FIELDS[field] : HEADER_FIELDS[field] + 4] = b"CS41"
    with pytest.raises(BadFile, match="header"):
        export.check_nifti(_zipped(bytes(raw)), geometry())


def _zipped(raw: bytes, **options: Any) -> bytes:
    packed = io.BytesIO()
    with gzip.GzipFile(mode="wb", fileobj=packed, mtime=0, compresslevel=6, **({"filename": ""} | options)) as file:
        file.write(raw)
    return packed.getvalue()


def test_nothing_can_hide_in_gzip_or_behind_the_pixels() -> None:
    raw = gzip.decompress(export.nifti(slices(), geometry()))
    bad = {
        "header is not plain": _zipped(raw, filename="TCGA_CS_4941.nii"),
        "more bytes": _zipped(raw + b"TCGA"),
        "fewer bytes": _zipped(raw[:-4]),
        "follows": _zipped(raw) + _zipped(b"TCGA"),
        "cut short": _zipped(raw)[:-20],
        "damaged": _zipped(raw)[:40] + b"\x00\x01\x02" + _zipped(raw)[43:],
    }
    for reason, content in bad.items():
        with pytest.raises(BadFile, match=reason):
            export.check_nifti(content, geometry())


def test_a_nifti_extension_is_refused() -> None:
    image = nib.Nifti1Image(slices().transpose(2, 1, 0), np.diag([-0.75, -1.5, 3, 1]))
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"TCGA_CS_4941"))
    with pytest.raises(BadFile):
        export.check_nifti(_zipped(image.to_bytes()), geometry())


def test_a_bomb_is_unpacked_no_further_than_its_declared_size(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = gzip.decompress(export.nifti(slices(), geometry()))
    bomb = _zipped(raw + bytes(200_000_000))  # 200 kB that unpack to 200 MB
    taken: list[int] = []
    real = zlib.decompressobj

    class Counting:
        def __init__(self, kind: int) -> None:
            self.inner = real(kind)

        def decompress(self, data: bytes, most: int) -> bytes:
            piece = self.inner.decompress(data, most)
            taken.append(len(piece))
            return piece

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

    monkeypatch.setattr(export.zlib, "decompressobj", Counting)
    with pytest.raises(BadFile, match="more bytes"):
        export.check_nifti(bomb, geometry())
    assert sum(taken) < 3_000_000


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _png(*chunks: tuple[bytes, bytes]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def _png_parts(height: int = 20, width: int = 30, raw: bytes | None = None) -> list[tuple[bytes, bytes]]:
    rows = raw if raw is not None else bytes(20 * 31)
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return [(b"IHDR", head), (b"tEXt", b"Synthetic\x00yes"), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]


def test_a_png_bomb_is_refused_whether_it_lies_about_its_size_or_not() -> None:
    export.check_png(_png(*_png_parts()), geometry())  # the parts are good
    with pytest.raises(BadFile, match="more bytes"):
        export.check_png(_png(*_png_parts(raw=bytes(100_000_000))), geometry())
    with pytest.raises(BadFile, match="size"):
        export.check_png(_png(*_png_parts(height=60_000, width=60_000)), geometry())


def test_nothing_can_hide_in_png_chunks() -> None:
    head, mark, data, end = _png_parts()
    name = (b"tEXt", b"Comment\x00TCGA_CS_4941")
    bad = {
        "other chunks": _png(head, mark, name, data, end),
        "its mark": _png(head, (b"tEXt", b"Synthetic\x00no"), data, end),
        "something follows its end": _png(head, mark, data, end) + b"TCGA",
        "follows its compressed": _png(head, mark, (b"IDAT", data[1] + b"TCGA"), end),
        "damaged": _png(head, mark, data, end).replace(b"yes", b"yep"),
        "no PNG": b"GIF89a",
        "cut short": _png(head, mark, data),
    }
    for reason, content in bad.items():
        with pytest.raises(BadFile, match=reason):
            export.check_png(content, geometry())


def test_pictures_of_other_programs_are_refused() -> None:
    plain, coloured = io.BytesIO(), io.BytesIO()
    Image.fromarray(slices(count=1)[0]).save(plain, "PNG")
    marks = PngImagePlugin.PngInfo()
    marks.add_text("Synthetic", "yes")
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(coloured, "PNG", pnginfo=marks)
    for content in (plain.getvalue(), coloured.getvalue()):
        with pytest.raises(BadFile):
            export.check_png(content, geometry())


def test_nothing_can_hide_in_dicom_elements_preamble_or_behind_them() -> None:
    content = export.dicom(slices(count=1)[0], geometry(), LABEL)
    for change in ("PatientName", "PatientComments", "StudyDate"):
        data = pydicom.dcmread(io.BytesIO(content))
        setattr(data, change, "19960909" if change == "StudyDate" else "TCGA^CS")
        packed = io.BytesIO()
        data.save_as(packed, enforce_file_format=True)
        with pytest.raises(BadFile, match="other elements"):
            export.check_dicom(packed.getvalue(), geometry(), LABEL)
    for changed in (b"TCGA" + content[4:], content + b"TCGA", content[:200]):
        with pytest.raises(BadFile):
            export.check_dicom(changed, geometry(), LABEL)
