"""How much a compressed file would unpack to, found out piece by piece before any reader unpacks it whole.

Deflate can pack 1,032 to 1 and LZMA 7,000 to 1. Readers that trust the bytes would fill the memory; here at most a
mebibyte is held.
"""

from __future__ import annotations

import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterable
from typing import IO, Protocol

from synthrelease import store
from synthrelease.scans.blocks import Unusable

DEFLATE_AT_MOST, LZMA_AT_MOST = 1032, 8000  # to 1: what stays below the limit by this factor needs no second look
WIDEST = 8  # bytes of the widest number that is read
_SUSPICIOUS = 100  # to 1: scans pack 2 to 20 to 1; empty masks more, but those are small
_PIECE = 1 << 20


class Unpacker(Protocol):
    """What zlib and lzma have in common, called the same."""

    def feed(self, packed: bytes) -> tuple[int, bool]:
        """Unpack and drop; return how many bytes came out, and whether more waits for another call with b''."""


class Deflate:
    """Counts what a deflate stream unpacks to."""

    def __init__(self, kind: int) -> None:
        self._stream = zlib.decompressobj(kind)

    def feed(self, packed: bytes) -> tuple[int, bool]:
        """See `Unpacker`."""
        out = self._stream.decompress(self._stream.unconsumed_tail + packed, _PIECE)
        return len(out), bool(self._stream.unconsumed_tail) or len(out) == _PIECE


class Lzma:
    """Counts what an LZMA stream unpacks to."""

    def __init__(self) -> None:
        self._stream = lzma.LZMADecompressor(memlimit=256 << 20)

    def feed(self, packed: bytes) -> tuple[int, bool]:
        """See `Unpacker`."""
        if self._stream.eof:
            return 0, False
        out = self._stream.decompress(packed, _PIECE)
        return len(out), not self._stream.eof and not self._stream.needs_input


def check_unpacked(streams: Iterable[Iterable[bytes]], unpacker: Callable[[], Unpacker]) -> None:
    """Refuse streams that together unpack to more than `store.largest` values of eight bytes.

    Raises:
        Unusable: too much, or a damaged stream.
    """
    most, size = store.largest() * WIDEST, 0
    try:
        for stream in streams:
            one = unpacker()
            for packed in stream:
                more: bool = True
                while more:
                    count, more = one.feed(packed)
                    packed, size = b"", size + count
                    if size > most:
                        raise Unusable(store.too_large(size // WIDEST, "it unpacks to over"))
    except (zlib.error, lzma.LZMAError, EOFError) as error:
        raise Unusable(f"its compressed data is damaged ({error})") from error


def check_members(archive: zipfile.ZipFile) -> None:
    """Refuse an archive with a member that unpacks beyond the limit from next to nothing.

    Large stacks are read in pieces and may exceed the limit; a hundredfold compression of so much is no image.
    """
    for item in archive.infolist():
        if item.file_size > store.largest() * WIDEST and item.file_size > _SUSPICIOUS * max(item.compress_size, 1):
            raise Unusable(store.too_large(item.file_size // WIDEST, f"its member {item.filename[:60]!r} unpacks to"))


def read_at_most(stream: IO[bytes], count: int) -> bytes:
    """Return ``count`` bytes of a stream, or fewer where it ends; memory grows with what is there."""
    pieces: list[bytes] = []
    while count > 0:
        piece = stream.read(min(count, _PIECE))
        if not piece:
            break
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)
