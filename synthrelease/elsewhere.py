"""Pixels on disk that a worker of a cluster reads: the same pixels there as here, or an error."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from synthrelease.errors import ScanError


def elsewhere(pixels: Any) -> Any:
    """Return pixels (n, c, h, w) on disk for another machine, with a sample of what they look like on this one."""
    return _Elsewhere(pixels, _sample(pixels))


class _Elsewhere:
    """Read like the array itself; a disk that is not there would read as zeros, so the sample is compared first."""

    def __init__(self, pixels: Any, sample: str) -> None:
        self._pixels, self._sample = pixels, sample
        self.shape, self.ndim, self.dtype = pixels.shape, pixels.ndim, pixels.dtype

    def _checked(self) -> Any:
        if self._sample and _sample(self._pixels) != self._sample:
            raise ScanError(
                f"A worker does not see the same images in {getattr(self._pixels, 'store', 'their folder')}.",
                "Put image sets and the cache where every worker reads them under the same path, or on object storage.",
            )
        self._sample = ""  # once on each worker
        return self._pixels

    def __getitem__(self, rows: Any) -> Any:
        return self._checked()[rows]

    @property
    def oindex(self) -> Any:
        return self._checked().oindex


def _sample(pixels: Any) -> str:
    """Return the SHA-256 of the first, the middle and the last image."""
    count, sha = pixels.shape[0], hashlib.sha256()
    for row in sorted({0, count // 2, count - 1}) if count else ():
        sha.update(np.ascontiguousarray(pixels[row : row + 1]).data)
    return sha.hexdigest()
