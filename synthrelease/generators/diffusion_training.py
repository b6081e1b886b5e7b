"""How a diffusion model learns: mean squared error, averaged weights; `training_loop` does the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from synthrelease import seeds as randomness
from synthrelease.generators import diffusion
from synthrelease.generators.diffusion import DiffusionSettings, SamplingSettings
from synthrelease.generators.image_feed import ImageFeed
from synthrelease.generators.sampling import as_released
from synthrelease.generators.training_loop import State, TrainingSettings
from synthrelease.training import checkpoint as saved
from synthrelease.training.ema import averaged_copy, update_average, warmed_decay
from synthrelease.training.running import Processes, autocast, average_gradients

PROBE = "denoising loss of the averaged weights on fixed training images"
_PROBES = 64
NETWORK, AVERAGE = "denoiser", "denoiser-average"


class DiffusionTraining(TrainingSettings):
    """How a diffusion model learns; the defaults are Akbar 2024's where it says something."""

    batch: int = Field(default=32, ge=1, description="Images per step, over all processes")
    learning_rate: float = Field(default=1e-4, gt=0, description="AdamW's, constant")
    weight_decay: float = Field(default=0.0, ge=0, description="AdamW's")
    average_decay: float = Field(default=0.9999, ge=0, lt=1, description="Share of the averaged weights a step keeps")
    average_warmup: bool = Field(
        default=True, description="Smaller decay in the first steps; false is the study's, and needs 50,000 steps"
    )
    clip_norm: float = Field(default=0.0, ge=0, description="Longest gradient; 0 leaves it alone, as the study did")


class DiffusionLearner:
    """A `training_loop.Learner`: the networks, the optimiser and where the training stands."""

    def __init__(
        self,
        network: DiffusionSettings,
        training: DiffusionTraining,
        sampling: SamplingSettings,
        *,
        feed: ImageFeed,
        channels: Sequence[str],
        together: Processes,
    ) -> None:
        """Make the networks; the same seed gives the same weights in every process."""
        diffusion.check_sampling(network, sampling)
        self.settings, self.training, self.sampling = network, training, sampling
        self.feed, self.channels, self.together = feed, tuple(channels), together
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(randomness.named(training.seed, "weights").integers(2**63)))
            made = diffusion.build_denoiser(network, channels=len(channels), resolution=feed.resolution)
        self.network = made.to(together.device).train()
        self.average = averaged_copy(self.network)
        self.shares = diffusion.signal_shares(network).to(together.device)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay
        )
        self.scaler = torch.amp.GradScaler(together.device.type, enabled=training.precision == "fp16")
        self.step = 0

    @property
    def images(self) -> int:
        """Training images seen, by all processes together."""
        return self.images_in(self.step)

    def images_in(self, steps: int) -> int:
        """Return how many training images so many steps see."""
        return steps * self.training.batch

    def weights(self) -> Sequence[Tensor]:
        """Return every tensor that must stay finite."""
        return [*self.network.parameters(), *self.average.parameters()]

    def learn(self) -> Mapping[str, Tensor]:
        """Take the next step and return its mean squared error, on the device."""
        images = self.feed.at_step(self.step, self.together.device)
        self.step += 1
        noise, steps = self._drawn(images.shape)
        total = torch.zeros((), device=self.together.device)
        parts = self.training.accumulation
        for part in zip(images.chunk(parts), noise.chunk(parts), steps.chunk(parts), strict=True):
            share = len(part[0]) / len(images)
            with autocast(self.together.device, self.training.precision):
                loss = self._loss(self.network, *part) * share
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        average_gradients(self.network.parameters(), self.together)
        if self.training.clip_norm:
            self.scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.training.clip_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        decay = self.training.average_decay
        update_average(
            self.average, self.network, warmed_decay(decay, self.step) if self.training.average_warmup else decay
        )
        return {"loss": total}

    def _drawn(self, shape: torch.Size) -> tuple[Tensor, Tensor]:
        """Return this process's share of the step's noise (k, c, r, r) and noise levels (k,)."""
        device, world = self.together.device, self.together.world
        number = int(randomness.at_step(self.training.seed, self.step).integers(2**63))
        random = torch.Generator(device).manual_seed(number)
        # Drawn for the whole batch everywhere, so that the result does not depend on the number of processes.
        count = shape[0] * world
        steps = torch.randint(self.settings.noise_steps, (count,), generator=random, device=device)
        noise = torch.randn((count, *shape[1:]), generator=random, device=device)
        return self.together.share(noise), self.together.share(steps)

    def _loss(self, network: nn.Module, images: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        shares = self.shares[steps]
        said = network(diffusion.add_noise(images, noise, shares), steps)
        return functional.mse_loss(said.float(), diffusion.prediction_of(self.settings, images, noise, shares))

    def sampler(self, seeds: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
        """Yield what the averaged weights make of seeds, as it would be released: (k, c, r, r) uint8."""
        shape = (len(self.channels), self.feed.resolution, self.feed.resolution)
        batches = diffusion.images_of(self.average, seeds, self.settings, self.sampling, shape=shape)
        for batch in batches:
            yield as_released(batch, mask=self.feed.mask, levels=self.feed.levels)[0]

    def own_measure(self) -> tuple[str, float]:
        """Return the error that best checkpoints are best in, unless a judge was given."""
        return PROBE, self.probe()

    @torch.inference_mode()
    def probe(self) -> float:
        """Return the averaged weights' error on fixed images, noise and noise levels, in 32 bits."""
        count = min(_PROBES, self.feed.count)
        images = self.feed.fixed(count, self.together.device)
        random = torch.Generator().manual_seed(int(randomness.named(self.training.seed, "probe").integers(2**63)))
        noise = torch.randn(images.shape, generator=random).to(images.device)
        steps = torch.linspace(0, self.settings.noise_steps - 1, count, device=images.device).round().long()
        losses = [
            float(self._loss(self.average, *part)) * len(part[0])
            for part in zip(*(torch.split(t, 8) for t in (images, noise, steps)), strict=True)
        ]
        return sum(losses) / count

    def state(self) -> State:
        """Return all that the next step depends on."""
        return State(
            networks={NETWORK: self.network.state_dict(), AVERAGE: self.average.state_dict()},
            optimisers={NETWORK: self.optimiser.state_dict()},
            scalars={"scaler": self.scaler.state_dict()},
        )

    def restore(self, checkpoint: saved.Checkpoint) -> None:
        """Go on from a checkpoint."""
        saved.restore(self.network, checkpoint.networks[NETWORK], name=NETWORK)
        saved.restore(self.average, checkpoint.networks[AVERAGE], name=AVERAGE)
        self.optimiser.load_state_dict(dict(checkpoint.optimisers[NETWORK]))
        for group in self.optimiser.param_groups:
            group["lr"] = self.training.learning_rate  # it may have been lowered to rescue the training
        if self.scaler.is_enabled() and checkpoint.scalars["scaler"]:
            self.scaler.load_state_dict(checkpoint.scalars["scaler"])
        self.step = checkpoint.step
