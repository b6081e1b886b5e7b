"""A GAN as a whole: train it, open it again, sample it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from synthrelease.errors import GeneratorError, SettingsError
from synthrelease.generators.gan_sampling import GanSampling, images_of
from synthrelease.generators.gan_training import AVERAGE, GENERATOR, GanLearner, GanTraining, check_training
from synthrelease.generators.image_feed import ImageFeed
from synthrelease.generators.interface import STANDARD_LEVELS, Batch, build_networks, default_settings, settings_class
from synthrelease.generators.model_folder import opened, train_into
from synthrelease.generators.schedule import levels_of
from synthrelease.generators.training_loop import Callbacks
from synthrelease.image_set import ImageSet
from synthrelease.settings import Settings
from synthrelease.training import checkpoint as saved
from synthrelease.training.running import Processes, choose_device


class Gan:
    """A generator (see `interface.Generator`) that turns latent vectors into images: any of the four GANs."""

    def __init__(
        self,
        name: str,
        network: Settings | None = None,
        training: GanTraining | None = None,
        sampling: GanSampling | None = None,
        *,
        resolution: int = 256,
        device: str = "auto",
    ) -> None:
        """Make an untrained generator; channels come from the images it is trained on."""
        self.name = name
        self.network: Any = network or default_settings(name)
        self.training = training or GanTraining()
        self.sampling = sampling or GanSampling()
        self.resolution = resolution
        self.device = choose_device(device)
        self.channels: tuple[str, ...] = ()
        self.mask_levels: tuple[int, ...] = STANDARD_LEVELS
        self.voxel_size = (1.0, 1.0, 1.0)
        self.weights = ""  # SHA-256 of the file that holds them
        self.level = float(levels_of(resolution))  # of growth, when the weights were written
        self._average: nn.Module | None = None
        check_training(name, self.network, self.training, resolution=resolution, world=1)
        if name == "progan" and self.sampling.truncation != 1.0:
            raise SettingsError("progan has no styles to truncate.", "Leave --truncation out, or give 1.")

    def train(
        self,
        images: ImageSet,
        steps: int,
        folder: Path,
        *,
        resume: bool = False,
        callbacks: Callbacks | None = None,
    ) -> Path:
        """Train for ``steps`` steps in all, of both networks, and return the training folder; see `train_into`."""
        leads = train_into(
            folder,
            images,
            steps,
            name=self.name,
            network=self.network,
            training=self.training,
            batch=self.network.batch_at(self.resolution),
            resolution=self.resolution,
            device=self.device,
            make=self._learner,
            resume=resume,
            callbacks=callbacks or Callbacks(),
        )
        if leads:
            self._adopt(folder)
        return folder

    def _learner(self, feed: ImageFeed, channels: Sequence[str], together: Processes) -> GanLearner:
        return GanLearner(self.name, self.network, self.training, feed=feed, channels=channels, together=together)

    @classmethod
    def open(
        cls, folder: Path, *, sampling: GanSampling | None = None, device: str = "auto", which: str = "best"
    ) -> Gan:
        """Return a trained GAN with the averaged weights of its best checkpoint (or of its ``"last"``)."""
        about = saved.read_model(folder)
        name = about["generator"]
        if name == "diffusion":
            raise GeneratorError(f"{folder} holds a diffusion model, not a GAN.")
        generator = cls(
            name,
            settings_class(name).checked(**about["network"]),
            GanTraining.checked(**about["training"]),
            sampling,
            resolution=about["resolution"],
            device=device,
        )
        generator._adopt(folder, which)
        return generator

    def _adopt(self, folder: Path, which: str = "best") -> None:
        """Take over channels and averaged weights from a training folder."""
        found = opened(folder, AVERAGE, which)
        self.channels, self.mask_levels, self.voxel_size = found.channels, found.mask_levels, found.voxel_size
        self.weights, self.level = found.weights_sha256, float(found.scalars["level"])
        shape = {"channels": len(self.channels), "resolution": self.resolution}
        average = build_networks(self.name, self.network, **shape)[GENERATOR]
        saved.restore(average, found.tensors, name=AVERAGE)
        self._average = average.to(self.device).eval().requires_grad_(False)

    def sample(self, seeds: Sequence[int]) -> Iterator[Batch]:
        """Yield batches (k, c, r, r) in the order of ``seeds``; image i depends on ``seeds[i]`` alone.

        On a CPU that holds to the bit. On a GPU it does for one value of `GanSampling.lanes`; between values the last
        bits differ, because matrix products are cut differently.
        """
        if self._average is None:
            raise GeneratorError(f"This {self.name} was not trained.", "Train it, or open a trained one.")
        yield from images_of(self._average, seeds, self.sampling, resolution=self.resolution, level=self.level)

    def made_with(self) -> dict[str, Any]:
        """Return what names these weights and this sampler, for the record of a sampled set."""
        return {"weights_sha256": self.weights, "sampling": self.sampling.model_dump(mode="json")}
