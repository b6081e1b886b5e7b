"""The training of a diffusion model: mean squared error, averaged weights, exact resume.

What step s does depends on the weights before it, on the seed and on s alone. An interrupted training goes on from
its checkpoint as if it had never stopped, on a CPU to the bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from synthrelease import __version__
from synthrelease import seeds as randomness
from synthrelease.errors import GeneratorError
from synthrelease.generators import checkpoint as saved
from synthrelease.generators import diffusion
from synthrelease.generators.diffusion import DiffusionSettings, Precision, SamplingSettings
from synthrelease.generators.ema import averaged_copy, update_average, warmed_decay
from synthrelease.generators.image_feed import ImageFeed
from synthrelease.generators.interface import Screen
from synthrelease.generators.running import Processes, StopRequest, average_gradients, from_leader, in_any
from synthrelease.generators.sampling import as_released
from synthrelease.generators.training_log import TrainingLog
from synthrelease.progress import SILENT, Progress
from synthrelease.settings import Settings

PROBE = "denoising loss of the averaged weights on fixed training images"
_PROBES = 64
NETWORK, AVERAGE = "denoiser", "denoiser-average"

Judge = Callable[[int, nn.Module], float]
"""Step and averaged network to a number; lower is better."""


class DiffusionTraining(Settings):
    """How a diffusion model learns; the defaults are Akbar 2024's where it says something."""

    batch: int = Field(default=32, ge=1, description="Images per step, over all processes")
    learning_rate: float = Field(default=1e-4, gt=0, description="AdamW's, constant")
    weight_decay: float = Field(default=0.0, ge=0, description="AdamW's")
    average_decay: float = Field(default=0.9999, ge=0, lt=1, description="Share of the averaged weights a step keeps")
    average_warmup: bool = Field(
        default=True, description="Smaller decay in the first steps; false is the study's, and needs 50,000 steps"
    )
    clip_norm: float = Field(default=0.0, ge=0, description="Longest gradient; 0 leaves it alone, as the study did")
    precision: Precision = Field(default="none", description="Arithmetic: none is 32 bits; bf16 on recent GPUs, fp16")
    accumulation: int = Field(default=1, ge=1, description="Parts a batch is cut into, where memory is short")
    seed: int = Field(default=0, ge=0, description="Of weights, order of images, noise")
    log_every: int = Field(default=50, ge=1, description="Steps between lines in scalars.jsonl and NaN checks")
    checkpoint_every: int = Field(default=2000, ge=1, description="Steps between checkpoints")
    sample_every: int = Field(default=2000, ge=0, description="Steps between sample grids; 0 makes none")
    screen_every: int = Field(default=0, ge=0, description="Steps between looks for memorised images; 0 never looks")
    keep_last: int = Field(default=2, ge=1, description="Newest checkpoints that stay; the best one stays besides")
    grid: int = Field(default=16, ge=1, description="Images in a sample grid")
    memory_mib: int = Field(default=2048, ge=1, description="MiB of training images held at once")
    tensorboard: bool = Field(default=True, description="Also write for TensorBoard, where it is installed")


@dataclass(frozen=True)
class Callbacks:
    """What others look at while a model trains; generators know nothing of privacy or metrics."""

    progress: Progress = SILENT
    screen: Screen | None = None  # called every `screen_every` steps
    judge: Judge | None = None  # what the best checkpoint is best in; by default `PROBE`
    judge_name: str = PROBE


class Trainer:
    """One training: its networks, its optimiser and where it stands."""

    def __init__(
        self,
        network: DiffusionSettings,
        training: DiffusionTraining,
        sampling: SamplingSettings,
        *,
        feed: ImageFeed,
        channels: Sequence[str],
        folder: Path,
        together: Processes,
        callbacks: Callbacks,
    ) -> None:
        """Make the networks; the same seed gives the same weights in every process."""
        diffusion.check_sampling(network, sampling)
        self.settings, self.training, self.sampling = network, training, sampling
        self.feed, self.channels, self.folder = feed, tuple(channels), folder
        self.together, self.callbacks = together, callbacks
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

    # -- one step ---------------------------------------------------------------------------------------------

    def learn(self) -> Tensor:
        """Take the next step and return its mean squared error, on the device."""
        images = self.feed.at_step(self.step, self.together.device)
        self.step += 1
        noise, steps = self._drawn(images.shape)
        total = torch.zeros((), device=self.together.device)
        parts = self.training.accumulation
        for part in zip(images.chunk(parts), noise.chunk(parts), steps.chunk(parts), strict=True):
            share = len(part[0]) / len(images)
            with diffusion.autocast(self.together.device, self.training.precision):
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
        return total

    def _drawn(self, shape: torch.Size) -> tuple[Tensor, Tensor]:
        """Return this process's share of the step's noise (k, c, r, r) and noise levels (k,)."""
        device, world = self.together.device, self.together.world
        number = int(randomness.at_step(self.training.seed, self.step).integers(2**63))
        random = torch.Generator(device).manual_seed(number)
        # Drawn for the whole batch everywhere, so that the result does not depend on the number of processes.
        count = shape[0] * world
        steps = torch.randint(self.settings.noise_steps, (count,), generator=random, device=device)
        noise = torch.randn((count, *shape[1:]), generator=random, device=device)
        return noise[self.together.rank :: world], steps[self.together.rank :: world]

    def _loss(self, network: nn.Module, images: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        shares = self.shares[steps]
        said = network(diffusion.add_noise(images, noise, shares), steps)
        return functional.mse_loss(said.float(), diffusion.prediction_of(self.settings, images, noise, shares))

    # -- the loop ---------------------------------------------------------------------------------------------

    def run(self, steps: int, stop: StopRequest) -> Path | None:
        """Train up to ``steps`` steps in all and return the last checkpoint (None where another process writes).

        Raises:
            GeneratorError: The loss or a weight stopped being finite.
            KeyboardInterrupt: Somebody asked to stop; a checkpoint was written.
        """
        progress = self.callbacks.progress if self.together.leads else SILENT
        first = self.step
        with (
            (
                TrainingLog(self.folder, step=first, board=self.training.tensorboard)
                if self.together.leads
                else _NoLog()
            ) as log,
            progress.task("training (images)", steps * self.training.batch) as advance,
        ):
            advance(first * self.training.batch)
            path = None
            window: list[Tensor] = []
            since = time.perf_counter()
            while self.step < steps:
                window.append(self.learn())
                advance(self.training.batch)
                asked = in_any(bool(stop), self.together)
                ends = asked or self.step == steps
                looks = _due(self.step, self.training.screen_every) and self.callbacks.screen is not None
                saves = ends or looks or _due(self.step, self.training.checkpoint_every)
                if saves or _due(self.step, self.training.log_every):
                    self._report(log, window, time.perf_counter() - since)
                    window, since = [], time.perf_counter()
                if _due(self.step, self.training.sample_every) and self.together.leads:
                    log.grid(self.step, self._samples(range(self.training.grid)), self.channels)
                clean = not looks or self._clean(log, progress)
                if saves:
                    path = self._save(log, clean=clean)
                if asked:
                    progress.say(f"Stopped after step {self.step}; `--resume` goes on from there.")
                    raise KeyboardInterrupt
                if not clean:
                    break
        return path

    def _report(self, log: Any, losses: list[Tensor], seconds: float) -> None:
        values = torch.stack(losses)
        if in_any(not bool(torch.isfinite(values).all()), self.together):
            bad = (~torch.isfinite(values)).nonzero().flatten()
            step = self.step - len(losses) + 1 + (int(bad[0]) if len(bad) else 0)
            raise self._failure(f"The loss is not finite at step {step}")
        images = len(losses) * self.training.batch
        log.row(self.step, {"loss": float(values.mean()), "images_per_second": images / max(seconds, 1e-9)})

    def _failure(self, what: str) -> GeneratorError:
        good = saved.latest(self.folder)
        where = f"The last good checkpoint is {saved.FOLDER}/{good.name}" if good else "No checkpoint was written yet"
        return GeneratorError(
            f"{what}: the training is stopped. {where}.",
            "Resume with a lower learning rate, with clip_norm = 1, or with precision = none or bf16.",
        )

    # -- looking at it ----------------------------------------------------------------------------------------

    def _samples(self, seeds: Sequence[int]) -> NDArray[np.uint8]:
        return np.concatenate(list(self.sampler(seeds)))

    def sampler(self, seeds: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
        """Yield what the averaged weights make of seeds, as it would be released: (k, c, r, r) uint8."""
        shape = (len(self.channels), self.feed.resolution, self.feed.resolution)
        batches = diffusion.images_of(self.average, seeds, self.settings, self.sampling, shape=shape)
        for batch in batches:
            yield as_released(batch, mask=self.feed.mask, levels=self.feed.levels)[0]

    def _clean(self, log: Any, progress: Progress) -> bool:
        """Have samples screened and say whether training may go on."""
        found = None
        if self.together.leads and self.callbacks.screen is not None:
            found = self.callbacks.screen(self.step, self.sampler)
            log.row(self.step, dict(found.scalars))
        stops = from_leader(found is not None and found.stop, self.together)
        if stops and found is not None:
            progress.say(f"Stopped after step {self.step} by the screen: {found.reason or 'no reason given'}.")
        return not stops

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

    # -- keeping it -------------------------------------------------------------------------------------------

    def _save(self, log: Any, *, clean: bool) -> Path | None:
        """Write a checkpoint, and mark it if it is the best so far; what the screen stopped is never the best."""
        norms = torch._foreach_norm([*self.network.parameters(), *self.average.parameters()])
        if not bool(torch.isfinite(torch.stack(list(norms))).all()):
            raise self._failure(f"A weight is not finite after step {self.step}")
        if not self.together.leads:
            return None
        state = saved.Checkpoint(
            step=self.step,
            networks={NETWORK: self.network.state_dict(), AVERAGE: self.average.state_dict()},
            optimisers={NETWORK: self.optimiser.state_dict()},
            scalars={"scaler": self.scaler.state_dict(), "clean": clean},
        )
        path = saved.save(self.folder, state, keep_last=self.training.keep_last)
        value = self.callbacks.judge(self.step, self.average) if self.callbacks.judge else self.probe()
        log.row(self.step, {self.callbacks.judge_name: value})
        if clean and math.isfinite(value):
            saved.mark_best(self.folder, path, metric=self.callbacks.judge_name, value=value)
        return path

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint."""
        state = saved.load(path)
        saved.restore(self.network, state.networks[NETWORK], name=NETWORK)
        saved.restore(self.average, state.networks[AVERAGE], name=AVERAGE)
        self.optimiser.load_state_dict(dict(state.optimisers[NETWORK]))
        for group in self.optimiser.param_groups:
            group["lr"] = self.training.learning_rate  # it may have been lowered to rescue the training
        if self.scaler.is_enabled() and state.scalars["scaler"]:
            self.scaler.load_state_dict(state.scalars["scaler"])
        self.step = state.step


class _NoLog:
    """The log of a process that does not write."""

    def __enter__(self) -> _NoLog:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def row(self, step: int, values: Any) -> None:
        """Write nothing."""

    def grid(self, step: int, images: Any, channels: Any) -> None:
        """Write nothing."""


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def describe(
    network: DiffusionSettings, training: DiffusionTraining, feed: ImageFeed, channels: Sequence[str], trained_on: str
) -> dict[str, Any]:
    """Return what `MODEL.json` says about a diffusion model."""
    return {
        "generator": "diffusion",
        "made_with": __version__,
        "channels": list(channels),
        "resolution": feed.resolution,
        "mask_levels": list(feed.levels) if feed.mask is not None else [],
        "network": network.model_dump(mode="json"),
        "training": training.model_dump(mode="json"),
        "trained_on": trained_on,
    }
