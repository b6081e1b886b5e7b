"""How much memory does an audit take, and how long, as train grows?

    python benchmarks/audit_memory.py [--train 2000 20000] [--synthetic 300] [--memory 2GB] [--size 64]

Writes image sets of made-up heads (mixtures of phantoms, so that no two are alike), audits them with the command in a
process of its own, and looks at that process ten times a second. "Own" is what the process holds (RssAnon); what it has
mapped from the cache (RssFile) is the system's to take back. The last line is the growth for each 1,000 train images.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from synthrelease.image_set import ImageRow
from synthrelease.image_writer import ImageSetWriter
from synthrelease.phantom.cohort import make_slices

MODELS = 60  # phantoms that are mixed
SLICES = 4  # of a subject
CHANNELS = ("T1", "T1ce", "T2", "FLAIR", "mask")
HOLDOUT = 200


def heads(size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return phantom slices (models, slices, 4, s, s) in 0 to 255, and their masks."""
    made = [make_slices(seed=seed, index=i, size=size, count=SLICES) for i in range(MODELS)]
    images = np.stack([images / images.max((0, 2, 3), keepdims=True) for images, _ in made])
    return (255 * np.clip(images, 0, 1)).astype(np.float32), np.stack([51 * masks for _, masks in made])


def write(folder: Path, count: int, name: str, size: int, seed: int) -> Path:
    """Write ``count`` images: each subject a mixture of three heads that no other role has, with noise."""
    random = np.random.default_rng(seed)
    images, masks = heads(size, seed)
    with ImageSetWriter(folder, CHANNELS) as writer:
        for number in range(-(-count // SLICES)):
            chosen, shares = random.choice(MODELS, 3, replace=False), random.dirichlet([1, 1, 1])
            mixed = np.tensordot(shares, images[chosen], 1) + random.normal(0, 2, images.shape[1:])
            pixels = np.concatenate([np.clip(mixed, 0, 255), masks[chosen[0]][:, None]], axis=1).astype(np.uint8)
            subject = "" if name == "made" else f"{name}{number}"
            rows = [ImageRow(f"{name}{number}_{i}", subject, i) for i in range(SLICES)]
            writer.add(f"{name}{number}", pixels, rows)
        writer.close()
    return folder


def watched(command: list[str], environment: dict[str, str]) -> tuple[float, float, float]:
    """Run a command and return seconds, and the peaks of its own and of its mapped memory in GiB."""
    begun, own, mapped = time.perf_counter(), 0, 0
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        try:
            status = dict(line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
            own = max(own, int(status.get("RssAnon", "0 kB").split()[0]))
            mapped = max(mapped, int(status.get("RssFile", "0 kB").split()[0]))
        except (OSError, ValueError):
            pass  # it has just ended
        time.sleep(0.1)
    if process.returncode not in (0, 3, 4):
        raise SystemExit(f"the audit ended with {process.returncode}")
    return time.perf_counter() - begun, own / 2**20, mapped / 2**20


def main() -> None:
    """Print a line for each size of train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=int, nargs="+", default=[2000, 20_000])
    parser.add_argument("--synthetic", type=int, default=300)
    parser.add_argument("--memory", default="2GB")
    parser.add_argument("--size", type=int, default=64)
    options = parser.parse_args()
    print(
        f"{options.synthetic} synthetic images, {HOLDOUT} of the holdout, {options.size} px, --memory {options.memory}"
    )
    found = []
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        holdout = write(root / "holdout", HOLDOUT, "holdout", options.size, 1)
        made = write(root / "made", options.synthetic, "made", options.size, 2)
        for count in options.train:
            train = write(root / f"train{count}", count, "train", options.size, 3)
            command = [sys.executable, "-m", "synthrelease", "audit", "--train", str(train), "--holdout", str(holdout)]
            command += ["--synthetic", str(made), "--out", str(root / f"out{count}"), "--memory", options.memory]
            environment = os.environ | {"SYNTHRELEASE_CACHE": str(root / f"cache{count}")}
            seconds, own, mapped = watched(command, environment)
            cache = sum(file.stat().st_blocks * 512 for file in (root / f"cache{count}").rglob("*") if file.is_file())
            found.append((count, own))
            print(
                f"train {count:8,}: {seconds:7.0f} s, own {own:.2f} GiB, mapped {mapped:.2f} GiB, "
                f"cache {cache / 2**30:.2f} GiB",
                flush=True,
            )
    if len(found) > 1:
        (few, low), (many, high) = found[0], found[-1]
        print(f"growth: {(high - low) * 2**20 / (many - few):.1f} MiB for 1,024 train images")


if __name__ == "__main__":
    main()
