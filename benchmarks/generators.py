"""Training steps on a CPU: time per image of each kind of generator, over the time of its matrix products alone.

`python benchmarks/generators.py`. The baseline is the sum of the step's convolutions and matrix products, each timed
where it runs, in the same step: 1.0 would be a step that does nothing else. The data loader should take under 5 %.
Networks are narrow (at most 32 features; diffusion: 16 at the first level); 4 contrasts and a mask, batches of 8.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from synthrelease.generators.diffusion import DiffusionSettings, SamplingSettings
from synthrelease.generators.diffusion_training import DiffusionLearner, DiffusionTraining
from synthrelease.generators.gan_training import GanLearner, GanTraining
from synthrelease.generators.image_feed import ImageFeed
from synthrelease.generators.interface import NAMES
from synthrelease.generators.plans import changed, presets
from synthrelease.image_set import ImageRow, ImageSet, from_arrays
from synthrelease.training.running import Processes

BATCH = 8
LOADER_TARGET = 0.05
STEPS = 16  # as many as bring every lazy penalty once
PRODUCTS = {
    "convolution",
    "convolution_backward",
    "mm",
    "addmm",
    "bmm",
    "baddbmm",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention_for_cpu_backward",
}


class MatrixProducts(TorchDispatchMode):
    """Adds up the time of convolutions and matrix products, forward and backward."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ not in PRODUCTS:
            return func(*args, **(kwargs or {}))
        begun = time.perf_counter()
        found = func(*args, **(kwargs or {}))
        self.seconds += time.perf_counter() - begun
        return found


def smooth_images(resolution: int, count: int = 256) -> ImageSet:
    """Return 8-bit images of 4 contrasts and a mask, in memory as after the first epoch of a training."""
    random = np.random.default_rng(0)
    coarse = torch.from_numpy(random.random((count, 5, 8, 8), dtype=np.float32))
    fine = torch.nn.functional.interpolate(coarse, (resolution, resolution), mode="bilinear")
    rows = [ImageRow(f"image{i}", subject=str(i // 8)) for i in range(count)]
    return from_arrays((255 * fine).byte().numpy(), rows, channels=("T1", "T1ce", "T2", "FLAIR", "mask"))


def learner_of(name: str, resolution: int) -> Any:
    """Return a learner of narrow networks at their full resolution."""
    images = smooth_images(resolution)
    feed = ImageFeed(images, resolution=resolution, batch=BATCH, seed=0)
    around: dict[str, Any] = {"feed": feed, "channels": images.channels}
    around["together"] = Processes(0, 1, torch.device("cpu"))
    if name == "diffusion":
        network = DiffusionSettings(width=16, blocks=2, noise_steps=1000)
        return DiffusionLearner(network, DiffusionTraining(batch=BATCH), SamplingSettings(), **around)
    base = 512 if name in ("progan", "stylegan1") else 1024  # 32 features at 32 px, as many as at the levels below
    full = {"first_resolution": resolution} if name in ("progan", "stylegan1") else {}
    settings = changed(presets(name)["small"], {"channel_base": base, "channel_max": 32, **full}, BATCH)
    return GanLearner(name, settings, GanTraining(), **around)


def timed(learner: Any, repeats: int) -> dict[str, float]:
    """Return milliseconds per image: of a step, of its matrix products, of its images' loading."""
    for _ in range(2):
        learner.learn()
    whole, ratios, loading = [], [], []
    for _ in range(repeats):
        begun = time.perf_counter()
        for _ in range(STEPS):
            learner.learn()
        whole.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        for step in range(STEPS):
            learner.feed.at(step * BATCH, BATCH)
        loading.append((time.perf_counter() - begun) / whole[-1])
        begun = time.perf_counter()
        with MatrixProducts() as products:
            for _ in range(STEPS):
                learner.learn()
        ratios.append((time.perf_counter() - begun) / products.seconds)
    per_image = 1000 / STEPS / BATCH
    return {
        "step": statistics.median(whole) * per_image,
        "ratio": statistics.median(ratios),
        "loader": statistics.median(loading),
    }


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resolutions", nargs="+", type=int, default=[32, 64])
    parser.add_argument("--generators", nargs="+", default=list(NAMES), choices=NAMES)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(f"threads {torch.get_num_threads()}, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}")
    print(f"{'generator':<12}{'px':>4}{'step, ms/image':>16}{'step / products':>17}{'loader':>9}")
    missed = 0
    for name in options.generators:
        for resolution in options.resolutions:
            found = timed(learner_of(name, resolution), options.repeats)
            missed += found["loader"] >= LOADER_TARGET
            shown = f"{found['step']:>16.1f}{found['ratio']:>17.2f}{found['loader']:>9.1%}"
            print(f"{name:<12}{resolution:>4}{shown}", flush=True)
    print(f"The loader takes under {LOADER_TARGET:.0%} of a step: {'yes' if not missed else f'no, {missed} times'}")
    return missed


if __name__ == "__main__":
    raise SystemExit(main() > 0)
