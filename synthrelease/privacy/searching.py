"""The nearest of one part of the references, by the fastest exact search there is: FAISS, on a GPU where one is.

Distances of a search only choose candidates: `neighbours` computes them again in float64 and orders by these, so that
every way of searching gives the same answer.
"""

from __future__ import annotations

import threading
from typing import Any, Protocol

import faiss
import numpy as np
import torch
from numpy.typing import NDArray

QUERIES_AT_ONCE = 4096  # on a GPU: with a part of 16,384 references 256 MiB of distances
FREE = 0.5  # share of the GPU's free memory that a part may take to stay there

Found = tuple[NDArray[np.float32], NDArray[np.int64]]


class Search(Protocol):
    """Finds neighbours in parts of the references."""

    def nearest(self, number: int, part: NDArray[np.float32], queries: NDArray[np.float32], k: int) -> Found:
        """Return squared distances and rows (m, k) of the nearest of a part (n, d), nearest first.

        Args:
            number: Of the part: under one number it is always the same.
            part: (n, d), contiguous; n >= k.
            queries: (m, d), contiguous.
            k: Neighbours.
        """


class OnProcessor:
    """FAISS on the CPU."""

    def nearest(self, number: int, part: NDArray[np.float32], queries: NDArray[np.float32], k: int) -> Found:
        """Return squared distances and rows (m, k) of the nearest of a part (n, d), nearest first."""
        distances, rows = faiss.knn(queries, part, k)
        return distances, rows


class ByFaissGpu:
    """FAISS on a GPU, one call at a time: its resources are not safe for threads, and hold much of the GPU's memory."""

    _lock = threading.Lock()
    _resources: Any = None  # one for all searches

    def nearest(self, number: int, part: NDArray[np.float32], queries: NDArray[np.float32], k: int) -> Found:
        """Return squared distances and rows (m, k) of the nearest of a part (n, d), nearest first."""
        with self._lock:
            if ByFaissGpu._resources is None:
                ByFaissGpu._resources = faiss.StandardGpuResources()
            distances, rows = faiss.knn_gpu(ByFaissGpu._resources, queries, part, k)
        return distances, rows


class ByProducts:
    """Matrix products in single precision on a torch device; parts stay there while there is room."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._there: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def nearest(self, number: int, part: NDArray[np.float32], queries: NDArray[np.float32], k: int) -> Found:
        """Return squared distances and rows (m, k) of the nearest of a part (n, d), nearest first."""
        known = self._there.get(number)
        if known is None:
            there = torch.tensor(part, device=self.device)
            known = there, there.square().sum(1)
            if self._has_room(part.nbytes):
                self._there[number] = known
        references, lengths = known
        distances, rows = [], []
        for start in range(0, len(queries), QUERIES_AT_ONCE):
            asked = torch.tensor(queries[start : start + QUERIES_AT_ONCE], device=self.device)
            squares = torch.addmm(lengths, asked, references.T, alpha=-2)
            far, found = squares.topk(k, dim=1, largest=False)
            distances.append((far + asked.square().sum(1, keepdim=True)).clamp(min=0).cpu().numpy())
            rows.append(found.cpu().numpy())
        return np.concatenate(distances), np.concatenate(rows)

    def _has_room(self, size: int) -> bool:
        return self.device.type != "cuda" or size < FREE * torch.cuda.mem_get_info(self.device)[0]


def fastest() -> Search:
    """Return the fastest search here: `faiss-gpu` where it is installed, else torch on a GPU, else FAISS on the CPU."""
    if hasattr(faiss, "knn_gpu") and hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0:
        return ByFaissGpu()
    if torch.cuda.is_available():
        return ByProducts(torch.device("cuda"))
    return OnProcessor()
