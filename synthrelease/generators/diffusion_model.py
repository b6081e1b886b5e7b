"""The diffusion generator as a whole: train it, open it again, sample it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from synthrelease import store
from synthrelease.errors import GeneratorError, SettingsError
from synthrelease.generators import checkpoint as saved
from synthrelease.generators import diffusion
from synthrelease.generators.diffusion import DiffusionSettings, SamplingSettings
from synthrelease.generators.diffusion_training import AVERAGE, Callbacks, DiffusionTraining, Trainer, describe
from synthrelease.generators.image_feed import ImageFeed
from synthrelease.generators.interface import STANDARD_LEVELS, Batch
from synthrelease.generators.running import choose_device, processes, stop_requests
from synthrelease.image_set import ImageSet

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
        """Train for ``steps`` optimiser steps in all and return the training folder.

        Args:
            images: The training set; two images or more.
            steps: Where to end; a resumed training that is there already does nothing.
            folder: Of this training: `MODEL.json`, checkpoints, scalars, sample grids.
            resume: Go on from the newest checkpoint in ``folder``; it must have been trained on the same images with
                the same settings.
            callbacks: Progress, memorisation screen, measure of the best checkpoint.

        Learning rate, clipping and precision may differ from before, and so may what shapes no weight.

        Raises:
            GeneratorError: There is a training in ``folder`` already, or another one; or numbers went wrong.
            KeyboardInterrupt: Stopped by Ctrl-C or SIGTERM, after writing a checkpoint.
        """
        if steps < 1:
            raise SettingsError(f"{steps} steps teach nothing.", "Give --steps 1 or more.")
        heard = callbacks or Callbacks()
        with processes(self.device) as together, stop_requests() as stop:
            feed = ImageFeed(
                images,
                resolution=self.resolution,
                batch=self.training.batch,
                seed=self.training.seed,
                rank=together.rank,
                world=together.world,
                memory=self.training.memory_mib * 2**20,
            )
            try:
                about = describe(self.network, self.training, feed, images.channels, images.content)
                about["voxel_size"] = list(images.voxel_size)
                path = self._start_or_resume(folder, about, resume=resume)
                if together.leads:
                    saved.write_model(store.private_folder(folder), about)
                trainer = Trainer(
                    self.network,
                    self.training,
                    self.sampling,
                    feed=feed,
                    channels=images.channels,
                    folder=folder,
                    together=together,
                    callbacks=heard,
                )
                if path is not None:
                    trainer.restore(path)
                trainer.run(steps, stop)
            finally:
                feed.close()
        if together.leads:
            self._adopt(folder)
        return folder

    def _start_or_resume(self, folder: Path, about: dict[str, Any], *, resume: bool) -> Path | None:
        """Return the checkpoint to go on from, None to begin."""
        path = saved.latest(folder)
        if path is None:
            return None
        if not resume:
            raise GeneratorError(
                f"{folder} holds a training already (up to {path.name}).",
                "Go on with it with --resume, or choose another --out.",
            )
        before = saved.read_model(folder)
        keys = ("generator", "channels", "resolution", "network", "training", "trained_on")
        different = [key for key in keys if _shaping(before.get(key)) != _shaping(about[key])]
        if different:
            raise GeneratorError(
                f"The training in {folder} differs in: {', '.join(different)}.",
                "Resume it with the images and settings it was started with (see its MODEL.json).",
            )
        return path

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
        about = saved.read_model(folder)
        self.channels = tuple(about["channels"])
        self.mask_levels = tuple(about["mask_levels"]) or STANDARD_LEVELS
        self.voxel_size = tuple(about["voxel_size"])
        path = _checkpoint(folder, which)
        tensors, self.weights = saved.load_network(path, AVERAGE)
        average = diffusion.build_denoiser(self.network, channels=len(self.channels), resolution=self.resolution)
        saved.restore(average, tensors, name=AVERAGE)
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


_SEEN = {"log_every", "checkpoint_every", "sample_every", "screen_every", "keep_last", "grid", "tensorboard"}
_RESCUE = {"learning_rate", "clip_norm", "precision", "accumulation"}
_FREE = _SEEN | _RESCUE
"""Settings that may change on the way: those that shape no weight, and those that rescue a training gone wrong."""


def _shaping(entry: Any) -> Any:
    return {k: v for k, v in entry.items() if k not in _FREE} if isinstance(entry, dict) else entry


def _checkpoint(folder: Path, which: str) -> Path:
    if which not in ("best", "last"):
        raise SettingsError(f"There is no checkpoint {which!r}: choose best or last.")
    path = (saved.best(folder) if which == "best" else None) or saved.latest(folder)
    if path is None:
        raise GeneratorError(f"{folder} holds no finished checkpoint.", "Train the model first.")
    return path
