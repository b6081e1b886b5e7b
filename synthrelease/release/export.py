"""Synthetic images as files with fresh headers, and back: nothing but pixels and our own marks gets in or passes.

A file is checked by writing its header again from its shape and comparing bytes, so that no field, however obscure, can
carry what we did not write.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from synthrelease.errors import DecisionError

SUFFIXES = {"nifti": ".nii.gz", "png": ".png", "dicom": ".dcm"}
FLAT = ("png", "dicom")  # formats that hold one slice per file
TYPES = {
    "nifti": ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"),
    "png": ("uint8", "uint16"),
    "dicom": ("uint8", "uint16", "int16"),
}
_NARROW = {"bool": "uint8", "float16": "float32"}  # types that no image format knows
_GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # no name, no time, unknown system
_PNG_HEAD, _PNG_MARK = b"\x89PNG\r\n\x1a\n", b"Synthetic\x00yes"
_NIFTI_HEAD = 352
LONGEST_SIDE = 32_767  # pixels: what a NIfTI header can say
LARGEST_VOXEL = 1e6  # mm
_PIECE = 1 << 20  # bytes decompressed at a time
LARGEST = 1 << 30  # bytes of pixels in one file
_SECONDARY_CAPTURE, _EXPLICIT = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.1.2.1"
_OURS = "2.25.300541894205834812348961840318412350183"  # implementation class: a fixed random number


class BadFile(ValueError):  # noqa: N818 - it is a file that is bad, not the program
    """An image file is not exactly what packaging writes; the text says in what."""


@dataclass(frozen=True)
class Geometry:
    """What every image file of a package has in common."""

    height: int
    width: int
    dtype: str
    voxel_size: tuple[float, float, float]  # mm: row, column, slice

    @property
    def slice_bytes(self) -> int:
        return self.height * self.width * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Label:
    """What a DICOM file says besides pixels."""

    synthetic_id: str
    channel: str
    number: int  # of the slice, from 1
    root: str  # anything that is peculiar to the package: unique identifiers grow from it


def stored_type(dtype: str, image_format: str) -> str:
    """Return the number type in which pixels of ``dtype`` are written; refuse what would lose or bend them."""
    name = _NARROW.get(dtype, dtype)
    if name not in TYPES[image_format]:
        raise DecisionError(
            f"{image_format} cannot hold pixels of type {dtype} as they are.", "Use --format nifti, which can."
        )
    return name


def possible(geometry: Geometry, image_format: str) -> bool:
    """Say whether files of this shape, number type and voxel size can exist: a stranger's record may claim anything."""
    sizes = (geometry.height, geometry.width)
    return (
        geometry.dtype in TYPES[image_format]
        and all(1 <= size <= LONGEST_SIDE for size in sizes)
        and all(math.isfinite(mm) and 0 < mm < LARGEST_VOXEL for mm in geometry.voxel_size)
    )


def little_endian(pixels: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Return pixels in the number type of their file."""
    return np.ascontiguousarray(pixels, dtype=np.dtype(dtype).newbyteorder("<"))


# --- NIfTI ------------------------------------------------------------------------------------------------------------


def nifti(volume: NDArray[Any], geometry: Geometry) -> bytes:
    """Return slices (k, h, w), feet to head, as a gzipped NIfTI-1 file of shape (w, h, k).

    Axes run as in docs/preparing.md: columns to the patient's left, rows to posterior.
    """
    data = _nifti_head(len(volume), geometry) + little_endian(volume, geometry.dtype).tobytes()
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=packed, mtime=0) as file:
        file.write(data)
    return packed.getvalue()


@functools.lru_cache(maxsize=256)
def _nifti_head(slices: int, geometry: Geometry) -> bytes:
    header: Any = nib.Nifti1Header(endianness="<")
    header.set_data_shape((geometry.width, geometry.height, slices))
    header.set_data_dtype(np.dtype(geometry.dtype).newbyteorder("<"))
    row, column, between = geometry.voxel_size
    affine = np.diag([-column, -row, between, 1.0])
    header.set_zooms((column, row, between))
    header.set_qform(affine, code=2)
    header.set_sform(affine, code=2)
    header.set_xyzt_units("mm")
    header.set_intent("none", name="SYNTHETIC")
    header["scl_slope"], header["scl_inter"], header["vox_offset"] = 1, 0, _NIFTI_HEAD
    return bytes(header.binaryblock) + b"\x00\x00\x00\x00"  # the four say: no extensions


def check_nifti(packed: bytes, geometry: Geometry, *, keep: bool = True) -> NDArray[Any]:
    """Return the slices (k, h, w) of a file that `nifti` wrote; without ``keep`` read and drop them, as (k, 0, 0)."""
    if packed[:10] != _GZIP_HEAD:
        raise BadFile("its gzip header is not plain: it may carry a name or a time")
    pieces = _inflated(packed, 31)
    start = b""
    while len(start) < _NIFTI_HEAD:
        piece = next(pieces, b"")
        if not piece:
            raise BadFile("it is cut short")
        start += piece
    slices = struct.unpack_from("<h", start, 46)[0]
    declared = max(slices, 0) * geometry.slice_bytes
    if slices < 1 or declared > LARGEST or start[:_NIFTI_HEAD] != _nifti_head(slices, geometry):
        raise BadFile("its NIfTI header holds something else than shape, type, voxel size and the mark SYNTHETIC")
    data = _exactly(start[_NIFTI_HEAD:], pieces, declared, keep=keep)
    shape = (slices, geometry.height, geometry.width)
    return _pixels(data, geometry, shape) if keep else np.empty((slices, 0, 0), dtype=np.uint8)


# --- PNG --------------------------------------------------------------------------------------------------------------


def png(plane: NDArray[Any], geometry: Geometry) -> bytes:
    """Return (h, w) whole numbers as a grey PNG that says `Synthetic: yes` and nothing else."""
    marks = PngImagePlugin.PngInfo()
    marks.add_text("Synthetic", "yes")
    packed = io.BytesIO()
    Image.fromarray(little_endian(plane, geometry.dtype)).save(packed, "PNG", pnginfo=marks, compress_level=6)
    return packed.getvalue()


def check_png(content: bytes, geometry: Geometry, *, keep: bool = True) -> NDArray[Any]:
    """Return the picture (1, h, w) of a file that `png` wrote; without ``keep`` check without decoding it."""
    bits = 8 * np.dtype(geometry.dtype).itemsize
    chunks = list(_png_chunks(content))
    head = struct.pack(">IIBBBBB", geometry.width, geometry.height, bits, 0, 0, 0, 0)
    names = [name for name, _ in chunks]
    if names[:2] != [b"IHDR", b"tEXt"] or names[-1] != b"IEND" or set(names[2:-1]) != {b"IDAT"}:
        raise BadFile("it holds other chunks than size, the mark Synthetic, and pixels")
    if chunks[0][1] != head or chunks[1][1] != _PNG_MARK or chunks[-1][1]:
        raise BadFile("its size, its type or its mark is not what the record says")
    stream = b"".join(data for name, data in chunks if name == b"IDAT")
    _exactly(b"", _inflated(stream, 15), geometry.slice_bytes + geometry.height, keep=False)  # a filter byte a row
    if not keep:
        return np.empty((1, 0, 0), dtype=np.uint8)
    with Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
        return np.asarray(picture).astype(geometry.dtype)[None]


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    if not content.startswith(_PNG_HEAD):
        raise BadFile("it is no PNG")
    place, name = len(_PNG_HEAD), b""
    while place < len(content):
        length, name = struct.unpack(">I4s", content[place : place + 8].ljust(8, b"\x00"))
        data, sum_ = content[place + 8 : place + 8 + length], content[place + 8 + length : place + 12 + length]
        if name == b"IEND" and place + 12 + length != len(content):
            raise BadFile("something follows its end")
        if len(data) != length or sum_ != struct.pack(">I", zlib.crc32(name + data)):
            raise BadFile("one of its chunks is damaged")
        place += 12 + length
        yield name, data
    if name != b"IEND":
        raise BadFile("it is cut short")


# --- DICOM ------------------------------------------------------------------------------------------------------------


def dicom(plane: NDArray[Any], geometry: Geometry, label: Label) -> bytes:
    """Return (h, w) whole numbers as a DICOM Secondary Capture object with Synthetic Data (0008,001C) = YES.

    Patient, study and series are the synthetic image; there is no date, no name and no device. Unique identifiers are
    `2.25.<number>` from a hash, so that equal packages have equal ones.
    """
    from pydicom.dataset import Dataset, FileMetaDataset

    data = Dataset()
    data.ImageType = ["DERIVED", "SECONDARY"]
    data.SOPClassUID, data.SOPInstanceUID = _SECONDARY_CAPTURE, _uid(label, "image", label.channel, str(label.number))
    data.SyntheticData, data.ConversionType, data.Modality = "YES", "SYN", "MR"
    data.SeriesDescription = f"SYNTHETIC {label.channel}"
    data.PatientID = data.PatientName = label.synthetic_id
    for empty in ("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "PatientBirthDate"):
        setattr(data, empty, "")
    data.PatientSex = data.StudyID = data.Manufacturer = ""
    data.StudyInstanceUID, data.SeriesInstanceUID = _uid(label, "study"), _uid(label, "series", label.channel)
    data.SeriesNumber, data.InstanceNumber = None, label.number
    data.ContributingEquipmentSequence = [_synthesiser()]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = geometry.height, geometry.width
    data.PixelSpacing = [f"{mm:.6g}" for mm in geometry.voxel_size[:2]]
    data.SpacingBetweenSlices = f"{geometry.voxel_size[2]:.6g}"
    bits = 8 * np.dtype(geometry.dtype).itemsize
    data.BitsAllocated, data.BitsStored, data.HighBit = bits, bits, bits - 1
    data.PixelRepresentation = int(geometry.dtype.startswith("int"))
    pixels = little_endian(plane, geometry.dtype).tobytes()
    data.PixelData = pixels + b"\x00" * (len(pixels) % 2)
    data["PixelData"].VR = "OB" if bits == 8 else "OW"
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID, data.file_meta.MediaStorageSOPClassUID = _EXPLICIT, _SECONDARY_CAPTURE
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.file_meta.ImplementationClassUID, data.file_meta.ImplementationVersionName = _OURS, "SYNTHRELEASE"
    packed = io.BytesIO()
    data.save_as(packed, enforce_file_format=True)
    return packed.getvalue()


def check_dicom(content: bytes, geometry: Geometry, label: Label) -> NDArray[Any]:
    """Return the picture (1, h, w) of a file that `dicom` wrote."""
    import pydicom

    try:
        stored = bytes(pydicom.dcmread(io.BytesIO(content)).PixelData)
        plane = _pixels(stored[: geometry.slice_bytes], geometry, (1, geometry.height, geometry.width))
    except Exception as error:  # pydicom raises whatever damaged bytes provoke
        raise BadFile(f"it cannot be read as DICOM ({type(error).__name__})") from error
    if dicom(plane[0], geometry, label) != content:
        raise BadFile("it holds other elements than packaging writes")
    return plane


def _synthesiser() -> Any:
    from pydicom.dataset import Dataset

    purpose, equipment = Dataset(), Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator = "109100", "DCM"
    purpose.CodeMeaning = "Synthesizing Equipment"
    equipment.Manufacturer = "Generator"
    equipment.ContributionDescription = "Made by a generator; not acquired from a patient"
    equipment.PurposeOfReferenceCodeSequence = [purpose]
    return equipment


def _uid(label: Label, *what: str) -> str:
    text = "\x00".join((label.root, label.synthetic_id, *what))
    return f"2.25.{int(hashlib.sha256(text.encode()).hexdigest()[:32], 16)}"


# --- reading without being led astray ---------------------------------------------------------------------------------


def write(path: Path, content: bytes) -> None:
    """Write one image file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _inflated(packed: bytes, kind: int) -> Iterator[bytes]:
    """Yield what zlib unpacks, a piece at a time; the whole stream must end where the bytes end."""
    unpacker, rest = zlib.decompressobj(kind), packed
    try:
        while not unpacker.eof:
            piece = unpacker.decompress(rest, _PIECE)
            rest = unpacker.unconsumed_tail
            if not piece and not rest and not unpacker.eof:
                raise BadFile("its compressed data is cut short")
            yield piece
    except zlib.error as error:
        raise BadFile(f"its compressed data is damaged ({error})") from error
    if unpacker.unused_data:
        raise BadFile("something follows its compressed data")


def _exactly(start: bytes, pieces: Iterator[bytes], wanted: int, *, keep: bool) -> bytes:
    """Read ``wanted`` bytes and no more; stop at the first piece that exceeds them."""
    kept, size = [start], len(start)
    for piece in pieces:
        size += len(piece)
        if size > wanted:
            break
        if keep:
            kept.append(piece)
    if size != wanted:
        raise BadFile(f"it unpacks to {'more' if size > wanted else 'fewer'} bytes than its size declares")
    return b"".join(kept) if keep else b""


def _pixels(data: bytes, geometry: Geometry, shape: tuple[int, ...]) -> NDArray[Any]:
    return np.frombuffer(data, dtype=np.dtype(geometry.dtype).newbyteorder("<")).reshape(shape)
