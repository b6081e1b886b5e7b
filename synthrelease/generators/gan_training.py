"""How the four GANs learn: two networks that take turns; `training_loop` does what is around it.

What tells one GAN from another is in `gan_games`. A step is: generator, its lazy penalty, discriminator, its lazy
penalty, running averages, augmentation. Averages of gradients over processes are taken without torch's
DistributedDataParallel, which fails where a penalty leaves some parameters without gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from synthrelease import seeds as randomness
from synthrelease.errors import SettingsError
from synthrelease.generators import losses
from synthrelease.generators.augment import AdaptiveProbability, AugmentSettings, augment
from synthrelease.generators.gan_games import Draws, Scorer, Turn, game_of
from synthrelease.generators.gan_sampling import GanSampling, images_of
from synthrelease.generators.image_feed import ImageFeed
from synthrelease.generators.interface import build_networks
from synthrelease.generators.resampling import fade, shrink
from synthrelease.generators.sampling import as_released
from synthrelease.generators.schedule import images_after, levels_of, split_level
from synthrelease.generators.training_loop import State, TrainingSettings
from synthrelease.training import checkpoint as saved
from synthrelease.training.ema import averaged_copy, update_average
from synthrelease.training.running import Processes, autocast, average_gradients

GENERATOR, DISCRIMINATOR, AVERAGE = "generator", "discriminator", "generator-average"
ADJUST_EVERY = 4  # steps between adjustments of the augmentation, as in the ADA paper
RUNNING = ("average", "magnitude")  # buffers that training moves; the others are constants
_LARGEST = 1e5  # of a gradient that overflowed in 16 bits


class GanTraining(TrainingSettings):
    """How a GAN learns, beyond its own settings (batch, learning rate, penalties), which come from its paper."""

    augment: Literal["none", "medical", "shifts", "official"] = Field(
        default="none", description="Adaptive augmentation of what the discriminator sees; see `augment`"
    )
    rate_scale: float = Field(default=1.0, gt=0, description="Multiplies every learning rate, to rescue a training")


class GanLearner:
    """A `training_loop.Learner`: two networks, their optimisers, and where the training stands."""

    def __init__(
        self,
        name: str,
        settings: Any,
        training: GanTraining,
        *,
        feed: ImageFeed,
        channels: Sequence[str],
        together: Processes,
    ) -> None:
        """Make the networks; the same seed gives the same weights in every process."""
        self.settings, self.training, self.feed = settings, training, feed
        self.channels, self.together = tuple(channels), together
        self.game = game_of(name, settings, feed.resolution)
        check_training(name, settings, training, resolution=feed.resolution, world=together.world)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(randomness.named(training.seed, "weights").integers(2**63)))
            made = build_networks(name, settings, channels=len(channels), resolution=feed.resolution)
        self.generator = made[GENERATOR].to(together.device).train()
        self.discriminator = made[DISCRIMINATOR].to(together.device).train()
        fit_statistics(self.generator, world=together.world, parts=training.accumulation)
        self.average = averaged_copy(self.generator)
        self.path_mean = torch.zeros((), device=together.device)
        self.step = self.images = 0
        self._levels: tuple[int, float] | None = None
        strengths = "medical" if training.augment == "none" else training.augment
        self.augmentation = AdaptiveProbability(AugmentSettings.preset(strengths))
        self.optimisers = self._fresh_optimisers()

    # -- schedules --------------------------------------------------------------------------------------------

    @property
    def level(self) -> float:
        """Growth so far; see `schedule.split_level`."""
        return float(self.settings.level_at(self.images, self.feed.resolution))

    def images_in(self, steps: int) -> int:
        """Return how many training images so many steps see; batches may shrink as the networks grow."""
        return images_after(self.settings, steps, self.feed.resolution)

    def _fresh_optimisers(self) -> dict[str, torch.optim.Adam]:
        return {
            name: torch.optim.Adam(network.parameters(), eps=self.settings.adam_epsilon, **self._adam(name))
            for name, network in ((GENERATOR, self.generator), (DISCRIMINATOR, self.discriminator))
        }

    def _adam(self, name: str) -> dict[str, Any]:
        """Return learning rate and betas of a network's optimiser at this step."""
        top, _ = split_level(self.level, levels_of(self.feed.resolution))
        rate = self.settings.learning_rate_at(2**top)
        if name == DISCRIMINATOR:
            rate = getattr(self.settings, "discriminator_learning_rate", rate)
        lazy = self.game.lazy_path if name == GENERATOR else self.game.lazy_penalty
        rate, betas = losses.lazy_adam(rate, self.settings.betas, lazy.interval if lazy else None)
        return {"lr": rate * self.training.rate_scale, "betas": betas}

    def _prepare_optimisers(self, top: int, share: float) -> None:
        """Set learning rates; forget Adam's state where the levels in use have changed."""
        levels = (top, 1.0 if share == 1.0 else 0.5)
        if self.game.grows and self._levels not in (None, levels) and self.settings.reset_optimizer:
            self.optimisers = self._fresh_optimisers()
        self._levels = levels
        for name, optimiser in self.optimisers.items():
            for group in optimiser.param_groups:
                group.update(self._adam(name))

    # -- one step ---------------------------------------------------------------------------------------------

    def learn(self) -> Mapping[str, Tensor | float]:
        """Take the next step and return its losses, scores and schedules."""
        level, device = self.level, self.together.device
        top, share = split_level(level, levels_of(self.feed.resolution))
        batch = self.settings.batch_at(2**top)
        self._prepare_optimisers(top, share)
        real = fade(shrink(self.feed.at(self.images, batch, device), 2**top), share)
        reals = real.chunk(self.training.accumulation)
        seen = self._teach_generator(reals, level) | self._teach_discriminator(reals, level)
        self.step += 1
        self.images += batch
        self._average_buffers()
        update_average(self.average, self.generator, self.settings.average_decay(batch, self.images))
        if self.training.augment != "none" and self.step % ADJUST_EVERY == 0:
            self.augmentation.adjust(total=self.together.total)
        return seen | {"augment/p": self.augmentation.value, "level": level}

    def _teach_generator(self, reals: Sequence[Tensor], level: float) -> dict[str, Tensor]:
        seen = {}

        def loss(part: int, real: Tensor) -> Tensor:
            turn = Turn(len(real), level, self._draws("generator", part))
            scores = self._scorer(level, turn.draws)(self.game.fakes(self.generator, turn))
            seen["score/generated"] = scores.detach().mean()
            return self.game.generator_loss(scores)

        seen["loss/generator"] = self._update(GENERATOR, reals, loss)
        path = self.game.lazy_path
        if path is not None and self.step % path.interval == 0:
            moved = []

            def penalty(part: int, real: Tensor) -> Tensor:
                count = max(1, int(len(real) * path.batch_share))
                found, mean = path.of(self.generator, Turn(count, level, self._draws("path", part)), self.path_mean)
                moved.append(mean)
                return found

            seen["penalty/path"] = self._update(GENERATOR, reals, penalty)
            self.path_mean = self.together.mean(torch.stack(moved).mean())
        return seen

    def _teach_discriminator(self, reals: Sequence[Tensor], level: float) -> dict[str, Tensor]:
        seen = {}

        def loss(part: int, real: Tensor) -> Tensor:
            turn = Turn(len(real), level, self._draws("discriminator", part), moving=True)
            with torch.no_grad():
                fake = self.game.fakes(self.generator, turn)
            found, scores = self.game.discriminator_loss(self._scorer(level, turn.draws), real, fake, turn.draws)
            seen["score/real"] = scores.detach().mean()
            self.augmentation.observe(scores)
            return found

        seen["loss/discriminator"] = self._update(DISCRIMINATOR, reals, loss)
        lazy = self.game.lazy_penalty
        if lazy is not None and self.step % lazy.interval == 0:
            seen["penalty/r1"] = self._update(
                DISCRIMINATOR,
                reals,
                lambda part, real: lazy.of(self._scorer(level, self._draws("penalty", part)), real),
            )
        return seen

    def _update(self, name: str, reals: Sequence[Tensor], loss: Callable[[int, Tensor], Tensor]) -> Tensor:
        """Have one network take one step down the loss of the parts of the batch; return its mean."""
        network = self.generator if name == GENERATOR else self.discriminator
        self.generator.requires_grad_(name == GENERATOR)
        self.discriminator.requires_grad_(name == DISCRIMINATOR)
        images = sum(len(real) for real in reals)
        total = torch.zeros((), device=self.together.device)
        for part, real in enumerate(reals):
            with autocast(self.together.device, self.training.precision):
                found = loss(part, real) * (len(real) / images)
            found.backward()  # type: ignore[no-untyped-call]
            total += found.detach()
        average_gradients(network.parameters(), self.together)
        if self.training.precision != "none":
            _tame(network)
        self.optimisers[name].step()
        self.optimisers[name].zero_grad(set_to_none=True)
        return total

    def _draws(self, purpose: str, part: int) -> Draws:
        return Draws(self.together, self.training.seed, purpose, self.step, part)

    def _scorer(self, level: float, draws: Draws) -> Scorer:
        """Return the discriminator with what stands in front of it: blur, augmentation, growth."""
        mask = () if self.feed.mask is None else (self.feed.mask,)
        options = {"level": level} if self.game.grows else {}

        def score(images: Tensor) -> Tensor:
            images = self.game.before_scoring(images, self.images)
            if self.training.augment != "none":
                images = augment(
                    images,
                    probability=self.augmentation.value,
                    masks=mask,
                    settings=self.augmentation.settings,
                    random=draws.own,
                )
            scores: Tensor = self.discriminator(images, **options)
            return scores

        return score

    @torch.no_grad()
    def _average_buffers(self) -> None:
        """Bring running statistics, which every process took of its own images, to their mean."""
        if self.together.world > 1:
            for name, buffer in self.generator.named_buffers():
                if name.rpartition(".")[2] in RUNNING:
                    buffer.copy_(self.together.mean(buffer))

    # -- looking at it and keeping it -------------------------------------------------------------------------

    def sampler(self, seeds: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
        """Yield what the averaged generator makes of seeds, as it would be released: (k, c, r, r) uint8."""
        for batch in images_of(self.average, seeds, GanSampling(), resolution=self.feed.resolution, level=self.level):
            yield as_released(batch, mask=self.feed.mask, levels=self.feed.levels)[0]

    def own_measure(self) -> None:
        """Return None: no loss of a GAN says how good its images are."""
        return

    def weights(self) -> Sequence[Tensor]:
        """Return every tensor that must stay finite."""
        return [*self.generator.parameters(), *self.discriminator.parameters(), *self.average.parameters()]

    def state(self) -> State:
        """Return all that the next step depends on."""
        networks = {GENERATOR: self.generator, DISCRIMINATOR: self.discriminator, AVERAGE: self.average}
        return State(
            networks={name: network.state_dict() for name, network in networks.items()},
            optimisers={name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
            scalars={
                "images": self.images,
                "level": self.level,
                "levels": self._levels,
                "path_mean": float(self.path_mean),
                "augmentation": self.augmentation.state(),
            },
        )

    def restore(self, checkpoint: saved.Checkpoint) -> None:
        """Go on from a checkpoint."""
        for name, network in (
            (GENERATOR, self.generator),
            (DISCRIMINATOR, self.discriminator),
            (AVERAGE, self.average),
        ):
            saved.restore(network, checkpoint.networks[name], name=name)
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(dict(checkpoint.optimisers[name]))
        scalars = checkpoint.scalars
        self.step, self.images = checkpoint.step, scalars["images"]
        self._levels = tuple(scalars["levels"]) if scalars["levels"] else None
        self.path_mean = torch.tensor(scalars["path_mean"], device=self.together.device)
        self.augmentation.restore(scalars["augmentation"])


def check_training(name: str, settings: Any, training: GanTraining, *, resolution: int, world: int) -> None:
    """Raise `SettingsError` with everything in the settings that cannot be done together."""
    game, parts = game_of(name, settings, resolution), training.accumulation * world
    batches = {settings.batch_at(2**level) for level in range(2, levels_of(resolution) + 1)}
    odd = sorted(batch for batch in batches if batch % parts)
    problems = []
    if odd:
        numbers = ", ".join(map(str, odd))
        problems.append(f"batches of {numbers} cannot be divided by {world} processes x {training.accumulation} parts")
    if training.precision == "fp16" and not game.halves:
        problems.append(f"{name} has no clamp for 16-bit floats: take bf16 or none")
    if training.augment != "none" and not game.adaptive:
        problems.append(f"{name}'s scores do not tell how sure its discriminator is: augmentation cannot follow them")
    if problems:
        raise SettingsError("; ".join(problems) + ".", "See `synthrelease train --help`.")


def fit_statistics(network: nn.Module, *, world: int, parts: int) -> None:
    """Set the pace of running statistics so that a step moves them as if one process had seen its whole batch."""
    module: Any
    for module in network.modules():
        if hasattr(module, "half_life"):
            module.half_life = module.half_life / world
        if hasattr(module, "update_average"):
            module.beta = module.beta ** (1 / parts)


def _tame(network: nn.Module) -> None:
    """Replace what overflowed in 16 bits, so that one such image does not end the training (the specification's rule).

    In 32 bits nothing overflows unless the training has gone wrong, and then it must be seen.
    """
    for parameter in network.parameters():
        if parameter.grad is not None:
            torch.nan_to_num(parameter.grad, nan=0.0, posinf=_LARGEST, neginf=-_LARGEST, out=parameter.grad)
