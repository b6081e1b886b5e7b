"""The diffusion generator as a whole: train it, open it again, sample it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from synthrelease.errors import GeneratorError
from synthrelease.generators import diffusion
from synthrelease.generators.diffusion import DiffusionSettings, SamplingSettings
from synthrelease.generators.diffusion_training import AVERAGE, DiffusionLearner, DiffusionTraining
from synthrelease.generators.image_feed import ImageFeed
from synthrelease.generators.interface import STANDARD_LEVELS, Batch
from synthrelease.generators.model_folder import opened, train_into
from synthrelease.generators.training_loop import Callbacks
from synthrelease.image_set import ImageSet
from synthrelease.training import checkpoint as saved
from synthrelease.training.running import Processes, choose_device

NAME = "diffusion"


class Diffusion:
    """A generator (see `interface.Generator`) that makes images by removing noise."""

    name = NAME

    def __init__(
        self,
        network: DiffusionSettings | None = None,
        training: DiffusionTraining | None = None,
        sampling: SamplingSettings | None = None,
        *,
        resolution: int = 256,
        device: str = "auto",
    ) -> None:
        """Make an untrained generator; channels come from the images it is trained on."""
        self.network = network or DiffusionSettings()
        self.training = training or DiffusionTraining()
        self.sampling = sampling or SamplingSettings()
        self.resolution = resolution
        self.device = choose_device(device)
        self.channels: tuple[str, ...] = ()
        self.mask_levels: tuple[int, ...] = STANDARD_LEVELS
        self.voxel_size = (1.0, 1.0, 1.0)
        self.weights = ""  # SHA-256 of the file that holds them
        self._average: nn.Module | None = None
        self.network.widths(resolution)  # an impossible resolution is told now, not after the images were read
        diffusion.check_sampling(self.network, self.sampling)

    def train(
        self,
        images: ImageSet,
        steps: int,
        folder: Path,
        *,
        resume: bool = False,
        callbacks: Callbacks | None = None,
    ) -> Path:
        """Train for ``steps`` optimiser steps in all and return the training folder; see `train_into`."""
        leads = train_into(
            folder,
            images,
            steps,
            name=NAME,
            network=self.network,
            training=self.training,
            batch=self.training.batch,
            resolution=self.resolution,
            device=self.device,
            make=self._learner,
            resume=resume,
            callbacks=callbacks or Callbacks(),
        )
        if leads:
            self._adopt(folder)
        return folder

    def _learner(self, feed: ImageFeed, channels: Sequence[str], together: Processes) -> DiffusionLearner:
        return DiffusionLearner(
            self.network, self.training, self.sampling, feed=feed, channels=channels, together=together
        )

    @classmethod
    def open(
        cls, folder: Path, *, sampling: SamplingSettings | None = None, device: str = "auto", which: str = "best"
    ) -> Diffusion:
        """Return a trained generator with the averaged weights of its best checkpoint (or of its ``"last"``)."""
        about = saved.read_model(folder)
        if about["generator"] != NAME:
            raise GeneratorError(f"{folder} holds a {about['generator']} model, not diffusion.")
        generator = cls(
            DiffusionSettings.checked(**about["network"]),
            DiffusionTraining.checked(**about["training"]),
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
        self.weights = found.weights_sha256
        average = diffusion.build_denoiser(self.network, channels=len(self.channels), resolution=self.resolution)
        saved.restore(average, found.tensors, name=AVERAGE)
        self._average = average.to(self.device).eval().requires_grad_(False)

    def sample(self, seeds: Sequence[int]) -> Iterator[Batch]:
        """Yield batches (k, c, r, r) in the order of ``seeds``; image i depends on ``seeds[i]`` alone.

        On a CPU that holds to the bit. On a GPU it does for one value of `SamplingSettings.lanes`; between values
        the last bits differ, because matrix products are cut differently.
        """
        if self._average is None:
            raise GeneratorError("This diffusion model was not trained.", "Train it, or open a trained one.")
        shape = (len(self.channels), self.resolution, self.resolution)
        yield from diffusion.images_of(self._average, seeds, self.network, self.sampling, shape=shape)

    def made_with(self) -> dict[str, Any]:
        """Return what names these weights and this sampler, for the record of a sampled set."""
        return {"weights_sha256": self.weights, "sampling": self.sampling.model_dump(mode="json")}
