"""All that a GPU changes, in one table: embedding, training steps and sampling of every generator, exact search.

    python benchmarks/gpu.py [--json FILE] [--batch N] [--seconds-per-row 6] [--only embedding training]
    python benchmarks/gpu.py --tiny        # every row at 32 px and narrow, on a CPU too: shows that it runs, no more

Generators have their default configurations at 256 px and 5 channels, growing ones fully grown; their weights are
random, which changes no time. Each row is warmed up and then measured until its seconds are over, with the device
waited for before the clock is read; GANs with lazy penalties in whole cycles of them. Training in 32 bits lets cuDNN
use TF32, as torch does by itself; embedding in full precision does not. Peak memory is what torch allocated at most.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from embedding import from_disk, write_set, write_weights
from generators import smooth_images
from rows import HEADER, Bench, Work

from synthrelease.features.copy_encoder import CopyEncoder
from synthrelease.features.on_device import PRECISION
from synthrelease.features.radimagenet import RadImageNet
from synthrelease.generators import diffusion, gan_sampling
from synthrelease.generators.diffusion import DiffusionSettings, SamplingSettings
from synthrelease.generators.diffusion_training import DiffusionLearner, DiffusionTraining
from synthrelease.generators.gan_sampling import GanSampling
from synthrelease.generators.gan_training import GanLearner, GanTraining
from synthrelease.generators.image_feed import ImageFeed
from synthrelease.generators.interface import NAMES, build_networks
from synthrelease.generators.plans import changed, configured
from synthrelease.generators.sampling import as_released
from synthrelease.privacy.neighbours import Index
from synthrelease.settings import Settings
from synthrelease.training.running import Precision, Processes

PARTS = ("embedding", "training", "sampling", "search")
PRECISIONS: tuple[Precision, ...] = ("none", "bf16")
CHANNELS = ("T1", "T1ce", "T2", "FLAIR", "mask")
GROWING = ("progan", "stylegan1")
BATCH, BATCHES = 8, {"stylegan3": 4}  # training images a step that fit into 40 GB; StyleGAN 3 takes 4.4 GiB for each
NEIGHBOURS = 5


@dataclass(frozen=True)
class Sizes:
    """How large everything is."""

    resolution: int  # of generators, pixels
    embedded: int  # images a step from memory
    on_disk: int  # images of the set on disk
    searched: int  # on each side
    width: int  # of searched features
    narrow: bool  # small networks instead of the default configurations


FULL = Sizes(resolution=256, embedded=512, on_disk=1024, searched=100_000, width=128, narrow=False)
TINY = Sizes(resolution=32, embedded=2, on_disk=2, searched=2_000, width=16, narrow=True)


@contextlib.contextmanager
def asking(precision: str) -> Iterator[None]:
    """Have extractors that are made meanwhile use a precision."""
    before = os.environ.get(PRECISION)
    os.environ[PRECISION] = precision
    try:
        yield
    finally:
        del os.environ[PRECISION]
        if before is not None:
            os.environ[PRECISION] = before


def embedding(bench: Bench, sizes: Sizes, *, compiled: bool) -> None:
    """Add the rows of embedding: ResNet-50 from memory and from disk, the copy encoder."""
    random = np.random.default_rng(0)
    slices = random.random((sizes.embedded, 1, 240, 240), dtype=np.float32)
    heads = random.random((sizes.embedded // 2, 4, 128, 128), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        weights = write_weights(Path(folder) / "ResNet50.pt")
        images = write_set(Path(folder) / "set", sizes.on_disk)

        def resnet(precision: str, compiles: bool = False) -> RadImageNet:
            with asking(precision):
                extractor = RadImageNet("radimagenet-resnet50", weights)
            if compiles:
                extractor.on.network = torch.compile(extractor.on.network)
            return extractor

        def from_memory(precision: str, compiles: bool) -> Work:
            return Work(partial(resnet(precision, compiles).embed, slices))

        def to_cache(precision: str) -> Work:
            return Work(partial(from_disk, images, resnet(precision)))

        def copies(precision: str) -> Work:
            with asking(precision):
                return Work(partial(CopyEncoder().embed, heads))

        for precision in ("full", "bf16"):
            for compiles in (False, True) if compiled else (False,):
                name = "ResNet-50, torch.compile" if compiles else "ResNet-50"
                make = partial(from_memory, precision, compiles)
                bench.row(("embedding", name, precision), len(slices), make, may_fail=compiles)
            what = ("embedding", "ResNet-50, disk to cache", precision)
            bench.row(what, len(images), partial(to_cache, precision))
            what = ("embedding", "copy encoder, 4 contrasts", precision)
            bench.row(what, len(heads), partial(copies, precision))


def settings_of(name: str, sizes: Sizes, batch: int) -> tuple[str, Settings]:
    """Return the name and settings of the networks that are measured, fully grown from the first step."""
    if sizes.narrow and name == "diffusion":
        return "narrow", DiffusionSettings(width=8, blocks=1, multipliers=(1, 2), attention=(16,), noise_steps=100)
    config, settings = configured(name, "small" if sizes.narrow else None)
    changes: dict[str, Any] = {"channel_base": 512, "channel_max": 16, "latent": 32} if sizes.narrow else {}
    if name in GROWING:
        changes["first_resolution"] = sizes.resolution
    return config, changed(settings, changes, batch)


def learner_of(name: str, sizes: Sizes, *, batch: int, precision: Precision, device: torch.device) -> Any:
    """Return a learner that takes full steps of ``batch`` images."""
    _, settings = settings_of(name, sizes, batch)
    feed = ImageFeed(smooth_images(sizes.resolution, count=64), resolution=sizes.resolution, batch=batch, seed=0)
    around: dict[str, Any] = {"feed": feed, "channels": CHANNELS, "together": Processes(0, 1, device)}
    if isinstance(settings, DiffusionSettings):
        how = DiffusionTraining(batch=batch, precision=precision)
        return DiffusionLearner(settings, how, SamplingSettings(), **around)
    return GanLearner(name, settings, GanTraining(precision=precision), **around)


def cycle_of(learner: Any) -> int:
    """Return the steps after which every lazy penalty of a learner has come as often as it should."""
    game = getattr(learner, "game", None)
    lazy = () if game is None else (game.lazy_penalty, game.lazy_path)
    return math.lcm(*(penalty.interval for penalty in lazy if penalty is not None))


def training(bench: Bench, sizes: Sizes, *, asked: int | None, names: Sequence[str]) -> None:
    """Add a row for the training step of each generator and precision, of as many images as asked for."""

    def made(name: str, batch: int, precision: Precision) -> Work:
        learner = learner_of(name, sizes, batch=batch, precision=precision, device=bench.device)
        return Work(learner.learn, cycle=cycle_of(learner))

    for name in names:
        batch = asked or BATCHES.get(name, BATCH)
        what = f"{name} {settings_of(name, sizes, batch)[0]}, {sizes.resolution} px"
        for precision in PRECISIONS:
            bench.row(("training", what, shown(precision)), batch, partial(made, name, batch, precision))


def shown(precision: Precision) -> str:
    """Return a training's precision as it is printed."""
    return "fp32" if precision == "none" else precision


def sampler_of(name: str, sizes: Sizes, *, lanes: int, steps: int, precision: Precision, device: torch.device) -> Work:
    """Return the sampling of ``lanes`` images as they would be released, by an untrained network."""
    _, settings = settings_of(name, sizes, 8)
    made = build_networks(name, settings, channels=len(CHANNELS), resolution=sizes.resolution)
    network = made["denoiser" if name == "diffusion" else "generator"].to(device).eval().requires_grad_(False)
    shape = (len(CHANNELS), sizes.resolution, sizes.resolution)

    def sample(steps: int) -> None:
        if isinstance(settings, DiffusionSettings):
            how = SamplingSettings(steps=steps, precision=precision, lanes=lanes)
            found = diffusion.images_of(network, range(lanes), settings, how, shape=shape)
        else:
            gan = GanSampling(precision=precision, lanes=lanes)
            found = gan_sampling.images_of(network, range(lanes), gan, resolution=sizes.resolution)
        for batch in found:
            as_released(batch, mask=CHANNELS.index("mask"))

    return Work(partial(sample, steps), warm_up=partial(sample, 2))


def sampling(bench: Bench, sizes: Sizes, *, lanes: int, names: Sequence[str]) -> None:
    """Add a row for the sampling of each generator and precision; of diffusion for 25 and for 50 steps."""
    for name in names:
        for steps in (25, 50) if name == "diffusion" else (0,):
            what = f"{name}, {steps} steps" if steps else name
            for precision in PRECISIONS:
                make = partial(
                    sampler_of, name, sizes, lanes=lanes, steps=steps, precision=precision, device=bench.device
                )
                bench.row(("sampling", f"{what}, {sizes.resolution} px", shown(precision)), lanes, make)


def search(bench: Bench, sizes: Sizes) -> None:
    """Add the row of the exact search, index and distances in double precision included."""
    random = np.random.default_rng(0)
    train, made = (random.standard_normal((sizes.searched, sizes.width), dtype=np.float32) for _ in range(2))
    few = Work(
        lambda: Index(train).nearest(made, NEIGHBOURS), warm_up=lambda: Index(train[:999]).nearest(made[:9], NEIGHBOURS)
    )
    what = f"{sizes.searched:,} x {sizes.searched:,} x {sizes.width}"
    bench.row(("search", what, ""), sizes.searched, lambda: few)


def about(device: torch.device) -> dict[str, str]:
    """Return what the numbers depend on."""
    found = {"device": "CPU: these numbers say nothing about a GPU", "torch": torch.__version__}
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory / 2**30
        found["device"] = f"{torch.cuda.get_device_name(device)}, {memory:.0f} GiB"
        found |= {"CUDA": str(torch.version.cuda), "cuDNN": str(torch.backends.cudnn.version())}
    return found | {"processor cores": str(os.cpu_count())}


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="32 px and narrow networks, on a CPU too")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts of the table")
    parser.add_argument("--generators", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--batch", type=int, help="images a training step; by default 8, of stylegan3 4, for 40 GB")
    parser.add_argument("--lanes", type=int, default=16, help="images sampled at once")
    parser.add_argument("--seconds-per-row", type=float, default=6.0)
    parser.add_argument("--minutes", type=float, default=9.0, help="no row is begun after them")
    parser.add_argument("--no-compile", action="store_true", help="leave out the rows with torch.compile")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 where a row failed, or where there is no GPU and no --tiny."""
    options = options_of(arguments)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not options.tiny:
        print("PyTorch sees no GPU here. `--tiny` runs every row at small sizes, on a CPU too.")
        return 1
    sizes = TINY if options.tiny else FULL
    bench = Bench(device, options.seconds_per_row, time.monotonic() + 60 * options.minutes)
    facts = about(device)
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    print(HEADER)
    if "embedding" in options.only:
        embedding(bench, sizes, compiled=not options.no_compile)
    if "training" in options.only:
        training(bench, sizes, asked=options.batch, names=options.generators)
    if "sampling" in options.only:
        sampling(bench, sizes, lanes=options.lanes, names=options.generators)
    if "search" in options.only:
        search(bench, sizes)
    if options.json is not None:
        document = {"about": facts, "tiny": options.tiny, "rows": [asdict(row) for row in bench.rows]}
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return int(bench.failed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
