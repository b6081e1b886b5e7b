"""How long does the exact search of as many synthetic as train images take, and what memory does it need?

    python benchmarks/scale.py [--images 100000] [--width 128] [--shard 25000] [--cluster local:2]

Features are random: the search is exact, so its time does not depend on them. Prints seconds, the rate, peak memory of
this process, and whether the answers in shards are those of one index (the baseline, timed in the same run).
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from synthrelease import workers
from synthrelease.privacy.neighbours import Index, Queries, nearest_across, shards_of

NEIGHBOURS = 5


def features(count: int, width: int, seed: int) -> np.ndarray:
    """Return unit vectors (count, width), as whitening gives them."""
    table = np.random.default_rng(seed).standard_normal((count, width), dtype=np.float32)
    return table / np.linalg.norm(table, axis=1, keepdims=True)


def timed(title: str, images: int, search: Callable[[], tuple[Any, Any]]) -> tuple[Any, Any]:
    """Run a search and print what it took."""
    begun = time.perf_counter()
    found = search()
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{title:24} {seconds:8.1f} s  {images / seconds:8.0f} queries/s  peak {peak:.2f} GiB", flush=True)
    return found


def main() -> None:
    """Search in shards, then in one index, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000, help="on each side")
    parser.add_argument("--width", type=int, default=128, help="features; the audit searches in 128 whitened ones")
    parser.add_argument("--shard", type=int, default=25_000, help="references in a shard")
    parser.add_argument("--cluster", default="", help="as of `synthrelease audit`")
    options = parser.parse_args()
    train, made = (features(options.images, options.width, seed) for seed in (0, 1))
    print(f"{options.images} x {options.images}, {options.width} features, {NEIGHBOURS} neighbours")
    with workers.opened(options.cluster) as who:
        shards = shards_of(train, options.shard)
        queries = Queries(made, NEIGHBOURS)
        where = f"on {options.cluster}" if options.cluster else "in shards, one by one"
        in_shards = timed(where, options.images, lambda: nearest_across(shards, queries, who))
    in_one = timed("in one index", options.images, lambda: Index(train).nearest(made, NEIGHBOURS))
    same = float((in_shards[0] == in_one[0]).mean())
    print(f"the same neighbours: {same:.6%}; distances differ by at most {np.abs(in_shards[1] - in_one[1]).max():.1e}")


if __name__ == "__main__":
    main()
