"""NIfTI and DICOM files to blocks of axial slices.

Every volume is shown the way radiologists look at it and BraTS stores it: rows run from anterior to
posterior, columns from the patient's right to left, slices from feet to head.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
from nibabel import orientations
from nibabel.arrayproxy import ArrayProxy
from nibabel.openers import Opener
from numpy.typing import NDArray
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian

from synthrelease.scans.blocks import MOST_CHANNELS, Block, Unusable, check_size, default_names
from synthrelease.scans.unpacking import Deflate, check_unpacked

MOST_EXTENSIONS = 64 << 20  # bytes between header and pixels: packed zeros would be read for hours
_LONGEST_HEAD = 540  # bytes: of NIfTI-2; NIfTI-1 has 348
_AXES = orientations.axcodes2ornt(("L", "P", "S"))


def read_nifti(path: Path) -> Block:
    """Return the axial slices of a NIfTI file (x, y, z), or (x, y, z, c) with at most 8 channels."""
    volume, voxel_size = oriented(path)
    slices = np.moveaxis(volume, 2, 0)  # (z, h, w, c)
    pixels = np.ascontiguousarray(np.moveaxis(slices, 3, 1))
    kind = "volume" if len(pixels) > 1 else "picture"
    names = default_names(pixels.shape[1])
    return Block(pixels, names, kind, tuple(range(len(pixels))), voxel_size=voxel_size)  # type: ignore[arg-type]


def oriented(path: Path) -> tuple[NDArray[Any], tuple[float, float, float]]:
    """Return a NIfTI volume (row, column, slice, channel) in the orientation above, and its voxel size in mm."""
    image = _opened(path)
    shape = tuple(int(n) for n in image.shape)
    if len(shape) == 2:
        shape = (*shape, 1)
    if len(shape) == 5 and shape[3] == 1:  # ITK writes vectors so
        shape = (*shape[:3], shape[4])
    if len(shape) not in {3, 4} or (len(shape) == 4 and shape[3] > MOST_CHANNELS):
        raise Unusable(f"it has shape {shape}, expected three axes and at most {MOST_CHANNELS} channels")
    check_size(*shape)
    if image.get_data_dtype().fields is not None:
        raise Unusable("it stores colours as records; save it as plain numbers")
    volume = np.asanyarray(image.dataobj).reshape(shape if len(shape) == 4 else (*shape, 1))
    turn = _turn(image)
    volume = orientations.apply_orientation(volume, turn)
    return np.swapaxes(volume, 0, 1), _voxel_size(image, turn)


def _opened(path: Path) -> Any:
    """Return a NIfTI image whose pixels are not read yet.

    Extensions between header and pixels are skipped: nibabel would read them whole, whatever size they declare.
    """
    with Opener(path) as file:
        head = file.read(_LONGEST_HEAD)
    of_second = 540 in (int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big"))
    kind: Any = nib.Nifti2Image if of_second else nib.Nifti1Image
    header = kind.header_class(head[: 540 if of_second else 348])
    offset = int(header["vox_offset"])
    if not 0 <= offset <= MOST_EXTENSIONS:
        raise Unusable(
            f"its pixels begin at byte {offset:,}; more than {MOST_EXTENSIONS:,} bytes before them are refused"
        )
    return kind(ArrayProxy(path, header), header.get_best_affine(), header)


def nifti_geometry(path: Path) -> tuple[tuple[int, int], tuple[float, float, float]]:
    """Return height and width of the oriented axial slices and mm per voxel, from the header alone."""
    image = _opened(path)
    if len(image.shape) < 3:
        raise Unusable(f"it has shape {tuple(image.shape)}, expected three axes")
    turn = _turn(image)
    size = np.empty(3, dtype=int)
    size[turn[:, 0].astype(int)] = image.shape[:3]
    return (int(size[1]), int(size[0])), _voxel_size(image, turn)


def _turn(image: Any) -> NDArray[Any]:
    """Return how the stored axes map to left, posterior, superior."""
    turn = orientations.ornt_transform(nib.io_orientation(image.affine), _AXES)
    if np.isnan(turn).any():
        raise Unusable("its header gives no valid orientation")
    return np.asarray(turn)


def _voxel_size(image: Any, turn: NDArray[Any]) -> tuple[float, float, float]:
    stored = [*image.header.get_zooms()[:3], 1.0][:3]  # a 2-D file has no third
    mm = np.empty(3)
    mm[turn[:, 0].astype(int)] = stored
    return float(mm[1]), float(mm[0]), float(mm[2])


def read_dicom(path: Path) -> Block:
    """Return the frames of one DICOM file as stored, after its rescale slope and intercept.

    Frames keep their own orientation. A single-frame file is one image, numbered by its instance number.
    """
    _refuse_deflate_bomb(path)
    data = pydicom.dcmread(path)
    if "PixelData" not in data:
        raise Unusable("this DICOM file holds no image")
    frames, samples = int(data.get("NumberOfFrames", 1) or 1), int(data.get("SamplesPerPixel", 1))
    check_size(frames, samples, int(data.Rows), int(data.Columns))
    look = str(data.get("PhotometricInterpretation", "MONOCHROME2"))
    if look not in {"MONOCHROME1", "MONOCHROME2", "RGB"}:
        raise Unusable(f"its colours are stored as {look}; export it as MONOCHROME2 or RGB")
    pixels = data.pixel_array.reshape(frames, int(data.Rows), int(data.Columns), samples)
    pixels = np.ascontiguousarray(np.moveaxis(pixels, 3, 1))
    slope, intercept = float(data.get("RescaleSlope", 1) or 1), float(data.get("RescaleIntercept", 0) or 0)
    if (slope, intercept) != (1.0, 0.0):
        pixels = pixels.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    if look == "MONOCHROME1":  # low values are bright
        pixels = pixels.max() - pixels if pixels.dtype.kind == "f" else (pixels.max() - pixels).astype(pixels.dtype)
    names = default_names(samples, colour=True)
    if frames > 1:
        return Block(pixels, names, "volume", tuple(range(frames)), voxel_size=_spacing(data))
    number = int(data.get("InstanceNumber", 0) or 0)
    return Block(pixels, names, "picture", (number,), voxel_size=_spacing(data))


def _refuse_deflate_bomb(path: Path) -> None:
    """Pydicom unpacks a deflated data set whole before it looks at any size."""
    about = read_file_meta_info(path)
    if about.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        with path.open("rb") as file:
            file.seek(144 + int(about.get("FileMetaInformationGroupLength", 0)))  # preamble, DICM, and that element
            check_unpacked([iter(lambda: file.read(1 << 20), b"")], lambda: Deflate(-15))


def _spacing(data: Any) -> tuple[float, float, float]:
    row, column = (float(mm) for mm in data.get("PixelSpacing") or (1.0, 1.0))  # may be there but empty
    return row, column, float(data.get("SpacingBetweenSlices", data.get("SliceThickness", 1.0)) or 1.0)
