"""One file in, blocks of images out: the format is chosen by the file's extension."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from synthrelease import store
from synthrelease.scans import arrays, volumes
from synthrelease.scans.blocks import Block, Unusable, check_size, checked, default_names, label_levels
from synthrelease.scans.unpacking import (
    DEFLATE_AT_MOST,
    LZMA_AT_MOST,
    Deflate,
    Lzma,
    Unpacker,
    check_unpacked,
)

PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
TIFF = {".tif", ".tiff"}
NIFTI = {".nii", ".nii.gz"}
DICOM = {".dcm", ".dicom", ".ima"}
STACKS = {".npy", ".npz"}
KNOWN = PICTURES | TIFF | NIFTI | DICOM | STACKS
FORMATS = "PNG, JPEG, WebP, BMP, TIFF, NIfTI (.nii, .nii.gz), DICOM, NPY and NPZ"
_TIFF_DEFLATE, _TIFF_LZMA = (8, 32946), 34925
_ONE_AT_A_TIME = threading.Lock()
_PILLOW_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "MPO")


def extension(path: Path) -> str:
    """Return the lower-case extension; ``.nii.gz`` counts as one, DICOM without any is told by its preamble."""
    name = path.name.lower()
    if name.endswith(".nii.gz"):
        return ".nii.gz"
    if path.suffix and not path.suffix[1:].isdigit():  # DICOM exports are often named like `1.2.840.113`
        return path.suffix.lower()
    if path.name.upper() == "DICOMDIR":  # the table of contents of a DICOM medium
        return ""
    return ".dcm" if _has_dicom_preamble(path) else path.suffix.lower()


def stem(name: str) -> str:
    """Return a file name without its extension."""
    return name[:-7] if name.lower().endswith(".nii.gz") else name.rpartition(".")[0] or name


def read_file(path: Path, mask: Path | None = None) -> Iterator[Block]:
    """Yield the usable images of one file, with its mask's label levels where it has one.

    Raises:
        Unusable: with the reason, whatever the file did to its reader.
    """
    try:
        if path.stat().st_size == 0:
            raise Unusable("the file is empty")
        labels = None if mask is None else _mask_labels(mask)
        for block in _blocks(path):
            yield checked(block if labels is None else replace(block, mask=_mask_for(block, labels)))
        if labels is not None and next(labels, None) is not None:
            raise Unusable("its mask holds more images than it does")
    except Unusable:
        raise
    except PermissionError as error:
        raise Unusable("permission denied") from error
    except Exception as error:  # decoders fed with damaged or hostile bytes raise whatever they like
        raise Unusable(f"it cannot be read ({type(error).__name__}: {_short(error)})") from error


def _blocks(path: Path) -> Iterator[Block]:
    kind = extension(path)
    if kind in NIFTI:
        yield volumes.read_nifti(path)
    elif kind in DICOM:
        yield volumes.read_dicom(path)
    elif kind == ".npy":
        yield from arrays.read_npy(path)
    elif kind == ".npz":
        yield from arrays.read_npz(path)
    elif kind in TIFF:
        yield _from_pages(_tiff_pages(path), ())
    else:
        page, notes = _picture(path)
        yield _from_pages([page], notes)


def _mask_labels(path: Path) -> Iterator[NDArray[Any]]:
    """Yield a mask file's labels (k, h, w), piece by piece as its image yields blocks."""
    try:
        if extension(path) in PICTURES:
            yield _mask_picture(path)[None]
        else:
            yield from (piece.pixels[:, 0] for piece in _blocks(path))
    except Unusable:
        raise
    except Exception as error:  # as in read_file
        raise Unusable(f"its mask {path.name} cannot be read ({type(error).__name__}: {_short(error)})") from error


def _mask_for(block: Block, labels: Iterator[NDArray[Any]]) -> NDArray[np.uint8]:
    """Return the block's labels as levels (k, h, w): the next piece for a part of a stack, else all there are."""
    pieces = list(islice(labels, 1) if block.kind == "stack" else labels)
    if len({piece.shape[1:] for piece in pieces}) != 1:
        raise Unusable("its mask holds fewer images than it does")
    found = np.concatenate(pieces)
    wanted = (len(block.pixels), *block.pixels.shape[2:])
    if found.shape != wanted:
        raise Unusable(f"its mask has shape {_times(found.shape)}, the image {_times(wanted)}")
    return label_levels(found)


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape[shape[0] == 1 :]))  # one slice goes without its count


def _picture(path: Path) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return one picture (h, w) or (h, w, 3) in its own number type."""
    _refuse_deep_colour(path)
    with _open_picture(path) as image:
        if image.mode in {"P", "PA"}:
            image = image.convert("RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB")
        elif image.mode in {"CMYK", "YCbCr", "LAB", "HSV"}:
            image = image.convert("RGB")
        pixels = np.asarray(image)
    if image.mode in {"LA", "RGBA"}:
        alpha = pixels[..., -1]
        if alpha.min() != alpha.max():
            raise Unusable("it is partly transparent: save it without an alpha channel")
        pixels = pixels[..., :-1]
        return (pixels[..., 0] if pixels.shape[2] == 1 else pixels), ("a constant alpha channel was dropped",)
    return pixels, ()


def _mask_picture(path: Path) -> NDArray[Any]:
    with _open_picture(path) as image:
        pixels = np.asarray(image)  # a palette image gives its indices, which are the labels
    if pixels.ndim == 3:
        if pixels.shape[2] >= 3 and (pixels[..., :3] != pixels[..., :1]).any():
            raise Unusable(f"its mask {path.name} is coloured: save labels as grey levels")
        pixels = pixels[..., 0]
    return pixels


def _open_picture(path: Path) -> Image.Image:
    _refuse_large_webp(path)
    with _ONE_AT_A_TIME:  # opening reads headers only; Pillow's own limit, one for all threads, could not be raised
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = Image.open(path, formats=_PILLOW_FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = before
    check_size(image.height, image.width, len(image.getbands()))
    return image


def _refuse_large_webp(path: Path) -> None:
    """Pillow allocates a WebP's whole canvas, twice, when it opens the file."""
    with path.open("rb") as file:
        head = file.read(30)
    if head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and len(head) == 30:
        width, height = (1 + int.from_bytes(head[at : at + 3], "little") for at in (24, 27))
        check_size(height, width, 4)


def _refuse_deep_colour(path: Path) -> None:
    """Pillow cuts 16-bit colour PNG down to 8 bits without a word, so such files are refused."""
    with path.open("rb") as file:
        head = file.read(26)
    if head.startswith(b"\x89PNG\r\n\x1a\n") and len(head) == 26 and head[24] == 16 and head[25] in {2, 4, 6}:
        raise Unusable("16-bit colour PNG would lose its lower 8 bits: save it as TIFF")


def _tiff_pages(path: Path) -> list[NDArray[Any]]:
    with tifffile.TiffFile(path) as tiff:
        pages = list(tiff.pages)
        check_size(sum(int(np.prod(page.shape, dtype=object)) for page in pages))
        axes = {page.axes for page in pages}
        if not axes <= {"YX", "YXS", "SYX"}:
            raise Unusable(f"its axes are {sorted(axes)}, expected pages of grey or RGB images")
        for page in pages:
            _refuse_bomb(tiff, page)
        try:
            arrays_ = [page.asarray() for page in pages]
        except ValueError:  # a compression that tifffile leaves to a package we do not need otherwise
            return _tiff_by_pillow(path)
        arrays_ = [np.moveaxis(a, 0, 2) if p.axes == "SYX" else a for a, p in zip(arrays_, pages, strict=True)]
    return [_opaque(page) for page in arrays_]


def _refuse_bomb(tiff: tifffile.TiffFile, page: Any) -> None:
    """Tifffile unpacks each strip whole, whatever size the page declares."""
    kinds: dict[int, Callable[[], Unpacker]] = {
        **dict.fromkeys(_TIFF_DEFLATE, lambda: Deflate(15)),
        _TIFF_LZMA: Lzma,
    }
    unpacker = kinds.get(int(page.compression))
    packed = sum(int(count) for count in page.databytecounts)
    if unpacker is None or packed * (LZMA_AT_MOST if unpacker is Lzma else DEFLATE_AT_MOST) <= store.largest():
        return

    def strips() -> Iterator[Iterator[bytes]]:
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            tiff.filehandle.seek(offset)
            yield iter([tiff.filehandle.read(count)])

    check_unpacked(strips(), unpacker)


def _opaque(page: NDArray[Any]) -> NDArray[Any]:
    if page.ndim == 3 and page.shape[2] == 4:
        if page[..., 3].min() != page[..., 3].max():
            raise Unusable("it is partly transparent: save it without an alpha channel")
        return page[..., :3]
    return page


def _tiff_by_pillow(path: Path) -> list[NDArray[Any]]:
    with _open_picture(path) as image:
        pages = []
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            check_size(number + 1, image.height, image.width, len(image.getbands()))
            pages.append(_opaque(np.array(image)))
    return pages


def _from_pages(pages: list[NDArray[Any]], notes: tuple[str, ...]) -> Block:
    if len({page.shape for page in pages}) > 1:
        raise Unusable(f"its pages differ in size: {sorted({page.shape for page in pages})}")
    stacked = np.stack(pages)  # (k, h, w) or (k, h, w, c)
    pixels = stacked[:, None] if stacked.ndim == 3 else np.ascontiguousarray(np.moveaxis(stacked, 3, 1))
    names = default_names(pixels.shape[1], colour=True)
    return Block(pixels, names, "volume" if len(pages) > 1 else "picture", tuple(range(len(pages))), notes=notes)


def _has_dicom_preamble(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 160 else f"{text[:160]}..."
