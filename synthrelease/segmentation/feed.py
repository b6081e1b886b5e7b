"""Training images as an endless stream, real and synthetic in a fixed proportion, every place a function of the seed.

Place p of the stream is real when share * p passes a whole number there, so any stretch of it has the proportion
that was asked for. Within a source an epoch is a shuffle; where a set exceeds the memory, neighbouring chunks of
images are shuffled together, and the next ones are read while these are used.
"""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from torch import Tensor

from synthrelease import seeds
from synthrelease.errors import SegmentationError
from synthrelease.image_set import IMAGES_PER_CHUNK, MASK, ImageSet
from synthrelease.segmentation.augmentation import AugmentSettings, augmented
from synthrelease.segmentation.labels import Labels
from synthrelease.segmentation.mixing import Mix, Source

FAINT = 0.02  # of an image's range: generators leave a background that is dark, but not zero
_AHEAD = 2  # batches made while one is learnt from
_ASPECT = 0.02  # two sets' width to height may differ by this share


@dataclass(frozen=True)
class Reader:
    """How image sets become what a network takes: contrasts by name, one size, classes."""

    contrasts: tuple[str, ...]
    size: tuple[int, int]  # height and width, pixels
    labels: Labels

    def check(self, images: ImageSet, name: str) -> None:
        """Raise unless an image set has the contrasts, masks and the shape.

        Raises:
            SegmentationError: With every problem.
        """
        problems = []
        missing = [c for c in self.contrasts if c not in images.channels]
        if missing:
            problems.append(f"The {name} images lack the contrasts {', '.join(missing)}.")
        if MASK not in images.channels:
            problems.append(f"The {name} images have no mask.")
        aspect = (images.size[0] / images.size[1]) / (self.size[0] / self.size[1])
        if abs(aspect - 1) > _ASPECT:
            problems.append(f"The {name} images are {_by(images.size)} pixels, which do not scale to {_by(self.size)}.")
        if problems:
            raise SegmentationError(" ".join(problems), "Prepare all sets in the same way.")

    def pixels(self, block: NDArray[Any], channels: tuple[str, ...]) -> NDArray[Any]:
        """Return contrasts of stored pixels (k, c, h, w), resized, in the type they are stored in (floats: float32)."""
        wanted = block[:, [channels.index(name) for name in self.contrasts]]
        whole = wanted.dtype.kind in "ui" and wanted.dtype.itemsize == 1
        if wanted.shape[2:] == self.size:
            return wanted if whole else wanted.astype(np.float32)
        values = torch.from_numpy(np.ascontiguousarray(wanted).astype(np.float32))
        made = functional.interpolate(values, self.size, mode="bilinear", align_corners=False, antialias=True)
        return made.round().clamp(0, 255).byte().numpy() if whole else made.numpy()

    def classes(self, block: NDArray[Any], channels: tuple[str, ...]) -> NDArray[np.uint8]:
        """Return the classes (k, h, w) of stored pixels, resized."""
        found = self.labels.of(block[:, channels.index(MASK)])
        if found.shape[1:] == self.size:
            return found
        resized = functional.interpolate(torch.from_numpy(found)[:, None].float(), self.size, mode="nearest-exact")
        return resized[:, 0].byte().numpy()


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def standardised(pixels: NDArray[Any]) -> Tensor:
    """Return images (k, c, h, w) whose foreground has mean 0 and sd 1, each contrast of each image by itself.

    Background, and a contrast without anything on it, is 0. Foreground is what is brighter than the darkest pixel by
    2 % of the range.

    Raises:
        SegmentationError: Pixels are not finite.
    """
    values = torch.from_numpy(np.ascontiguousarray(pixels)).float()
    if not bool(torch.isfinite(values).all()):
        raise SegmentationError("Some pixels are not finite.", "Prepare the images again from clean scans.")
    low, high = values.amin((2, 3), keepdim=True), values.amax((2, 3), keepdim=True)
    shown = values > low + FAINT * (high - low)
    count = shown.sum((2, 3), keepdim=True).clamp(min=1)
    mean = (values * shown).sum((2, 3), keepdim=True) / count
    spread = (((values - mean) ** 2) * shown).sum((2, 3), keepdim=True).div(count).sqrt()
    spread = torch.where(spread > 0, spread, torch.ones_like(spread))
    return torch.where(shown, (values - mean) / spread, torch.zeros_like(values))


class _Stream:
    """One source in an endless order, held in memory as far as it may be."""

    def __init__(self, source: Source, reader: Reader, *, name: str, seed: int, memory: int) -> None:
        self._source, self._reader, self._name, self._seed = source, reader, name, seed
        chunks = source.rows // IMAGES_PER_CHUNK
        self._chunks = [source.rows[chunks == chunk] for chunk in np.unique(chunks)]
        bytes_each = source.images.pixels.dtype.itemsize * (len(reader.contrasts) + 1) * reader.size[0] * reader.size[1]
        fits = bytes_each * len(source) <= memory
        held = max(1, memory // 3 // (bytes_each * IMAGES_PER_CHUNK))  # in use, behind, being read
        self._per_group = len(self._chunks) if fits else min(held, len(self._chunks))
        self._plans: dict[int, list[tuple[tuple[int, ...], NDArray[np.int64]]]] = {}
        self._groups: dict[tuple[int, ...], Future[tuple[NDArray[Any], NDArray[np.uint8]]]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"{name}-images")

    def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._groups.clear()

    def at(self, ordinal: int) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        """Return the contrasts (c, h, w) and classes (h, w) of one place of this stream."""
        epoch, within = divmod(ordinal, len(self._source))
        plan = self._plan(epoch)
        number = 0
        while within >= len(plan[number][1]):
            within -= len(plan[number][1])
            number += 1
        key, order = plan[number]
        following = plan[number + 1][0] if number + 1 < len(plan) else self._plan(epoch + 1)[0][0]
        pixels, classes = self._load(key, following)
        return pixels[order[within]], classes[order[within]]

    def _plan(self, epoch: int) -> list[tuple[tuple[int, ...], NDArray[np.int64]]]:
        """Return the groups of an epoch: their chunks, and the order of the images in them."""
        if epoch not in self._plans:
            random = seeds.named(self._seed, "order", self._name, epoch)
            whole = self._per_group == len(self._chunks)
            chunks = np.arange(len(self._chunks)) if whole else random.permutation(len(self._chunks))
            keys = [tuple(map(int, chunks[i : i + self._per_group])) for i in range(0, len(chunks), self._per_group)]
            groups = [(key, random.permutation(sum(len(self._chunks[c]) for c in key))) for key in keys]
            self._plans = {k: v for k, v in self._plans.items() if k >= epoch - 1} | {epoch: groups}
        return self._plans[epoch]

    def _load(self, key: tuple[int, ...], following: tuple[int, ...]) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        for wanted in dict.fromkeys((key, following)):
            if wanted not in self._groups:
                self._groups[wanted] = self._thread.submit(self._read, wanted)
        for old in [known for known in self._groups if known not in (key, following)][:-1]:
            del self._groups[old]
        return self._groups[key].result()

    def _read(self, key: tuple[int, ...]) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        channels, parts = self._source.images.channels, []
        for chunk in key:
            block = self._source.images.read(self._chunks[chunk].tolist())
            parts.append((self._reader.pixels(block, channels), self._reader.classes(block, channels)))
        return np.concatenate([p for p, _ in parts]), np.concatenate([c for _, c in parts])


class MixedFeed:
    """Batches of one mix; this process's share of the batch of any step."""

    def __init__(
        self,
        mix: Mix,
        reader: Reader,
        *,
        batch: int,
        seed: int,
        augment: AugmentSettings | None = None,
        rank: int = 0,
        world: int = 1,
        memory: int = 2**31,
        workers: int = 1,
    ) -> None:
        """Open the sources; nothing is read yet.

        Args:
            mix: What is seen, and in which proportion.
            reader: Contrasts, size and classes.
            batch: Images per step over all processes.
            seed: Of order and augmentation.
            augment: None leaves images as they are.
            rank: This process, 0 to world - 1.
            world: Processes that train together; their shares of a batch are disjoint.
            memory: Bytes of images held at once.
            workers: Threads that augment.

        Raises:
            SegmentationError: The batch cannot be divided, or an image set does not fit the reader.
        """
        if batch < 1 or batch % world:
            raise SegmentationError(f"A batch of {batch} cannot be divided among {world} processes.", "Change --batch.")
        self._mix, self._batch, self._seed, self._augment = mix, batch, seed, augment
        self._rank, self._world = rank, world
        named = [(name, source) for name, source in (("real", mix.real), ("synthetic", mix.synthetic)) if source]
        for name, source in named:
            reader.check(source.images, name)
        self._streams = {
            name: _Stream(source, reader, name=name, seed=seed, memory=memory // len(named)) for name, source in named
        }
        self._workers = ThreadPoolExecutor(workers, thread_name_prefix="augment") if workers > 1 else None

    def close(self) -> None:
        """Stop reading ahead and forget the images."""
        if self._workers is not None:
            self._workers.shutdown(wait=True, cancel_futures=True)
        for stream in self._streams.values():
            stream.close()

    def batches(self, start: int) -> Generator[tuple[Tensor, Tensor]]:
        """Yield the batches of steps ``start``, ``start + 1``, ... without end, made ahead of time."""
        with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
            waiting = [thread.submit(self.at_step, start + i) for i in range(_AHEAD)]
            step = start + _AHEAD
            try:
                while True:
                    ready = waiting.pop(0).result()
                    waiting.append(thread.submit(self.at_step, step))
                    step += 1
                    yield ready
            finally:
                for future in waiting:
                    future.cancel()

    def at_step(self, step: int) -> tuple[Tensor, Tensor]:
        """Return images (k, c, h, w) float32, standardised, and classes (k, h, w) int64."""
        places = range(step * self._batch + self._rank, (step + 1) * self._batch, self._world)
        found = [self._raw(place) for place in places]
        images = standardised(np.stack([pixels for pixels, _ in found]))
        labels = torch.from_numpy(np.stack([classes for _, classes in found]))
        if self._augment is None:
            return images, labels.long()
        work = zip(places, images, labels, strict=True)
        done = list(map(self._changed, work) if self._workers is None else self._workers.map(self._changed, work))
        return torch.stack([image for image, _ in done]), torch.stack([label for _, label in done]).long()

    def is_real(self, place: int) -> bool:
        """Say whether a place of the stream shows a real image."""
        return self._reals_before(place + 1) > self._reals_before(place)

    def _reals_before(self, place: int) -> int:
        return int(place * self._mix.real_share)

    def _raw(self, place: int) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        before = self._reals_before(place)
        if self.is_real(place):
            return self._streams["real"].at(before)
        return self._streams["synthetic"].at(place - before)

    def _changed(self, one: tuple[int, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        place, image, labels = one
        assert self._augment is not None
        # The place is the step and the image's number in its batch: no draw depends on threads or processes.
        return augmented(image, labels, self._augment, seeds.named(self._seed, "augmentation", place))
