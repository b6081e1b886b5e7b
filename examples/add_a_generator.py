"""Add a generator of your own: anything with a name, channels, `train` and `sample` can make a set that is audited.

python examples/add_a_generator.py --out DIR

This one keeps the main directions in which train images differ (principal components) and draws new images along them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synthrelease import seeds, study
from synthrelease.generators.sampling import write_samples
from synthrelease.image_set import ImageSet, open_set
from synthrelease.settings import PhantomSettings, PrepareSettings


class PrincipalComponents:
    """Images are the mean of train plus random amounts of its principal components."""

    name = "principal-components"

    def __init__(self) -> None:
        self.channels: tuple[str, ...] = ()

    def train(self, images: ImageSet, steps: int, folder: Path) -> None:
        """Keep ``steps`` components, and write them into ``folder``."""
        self.channels = images.channels
        pixels = images.read(slice(None)).astype(np.float32) / 127.5 - 1
        self.shape, rows = pixels.shape[1:], pixels.reshape(len(pixels), -1)
        self.mean = rows.mean(0)
        _, sizes, self.components = np.linalg.svd(rows - self.mean, full_matrices=False)
        self.components, self.sizes = self.components[:steps], sizes[:steps] / np.sqrt(len(rows))
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / "components.npz", mean=self.mean, components=self.components, sizes=self.sizes)

    def sample(self, numbers: Sequence[int]) -> Iterator[NDArray[np.float32]]:
        """Yield (1, c, h, w) images from -1 to 1: image i depends on its seed alone."""
        for number in numbers:
            amounts = seeds.named(number, self.name).standard_normal(len(self.sizes)) * self.sizes
            image = (self.mean + amounts @ self.components).reshape(1, *self.shape)
            yield np.clip(image, -1, 1).astype(np.float32)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    study.phantom(out / "cohort", PhantomSettings(subjects=6, size=64))
    study.prepare(out / "cohort", out / "sets", PrepareSettings(fractions=(0.7, 0.3, 0.0)))
    generator = PrincipalComponents()
    generator.train(open_set(out / "sets" / "train"), 20, out / "model")
    made = write_samples(generator, range(50), out / "made")
    print(f"{len(made)} images in {out / 'made'}: audit them with `synthrelease audit`.")
