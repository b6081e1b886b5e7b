"""Results in folders named after everything that shaped them; a folder under its final name is complete."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import platformdirs
from filelock import FileLock, Timeout

from synthrelease.errors import SettingsError, StoreError
from synthrelease.object_storage import refuse_writing

_LOG = logging.getLogger(__name__)
Made = TypeVar("Made")
SEALS = "seals.json"  # SHA-256 of each file of a cached result
LARGEST = "SYNTHRELEASE_LARGEST"  # environment; --largest sets it for a command and the processes that it starts
LARGEST_VALUES = 2**28  # a CT of 1,000 slices of 512 x 512 fits
_NUMBERS, _CODECS = {"uint8", "uint16", "float32"}, {"bytes", "zstd"}  # of the arrays of image sets
PRIVATE = 0o700  # the cache and `evidence/` hold data of real patients


def digest(made_from: object) -> str:
    """Return 16 hex characters that change when anything in ``made_from`` (JSON-able) changes."""
    text = json.dumps(made_from, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_folder() -> Path:
    """Return the user's cache (mode 0700): ``$SYNTHRELEASE_CACHE``, else the platform's own place."""
    place = os.environ.get("SYNTHRELEASE_CACHE") or platformdirs.user_cache_dir("synthrelease")
    return private_folder(Path(place))


def largest() -> int:
    """Return how many values one image or volume may unpack to: ``$SYNTHRELEASE_LARGEST``, else 2^28.

    Raises:
        SettingsError: The variable is no positive whole number.
    """
    given = os.environ.get(LARGEST, "").strip().replace("_", "").replace(",", "")
    if not given:
        return LARGEST_VALUES
    if not (given.isascii() and given.isdigit() and len(given) <= 15 and int(given) > 0):
        raise SettingsError(
            f"{LARGEST} is {given[:40]!r}, not a number of pixel values.", "Give a whole number, e.g. 1000000000."
        )
    return int(given)


def too_large(count: int, what: str = "it declares") -> str:
    """Return why a file of so many values is refused: its size, the limit, and the option that raises it."""
    return (
        f"{what} {count:,} values, more than the limit of {largest():,}: too large to be a scan "
        f"(if it is one, raise the limit with --largest or {LARGEST})"
    )


def refuse_foreign_array(described: str, images: int) -> None:
    """Raise ValueError unless a Zarr array (n, c, h, w) is stored as image sets are: other codecs might run code.

    Args:
        described: Text of the array's zarr.json.
        images: Most images a chunk.
    """
    about = json.loads(described)
    chunk = about["chunk_grid"]["configuration"]["chunk_shape"]
    codecs = {codec["name"] for codec in about["codecs"]}
    if about["zarr_format"] != 3 or about["data_type"] not in _NUMBERS or not codecs <= _CODECS or chunk[0] > images:
        raise ValueError("images.zarr holds other numbers, or is packed otherwise, than an image set's")
    for size in (math.prod(about["shape"][1:]), math.prod(chunk[1:])):
        if size > largest():
            raise ValueError(too_large(size, "its images declare"))


def text(value: object) -> str:
    """Return what must be text in a JSON document; TypeError says what it is."""
    if not isinstance(value, str):
        raise TypeError(f"{str(value)[:40]!r} is no text")
    return value


def three_numbers(values: Iterable[float]) -> tuple[float, float, float]:
    """Return what must be three finite numbers in a JSON document; ValueError or TypeError otherwise."""
    first, second, third = map(float, values)
    if not all(map(math.isfinite, (first, second, third))):
        raise ValueError("a number is not finite")
    return first, second, third


def private_folder(folder: Path) -> Path:
    """Create ``folder`` readable by its owner alone and return it."""
    refuse_writing(folder)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(PRIVATE)
    return folder


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it takes the final name only if the block succeeds."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:60]}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        partial = Path(name)
        try:
            yield partial
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def result(parent: Path, verb: str, made_from: object, make: Callable[[Path], None]) -> Path:
    """Return the folder ``parent/verb-<16 hex>``, made by ``make(partial_folder)`` if it is not there.

    The partial folder survives a crash under its own name, so ``make`` may continue what it finds
    in it. Only a finished folder gets the final name.
    """
    final = parent / f"{verb}-{digest(made_from)}"
    if final.is_dir():
        return final
    partial = private_folder(parent / f"{final.name}.partial")
    with disk_errors(partial), one_writer(partial):
        if final.is_dir():  # another process finished it while this one waited
            shutil.rmtree(partial, ignore_errors=True)
            return final
        make(private_folder(partial))
        write_text(partial / "made_from.json", json.dumps(made_from, indent=1, sort_keys=True, default=str))
        try:
            partial.replace(final)
        except OSError:
            if not final.is_dir():
                raise
            shutil.rmtree(partial, ignore_errors=True)  # finished by a process that knows no lock
    return final


def kept(
    parent: Path, verb: str, made_from: object, make: Callable[[Path], None], read: Callable[[Path], Made]
) -> Made:
    """Return what ``read`` finds in the result that ``make`` writes; a damaged result is made again, once, and said.

    Every file's SHA-256 is kept beside it, so that a flipped bit costs time and never changes an answer.
    """

    def sealed(partial: Path) -> None:
        make(partial)
        files = [path for path in sorted(partial.rglob("*")) if path.is_file() and path != partial / SEALS]
        seals = {path.relative_to(partial).as_posix(): sha256_of(path) for path in files}
        write_text(partial / SEALS, json.dumps(seals, indent=1))

    folder = result(parent, verb, made_from, sealed)
    try:
        if _intact(folder):
            return read(folder)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, EOFError, zipfile.BadZipFile):
        pass
    _LOG.warning("A damaged entry of the cache (%s) is made again.", folder.name)
    shutil.rmtree(folder)
    return read(result(parent, verb, made_from, sealed))


def _intact(folder: Path) -> bool:
    seals = json.loads((folder / SEALS).read_text(encoding="utf-8"))
    return all(sha256_of(folder / name) == sha256 for name, sha256 in seals.items())


@contextlib.contextmanager
def one_writer(folder: Path) -> Iterator[None]:
    """Let one process at a time write into ``folder``; others wait, and go on when it stops, however it stops."""
    locks = private_folder(cache_folder() / "locks")
    lock = FileLock(locks / digest(str(folder.absolute())), timeout=-1)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _LOG.warning("Another run is working on %s; waiting for it.", folder.name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full disk or a missing permission into an error with its remedy."""
    try:
        yield
    except PermissionError as error:
        raise StoreError(
            f"{error.filename or path} cannot be written: permission denied.",
            "Choose another --out folder, or set SYNTHRELEASE_CACHE to a folder that you own.",
        ) from error
    except (FileExistsError, NotADirectoryError) as error:
        raise StoreError(
            f"{error.filename or path} cannot be used: a file stands where a folder is needed.",
            "Choose another --out folder, or move that file away.",
        ) from error
    except OSError as error:
        cut_short = error.errno is None and str(error).endswith(" written")  # NumPy's own words for a full disk
        if cut_short or error.errno in {27, 28, 30, 36, 122}:  # EFBIG, ENOSPC, EROFS, ENAMETOOLONG, EDQUOT
            raise StoreError(
                f"{path} cannot be written: {'No space left on device' if cut_short else error.strerror}.",
                "Free some space or choose another place, then run the same command again: finished work is kept.",
            ) from error
        raise
