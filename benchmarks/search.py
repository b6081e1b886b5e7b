"""Search: time over a raw FAISS flat search of the same arrays, and peak memory over the features' own size.

    python benchmarks/search.py   # 20,000 queries and their mirrors, 20,000 references, 2,048 features

Claims: time ratio at most 1.15; memory above the process after imports under 2.5 times the features' own size.
Each measurement runs in a process of its own, because FAISS and BLAS keep buffers.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

import faiss
import numpy as np

from synthrelease.privacy.neighbours import Index

K = 4


def features(count: int, width: int, seed: int) -> np.ndarray:
    """Return features of which no pair is alike, far from the origin as pooled network features are."""
    random = np.random.default_rng(seed)
    table = np.empty((count, width), np.float32)
    for start in range(0, count, 1000):
        stop = min(start + 1000, count)
        table[start:stop] = random.standard_normal((stop - start, width), dtype=np.float32)
    table += 2
    return table


def ours(references: np.ndarray, queries: np.ndarray, mirrored: np.ndarray | None) -> None:
    Index(references).nearest(queries, K, mirrored)


def raw(references: np.ndarray, queries: np.ndarray, mirrored: np.ndarray | None) -> None:
    index = faiss.IndexFlatL2(references.shape[1])
    index.add(references)
    index.search(queries, K)
    if mirrored is not None:
        index.search(mirrored, K)


def measure(what: str, count: int, width: int, with_mirrors: bool) -> dict[str, Any]:
    """Return seconds, processor seconds and peak memory above the process after imports."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    references, queries = features(count, width, 1), features(count, width, 2)
    mirrored = features(count, width, 3) if with_mirrors else None
    start, processor = time.perf_counter(), time.process_time()
    {"ours": ours, "raw": raw}[what](references, queries, mirrored)
    taken = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    own = sum(table.nbytes for table in (references, queries, mirrored) if table is not None)
    return {"seconds": taken, "processor": time.process_time() - processor, "peak": peak, "own": own}


def in_process(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", *arguments]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--width", type=int, default=2_048)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--child", nargs=3, metavar=("WHAT", "COUNT", "MIRRORS"))
    options = parser.parse_args()
    if options.child:
        what, count, mirrors = options.child
        print(json.dumps(measure(what, int(count), options.width, mirrors == "1")))
        return
    rows = [
        (in_process("ours", str(options.count), "1"), in_process("raw", str(options.count), "1"))
        for _ in range(options.repeats)
    ]
    for name in ("seconds", "processor"):
        ratios = sorted(mine[name] / theirs[name] for mine, theirs in rows)
        print(
            f"{name:<10} ours {min(r[0][name] for r in rows):7.1f}  raw FAISS {min(r[1][name] for r in rows):7.1f}  "
            f"ratio median {ratios[len(ratios) // 2]:.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"
        )
    plain = in_process("ours", str(options.count), "0")
    print(
        f"peak memory without mirrors: {plain['peak'] / 1e6:.0f} MB, {plain['peak'] / plain['own']:.2f} times the "
        f"features' own {plain['own'] / 1e6:.0f} MB (queries and references)"
    )
    full = rows[0][0]
    print(
        f"peak memory with mirrors:    {full['peak'] / 1e6:.0f} MB, {full['peak'] / full['own']:.2f} times "
        f"{full['own'] / 1e6:.0f} MB"
    )


if __name__ == "__main__":
    main()
