"""NPY and NPZ files to blocks, without pickle and without holding a whole stack in memory."""

from __future__ import annotations

import io
import math
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from synthrelease.image_set import MASK
from synthrelease.scans.blocks import MOST_CHANNELS, Block, Unusable, check_size, default_names, label_levels
from synthrelease.scans.unpacking import check_members, read_at_most

IMAGES_AT_ONCE = 64
VALUES_AT_ONCE = 2**25  # of a piece: 64 images of 5 channels fit at 320 x 320, larger images come in smaller pieces
LONGEST_HEADER = 10_000  # bytes; NumPy's own limit, which it looks at after reading


def read_npy(path: Path) -> Iterator[Block]:
    """Yield the images of an NPY file.

    (h, w) is one grey image; (c, h, w) or (h, w, c) with at most 8 channels one image; (n, c, h, w),
    (n, h, w, c) or (n, h, w) with n > 8 a stack.
    """
    with path.open("rb") as file:
        shape = _header(file)[0]
    is_image = len(shape) == 2 or (len(shape) == 3 and min(shape[0], shape[2]) <= MOST_CHANNELS)
    check_size(*(shape if is_image else shape[1:]))
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.ndim == 2:
        yield Block(np.array(array[None, None]), ("grey",), "picture", (0,))
    elif is_image:
        image = array if array.shape[0] <= MOST_CHANNELS else np.moveaxis(array, 2, 0)
        yield Block(np.array(image[None]), default_names(image.shape[0]), "picture", (0,))
    else:
        step = _at_once(shape)
        for start in range(0, len(array), step):
            pixels = _channels_first(np.array(array[start : start + step]))
            numbers = tuple(range(start, start + len(pixels)))
            yield Block(pixels, default_names(pixels.shape[1]), "stack", numbers)


def read_npz(path: Path) -> Iterator[Block]:
    """Yield the images of an NPZ file in blocks of 64.

    The key ``images``, or else the only 4-D array, holds (n, c, h, w), (n, h, w, c) or (n, h, w);
    ``subjects`` and ``ids`` (n,) and ``channels`` (c,) hold plain strings; ``masks`` is (n, h, w) or (n, 1, h, w).
    """
    with zipfile.ZipFile(path) as archive:
        check_members(archive)
        shapes = _shapes(archive)
        images = _images_key(shapes)
        check_size(*shapes[images][1:])
        count, step = shapes[images][0], _at_once(shapes[images])
        about: dict[str, tuple[str, ...]] = {
            key: _strings(archive, key) for key in ("ids", "subjects", "channels") if key in shapes
        }
        _check_strings(about, count)
        masks = iter(_pieces(archive, "masks", step)) if "masks" in shapes else None
        if masks is not None and shapes["masks"][0] != count:
            raise Unusable(f"masks has {shapes['masks'][0]} entries for {count} images")
        done = 0
        for piece in _pieces(archive, images, step):
            pixels = _channels_first(piece)
            stop = done + len(pixels)
            names = about.get("channels") or default_names(pixels.shape[1])
            if len(names) != pixels.shape[1] or len(set(names)) != len(names):
                raise Unusable(f"channels {names} do not name {pixels.shape[1]} channels, each once")
            mask = None if masks is None else _levels(next(masks), pixels)
            if MASK in names and len(names) > 1:
                at = names.index(MASK)
                mask = _levels(pixels[:, at], pixels)
                pixels, names = np.delete(pixels, at, axis=1), (*names[:at], *names[at + 1 :])
            yield Block(
                pixels,
                names,
                "stack",
                tuple(range(done, stop)),
                mask=mask,
                ids=about.get("ids", ())[done:stop],
                subjects=about.get("subjects", ())[done:stop],
            )
            done = stop


def _images_key(shapes: dict[str, tuple[int, ...]]) -> str:
    key = "images" if "images" in shapes else ""
    four = [name for name, shape in shapes.items() if len(shape) == 4 and name != "masks"]
    key = key or (four[0] if len(four) == 1 else "")
    if not key:
        found = ", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "nothing"
        raise Unusable(f"it has no array named images and not exactly one 4-D array (found {found})")
    if len(shapes[key]) not in {3, 4} or shapes[key][0] < 1:
        raise Unusable(f"{key} has shape {shapes[key]}, expected (n, c, h, w) or (n, h, w) with n >= 1")
    return key


def _check_strings(about: dict[str, tuple[str, ...]], count: int) -> None:
    for key in ("ids", "subjects"):
        if key in about and len(about[key]) != count:
            raise Unusable(f"{key} has {len(about[key])} entries for {count} images")
    twice = [name for name, times in Counter(about.get("ids", ())).items() if times > 1]
    if twice:
        raise Unusable(f"ids names {twice[0]!r} more than once")


def _channels_first(pixels: NDArray[Any]) -> NDArray[Any]:
    if pixels.ndim == 3:
        return pixels[:, None]
    if pixels.ndim == 4 and pixels.shape[1] <= MOST_CHANNELS:
        return pixels
    if pixels.ndim == 4 and pixels.shape[3] <= MOST_CHANNELS:
        return np.ascontiguousarray(np.moveaxis(pixels, 3, 1))
    raise Unusable(f"it has shape {pixels.shape}, expected (n, c, h, w) with at most {MOST_CHANNELS} channels")


def _levels(masks: NDArray[Any], pixels: NDArray[Any]) -> NDArray[np.uint8]:
    if masks.ndim == 4 and masks.shape[1] == 1:
        masks = masks[:, 0]
    if masks.shape != (len(pixels), *pixels.shape[2:]):
        raise Unusable(f"masks of shape {masks.shape[1:]} do not fit images of shape {pixels.shape[2:]}")
    return np.stack([label_levels(mask) for mask in masks])


def _shapes(archive: zipfile.ZipFile) -> dict[str, tuple[int, ...]]:
    shapes = {}
    for name in archive.namelist():
        if name.endswith(".npy"):
            with archive.open(name) as stream:
                shapes[name.removesuffix(".npy")] = _header(stream)[0]
    return shapes


def _strings(archive: zipfile.ZipFile, key: str) -> tuple[str, ...]:
    with archive.open(f"{key}.npy") as stream:
        shape, _, dtype = _header(stream)
    if len(shape) != 1 or dtype.kind not in "USiu":
        raise Unusable(f"{key} must be one row of plain strings, not {dtype} of shape {shape}")
    check_size(shape[0] * max(dtype.itemsize, 1))
    with archive.open(f"{key}.npy") as stream:
        values = npy.read_array(stream, allow_pickle=False)
    if dtype.kind == "S":
        values = np.char.decode(values, "utf-8", "surrogateescape")
    return tuple(str(value) for value in values)


def _pieces(archive: zipfile.ZipFile, key: str, step: int) -> Iterator[NDArray[Any]]:
    """Yield an array of the archive along its first axis, ``step`` entries at a time, decompressing as it goes."""
    with archive.open(f"{key}.npy") as stream:
        shape, fortran, dtype = _header(stream)
        check_size(*shape[1:])
        if fortran:
            check_size(*shape)
            stream.seek(0)
            whole = npy.read_array(stream, allow_pickle=False)
            yield from (whole[i : i + step] for i in range(0, len(whole), step))
            return
        each = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
        for start in range(0, shape[0], step):
            count = min(step, shape[0] - start)
            data = read_at_most(stream, count * each)
            if len(data) != count * each:
                raise Unusable(f"{key} ends after {start} of {shape[0]} images")
            yield np.frombuffer(data, dtype=dtype).reshape(count, *shape[1:])


def _at_once(shape: tuple[int, ...]) -> int:
    return max(1, min(IMAGES_AT_ONCE, VALUES_AT_ONCE // math.prod(shape[1:])))


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(stream)
    if version not in {(1, 0), (2, 0), (3, 0)}:
        raise Unusable(f"it has the NPY version {version}; known are 1.0, 2.0 and 3.0")
    length = stream.read(2 if version == (1, 0) else 4)
    if int.from_bytes(length, "little") > LONGEST_HEADER:  # NumPy would read it first and then refuse it
        raise Unusable(f"its header has more than {LONGEST_HEADER:,} bytes")
    head = io.BytesIO(length + stream.read(int.from_bytes(length, "little")))
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(head)
    if dtype.hasobject:
        raise Unusable("it holds Python objects, which are never loaded: save plain numbers and strings")
    return shape, fortran, dtype
