"""Training images as an endless stream of batches whose every place is a function of seed and step.

Image sets are read a group of chunks at a time, the next group while the present one is used. A group holds as many
images as the memory allows; the order of chunks and of the images within a group are drawn anew in every
epoch. A set that fits is read once, and its order is then a plain shuffle.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from torch import Tensor

from synthrelease import seeds
from synthrelease.errors import ScanError, SettingsError
from synthrelease.generators.interface import STANDARD_LEVELS
from synthrelease.image_set import IMAGES_PER_CHUNK, MASK, ImageSet

MOST_LEVELS = 8  # a mask channel with more values was resampled by somebody: the standard levels are meant
MEMORY = 2 * 2**30  # bytes of images held at once
_SCAN = 64  # images looked at together


@dataclass(frozen=True)
class _Group:
    """One stretch of an epoch: the chunks to read and the order in which their images come."""

    key: tuple[int, ...]
    order: NDArray[np.int64]  # (k,) positions within the chunks, laid end to end


class ImageFeed:
    """Batches of one image set, padded or resized to a square and scaled to -1..1."""

    def __init__(
        self,
        images: ImageSet,
        *,
        resolution: int,
        batch: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        memory: int = MEMORY,
    ) -> None:
        """Look through the set once (mask levels, intensity ranges).

        Args:
            images: At least two images of any channel count, size and number type.
            resolution: Height and width of the batches, pixels; a power of two.
            batch: Images per step over all processes.
            seed: Of the order.
            rank: This process, 0 to world - 1; the processes' shares of a batch are disjoint.
            world: Processes that train together.
            memory: Bytes of images to hold at once.

        Raises:
            ScanError: Fewer than two images, or pixels that are not finite.
            SettingsError: The resolution is no power of two or the batch cannot be divided.
        """
        _refuse(images, resolution, batch, world)
        self._images = images
        self.resolution, self.batch, self.seed = resolution, batch, seed
        self._rank, self._world = rank, world
        self.mask = images.channels.index(MASK) if MASK in images.channels else None
        self.levels, self._low, self._span = _look_through(images, self.mask)
        self._type = np.dtype(np.uint8 if images.pixels.dtype == np.uint8 else np.float32)
        one = len(images.channels) * resolution**2 * self._type.itemsize
        # A batch can touch two groups while a third is being read.
        held = max(1, memory // 3 // (one * IMAGES_PER_CHUNK))
        self._chunks = -(-len(images) // IMAGES_PER_CHUNK)
        self._per_group = self._chunks if memory >= one * len(images) else held
        self._loaded: dict[tuple[int, ...], Future[NDArray[Any]]] = {}
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="images")
        self._plans: dict[int, list[_Group]] = {}

    def close(self) -> None:
        """Stop reading ahead and forget the images."""
        self._reader.shutdown(wait=True, cancel_futures=True)
        self._loaded.clear()

    def at_step(self, step: int, device: torch.device | str = "cpu") -> Tensor:
        """Return this process's share of one step's batch: (k, c, r, r) float32, contrasts and mask from -1 to 1."""
        return self.at(step * self.batch, self.batch, device)

    def at(self, first: int, count: int, device: torch.device | str = "cpu") -> Tensor:
        """Return this process's share of ``count`` images from place ``first`` of the stream on; see `at_step`."""
        places = np.arange(first, first + count)[self._rank :: self._world]
        pixels = torch.from_numpy(self._at(places))
        if torch.device(device).type == "cuda":
            pixels = pixels.pin_memory()  # else the copy would wait for the step before it
        return pixels.to(device, non_blocking=True).float().div_(127.5).sub_(1.0)

    def indices_at(self, step: int) -> NDArray[np.int64]:
        """Return the row numbers of this process's share of one step's batch: (k,)."""
        first = step * self.batch
        found = []
        for place in range(first + self._rank, first + self.batch, self._world):
            group, within = self._find(place)
            chunk, offset = divmod(int(group.order[within]), IMAGES_PER_CHUNK)
            # Only the set's last chunk can be short, so it comes last in its group.
            found.append(group.key[chunk] * IMAGES_PER_CHUNK + offset)
        return np.array(found, dtype=np.int64)

    @property
    def count(self) -> int:
        """Images in the set."""
        return len(self._images)

    def fixed(self, count: int, device: torch.device | str = "cpu") -> Tensor:
        """Return the same ``count`` images every time, spread over the set: scaled and shaped as in `at_step`."""
        rows = np.linspace(0, self.count - 1, count).round().astype(int)
        blocks = [self._prepared(slice(row, row + 1)) for row in rows.tolist()]
        return torch.from_numpy(np.concatenate(blocks)).to(device).float().div_(127.5).sub_(1.0)

    def _at(self, places: NDArray[np.int64]) -> NDArray[Any]:
        """Return the images (k, c, r, r) at these places of the endless stream, 0 to 255."""
        shape = (len(places), len(self._images.channels), self.resolution, self.resolution)
        out = np.empty(shape, self._type)
        for number, place in enumerate(places):
            group, within = self._find(int(place))
            out[number] = self._pixels(group, int(place))[group.order[within]]
        return out

    def _find(self, place: int) -> tuple[_Group, int]:
        epoch, within = divmod(place, len(self._images))
        for group in self._plan(epoch):
            if within < len(group.order):
                return group, within
            within -= len(group.order)
        raise AssertionError("a plan covers its epoch")

    def _plan(self, epoch: int) -> list[_Group]:
        """Return the groups of one epoch, drawn from (seed, epoch) alone."""
        if epoch in self._plans:
            return self._plans[epoch]
        random = seeds.named(self.seed, "order of images", epoch)
        whole = self._per_group == self._chunks
        chunks = np.arange(self._chunks) if whole else random.permutation(self._chunks)
        groups = []
        for start in range(0, self._chunks, self._per_group):
            # Sorted, so that the set's last chunk, which may be short, is the last of its group.
            key = tuple(sorted(int(c) for c in chunks[start : start + self._per_group]))
            count = sum(len(self._rows(c)) for c in key)
            groups.append(_Group(key, random.permutation(count)))
        self._plans = {known: plan for known, plan in self._plans.items() if known >= epoch - 1} | {epoch: groups}
        return groups

    def _rows(self, chunk: int) -> range:
        return range(chunk * IMAGES_PER_CHUNK, min((chunk + 1) * IMAGES_PER_CHUNK, len(self._images)))

    def _pixels(self, group: _Group, place: int) -> NDArray[Any]:
        """Return the pixels of a group, and have the next one read meanwhile."""
        if group.key not in self._loaded:
            self._loaded[group.key] = self._reader.submit(self._read, group.key)
        pixels = self._loaded[group.key].result()
        if self._per_group < self._chunks:
            after = self._after(group, place)
            if after.key not in self._loaded:
                # Groups before this one are done with; a straddling batch asks for them no more.
                self._loaded = {group.key: self._loaded[group.key]}
                self._loaded[after.key] = self._reader.submit(self._read, after.key)
        return pixels

    def _after(self, group: _Group, place: int) -> _Group:
        epoch = place // len(self._images)
        plan = self._plan(epoch)
        position = next(i for i, other in enumerate(plan) if other is group)
        return plan[position + 1] if position + 1 < len(plan) else self._plan(epoch + 1)[0]

    def _read(self, chunks: tuple[int, ...]) -> NDArray[Any]:
        count = sum(len(self._rows(c)) for c in chunks)
        out = np.empty((count, len(self._images.channels), self.resolution, self.resolution), self._type)
        done = 0
        for chunk in chunks:
            rows = self._rows(chunk)
            out[done : done + len(rows)] = self._prepared(slice(rows.start, rows.stop))
            done += len(rows)
        return out

    def _prepared(self, rows: slice) -> NDArray[Any]:
        """Return images (k, c, r, r) from 0 to 255."""
        block = self._images.read(rows)
        if self._type != np.uint8:
            block = (block.astype(np.float32) - self._low) / self._span * 255
        return fitted(block, self.resolution, mask=self.mask)


def fitted(pixels: NDArray[Any], resolution: int, *, mask: int | None) -> NDArray[Any]:
    """Return images (n, c, h, w) as squares (n, c, r, r) of the same type.

    Where the longer side is at most ``resolution`` but more than half of it, images are centred on a background of
    0, as 240 px become 256 in the reference study. Others are first made square in the same way and then
    resized: contrasts by antialiased bilinear interpolation, the mask channel by the nearest label.
    """
    height, width = pixels.shape[2:]
    longest = max(height, width)
    side = resolution if resolution / 2 < longest <= resolution else longest
    top, left = (side - height) // 2, (side - width) // 2
    around = ((0, 0), (0, 0), (top, side - height - top), (left, side - width - left))
    square = np.pad(pixels, around) if (height, width) != (side, side) else pixels
    if side == resolution:
        return np.asarray(square)
    values = torch.from_numpy(np.ascontiguousarray(square)).float()
    size = (resolution, resolution)
    resized = functional.interpolate(values, size=size, mode="bilinear", align_corners=False, antialias=True)
    if mask is not None:
        labels = functional.interpolate(values[:, mask : mask + 1], size=size, mode="nearest-exact")
        resized[:, mask : mask + 1] = labels
    if pixels.dtype.kind in "ui":
        resized = resized.round()
    return resized.numpy().astype(pixels.dtype)


def _refuse(images: ImageSet, resolution: int, batch: int, world: int) -> None:
    if len(images) < 2:
        raise ScanError(
            f"The training set holds {len(images)} image{'s' if len(images) != 1 else ''}: "
            "a generator trained on one image can only repeat it.",
            "Train on many images of many subjects.",
        )
    problems = []
    if resolution < 4 or resolution & (resolution - 1):
        problems.append(f"resolution {resolution} is no power of two")
    if batch < 1 or batch % world:
        problems.append(f"a batch of {batch} cannot be divided among {world} processes")
    if problems:
        raise SettingsError("; ".join(problems) + ".", "Choose a resolution like 64 or 256 and a batch that divides.")


def _look_through(
    images: ImageSet, mask: int | None
) -> tuple[tuple[int, ...], NDArray[np.float32], NDArray[np.float32]]:
    """Return the mask's levels, and the lowest value and the range of each channel, (c, 1, 1) each.

    Of 8-bit sets only the mask is looked at: their contrasts already use the whole range that they are meant to.
    """
    count = len(images.channels)
    eight_bit = images.pixels.dtype == np.uint8
    found: set[float] = set()
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    if not eight_bit or mask is not None:
        for block in images.blocks(_SCAN):
            if not eight_bit:
                low = np.minimum(low, block.min(axis=(0, 2, 3)))
                high = np.maximum(high, block.max(axis=(0, 2, 3)))
            if mask is not None and len(found) <= MOST_LEVELS:
                found.update(np.unique(block[:, mask]).tolist())
    if not eight_bit and not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise ScanError("The training set holds pixels that are not finite.", "Prepare it again from clean scans.")
    if found and not (min(found) >= 0 and max(found) <= 255):
        raise ScanError(
            f"The mask channel holds values from {min(found):g} to {max(found):g}; labels are levels from 0 to 255.",
            "Prepare the images again with `synthrelease prepare`.",
        )
    if eight_bit:
        low, high = np.zeros(count), np.full(count, 255.0)
    if mask is not None:
        low[mask], high[mask] = 0.0, 255.0  # labels keep their level
    span = np.where(high > low, high - low, 1.0)
    levels = tuple(sorted(int(v) for v in found)) if 1 < len(found) <= MOST_LEVELS else STANDARD_LEVELS
    shape = (count, 1, 1)
    return levels, low.reshape(shape).astype(np.float32), span.reshape(shape).astype(np.float32)
