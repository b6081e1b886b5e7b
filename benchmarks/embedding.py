"""Embedding throughput: ResNet-50 features from a prepared set on disk, over a bare forward pass of the same network.

`python benchmarks/embedding.py`. The baseline gets the network's input as ready tensors in memory, in the faster of the
two memory formats and in the same batches. The ratio should be at least 0.9: reading, scaling, resizing, checking and
caching together may cost a tenth.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from synthrelease.features import networks
from synthrelease.features.extract import features_of
from synthrelease.features.radimagenet import BATCH, RadImageNet, prepare
from synthrelease.image_set import ImageRow, ImageSet
from synthrelease.image_writer import ImageSetWriter

TARGET = 0.9
KINDS = ("wall", "processor")
SIZE = 240  # pixels, BraTS slices


def write_weights(path: Path) -> Path:
    """Write random weights in the layout of RadImageNet's PyTorch ResNet50."""
    torch.manual_seed(0)
    state = networks.build("resnet50", keras=False).state_dict()
    torch.save({name.replace("body.", "backbone."): tensor for name, tensor in state.items()}, path)
    return path


def write_set(folder: Path, count: int) -> ImageSet:
    """Write smooth 8-bit images: noise would not compress, real slices do."""
    random = np.random.default_rng(0)
    with ImageSetWriter(folder, ("FLAIR",)) as writer:
        for start in range(0, count, 16):
            some = min(16, count - start)
            coarse = torch.from_numpy(random.random((some, 1, 30, 30), dtype=np.float32))
            fine = torch.nn.functional.interpolate(coarse, (SIZE, SIZE), mode="bicubic").clamp(0, 1)
            rows = [ImageRow(f"{start + i}.png", subject=str(start)) for i in range(some)]
            writer.add(str(start), (255 * fine).byte().numpy(), rows)
        return writer.close()


class Clock:
    """Wall and processor seconds of a block; processor time does not suffer from other work on the machine."""

    def __enter__(self) -> Clock:
        self.wall, self.processor = -time.perf_counter(), -time.process_time()
        return self

    def __exit__(self, *error: object) -> None:
        self.wall += time.perf_counter()
        self.processor += time.process_time()


def from_disk(images: ImageSet, extractor: RadImageNet) -> Clock:
    """Time features_of into an empty cache."""
    with tempfile.TemporaryDirectory() as cache, Clock() as clock:
        features_of(
            images,
            extractor,
            prepare=lambda block: block.astype(np.float32) / 255,
            key="divided by 255",
            cache=Path(cache),
        )
    return clock


def bare(extractor: RadImageNet, count: int, memory_format: torch.memory_format) -> Clock:
    """Time the forward pass alone on one ready batch, as often as the set has batches."""
    grey = torch.from_numpy(np.random.default_rng(0).random((BATCH, 1, SIZE, SIZE), dtype=np.float32))
    batch = prepare(grey, keras=False).to(extractor.on.device).contiguous(memory_format=memory_format)
    network = extractor.on.network.to(memory_format=memory_format)
    with torch.inference_mode(), Clock() as clock:
        for _ in range(count // BATCH):
            network(batch).cpu()  # the copy waits for the GPU, where there is one
    extractor.on.network.to(memory_format=torch.channels_last)
    return clock


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--images", type=int, default=128, help="a multiple of 32")
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--threads", type=int, default=torch.get_num_threads())
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    with tempfile.TemporaryDirectory() as folder:
        extractor = RadImageNet("radimagenet-resnet50", write_weights(Path(folder) / "ResNet50.pt"))
        images = write_set(Path(folder) / "set", chosen.images)
        formats = (torch.channels_last, torch.contiguous_format)
        bare(extractor, BATCH, formats[0])  # warm up
        fastest = min(formats, key=lambda form: bare(extractor, BATCH, form).processor)
        pairs = [  # side by side, so that a busy machine slows both
            (bare(extractor, chosen.images, fastest), from_disk(images, extractor)) for _ in range(chosen.repeats)
        ]
    where = f"{extractor.on.device}, {chosen.threads} of {os.cpu_count()} cores"
    print(f"ResNet-50, {chosen.images} images of {SIZE}x{SIZE}, {where}")
    print(f"{'images per second, median':<28}{'wall':>10}{'processor':>12}")
    for number, name in enumerate(("bare forward pass, memory", "features_of, disk to cache")):
        wall, processor = (chosen.images / statistics.median(getattr(p[number], k) for p in pairs) for k in KINDS)
        print(f"{name:<28}{wall:>10.2f}{processor:>12.2f}")
    wall, processor = (statistics.median(getattr(p[0], k) / getattr(p[1], k) for p in pairs) for k in KINDS)
    print(f"{'ratio (at least ' + str(TARGET) + ')':<28}{wall:>10.3f}{processor:>12.3f}")


if __name__ == "__main__":
    main()
