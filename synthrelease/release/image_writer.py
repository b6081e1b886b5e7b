"""Streams the audited images into a package, each under its number, and checks that each is the one audited."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthrelease.errors import IntegrityError
from synthrelease.image_set import IMAGES_PER_CHUNK, ImageSet, image_hashes
from synthrelease.progress import Progress
from synthrelease.release import export
from synthrelease.release.export import Geometry, Label
from synthrelease.release.numbering import Numbered

SAMPLES = 12  # images that the public page shows: the first by number, so a random draw
NAMED = 5  # images that an error names

Write = Callable[[str, bytes], None]


def check_ids(images: ImageSet, audited: Mapping[str, str]) -> None:
    """Raise unless the set holds exactly the images that were audited and may be released."""
    ids = images.ids
    there = set(ids)
    lost = [name for name in audited if name not in there]
    new = [name for name in ids if name not in audited]
    twice = sorted(name for name in there if ids.count(name) > 1) if len(there) != len(ids) else []
    faults = [f"{_some(names)} {what}" for names, what in ((lost, "gone"), (new, "new"), (twice, "twice")) if names]
    if faults:
        raise _changed("; ".join(faults))


class ImageWriter:
    """Writes all channels of every image in one pass over the set, holding no more than unfinished volumes."""

    def __init__(self, write: Write, images: ImageSet, order: Sequence[Numbered], channels: Sequence[str]) -> None:
        self.write, self.images, self.channels = write, images, channels
        self.place = {name: (image, k) for image in order for k, name in enumerate(image.image_ids)}
        self.samples: dict[int, NDArray[Any]] = {}

    def run(
        self, audited: Mapping[str, str], geometry: Geometry, image_format: str, root: str, progress: Progress
    ) -> list[NDArray[Any]]:
        """Write every image and return the first few (c, h, w), by number; of volumes the middle slice.

        Args:
            audited: Image id -> SHA-256 of its pixels.
            geometry: Of every file.
            image_format: `nifti`, `png` or `dicom`.
            root: What DICOM identifiers grow from.
            progress: Hears of every image.

        Raises:
            IntegrityError: Images changed since the audit; they are named.
        """
        changed: list[str] = []
        waiting: dict[int, dict[int, NDArray[Any]]] = {}
        with progress.task("Writing images", len(self.images)) as advance:
            for name, pixels, sha256 in self._each():
                advance(1)
                if audited[name] != sha256:
                    changed.append(name)
                if changed:  # the rest is only looked at, so that the error names every one
                    continue
                image, k = self.place[name]
                slices = waiting.setdefault(image.number, {})
                slices[k] = pixels.astype(geometry.dtype)
                if len(slices) == len(image.image_ids):
                    volume = np.stack([slices[i] for i in range(len(slices))])  # (k, c, h, w)
                    self._write(image, volume, geometry, image_format, root)
                    del waiting[image.number]
        if changed:
            raise _changed(f"{_some(changed)} changed")
        return [self.samples[number] for number in sorted(self.samples)]

    def _each(self) -> Iterator[tuple[str, NDArray[Any], str]]:
        rows = self.images.rows
        for number, block in enumerate(self.images.blocks(IMAGES_PER_CHUNK)):
            part = rows[number * IMAGES_PER_CHUNK : number * IMAGES_PER_CHUNK + len(block)]
            hashes = image_hashes(ImageSet(self.images.channels, part, block, ""))
            for row, pixels, sha256 in zip(part, block, hashes, strict=True):
                yield row.image_id, pixels, sha256

    def _write(self, image: Numbered, volume: NDArray[Any], geometry: Geometry, image_format: str, root: str) -> None:
        if image.number <= SAMPLES:
            self.samples[image.number] = volume[len(volume) // 2]
        for position, channel in enumerate(self.channels):
            planes = volume[:, position]
            for k in image.slice_numbers(image_format):
                path = image.path(channel, image_format, k)
                match image_format:
                    case "nifti":
                        content = export.nifti(planes, geometry)
                    case "png":
                        content = export.png(planes[max(k - 1, 0)], geometry)
                    case _:
                        label = Label(image.synthetic_id, channel, max(k, 1), root)
                        content = export.dicom(planes[max(k - 1, 0)], geometry, label)
                self.write(path, content)


def _changed(what: str) -> IntegrityError:
    return IntegrityError(
        f"Images changed since the audit: {what}.", "Audit again, or restore the images that were audited."
    )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
