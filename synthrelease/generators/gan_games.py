"""The game that each GAN's two networks play: what is shown to the discriminator, and what each network is paid for.

Everything else (schedules, optimisers, averages, augmentation, processes) is `gan_training`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from synthrelease import seeds
from synthrelease.generators import losses
from synthrelease.generators.filters import gaussian_blur
from synthrelease.generators.progan import ProGANSettings
from synthrelease.generators.stylegan1 import StyleGAN1Settings
from synthrelease.generators.stylegan2 import StyleGAN2Settings
from synthrelease.generators.stylegan3 import StyleGAN3Settings
from synthrelease.generators.styles import draw_crossovers, fresh_noise
from synthrelease.settings import Settings
from synthrelease.training.running import Processes

Scorer = Callable[[Tensor], Tensor]
"""Images (n, c, r, r) to the discriminator's scores (n,), by way of everything that stands in front of it."""


class Draws:
    """Random numbers of one part of one step.

    They are drawn for the images of all processes, and this process keeps its rows: what is learnt does not depend on
    how many processes share the work. Augmentation alone draws from `own`, on the CPU, another one in each process.
    """

    def __init__(self, together: Processes, seed: int, *place: str | int) -> None:
        self._together = together
        number = int(seeds.named(seed, *place).integers(2**63))
        self.random = torch.Generator(together.device).manual_seed(number)
        self.own = torch.Generator().manual_seed((number + together.rank) % 2**63)

    def normal(self, count: int, *shape: int) -> Tensor:
        """Return standard normal numbers (count, *shape) on the device."""
        size = (count * self._together.world, *shape)
        return self._together.share(torch.randn(size, generator=self.random, device=self.random.device))

    def uniform(self, count: int) -> Tensor:
        """Return numbers (count,) uniform in 0 to 1."""
        size = (count * self._together.world,)
        return self._together.share(torch.rand(size, generator=self.random, device=self.random.device))

    def crossovers(self, count: int, layers: int, probability: float) -> Tensor:
        """Return (count,) layer numbers; see `styles.draw_crossovers`."""
        return self._together.share(draw_crossovers(count * self._together.world, layers, probability, self.random))


@dataclass(frozen=True)
class Turn:
    """One use of the generator in training."""

    count: int  # images
    level: float  # of growth, see `schedule.split_level`
    draws: Draws
    moving: bool = False  # whether running statistics move: once a step, as the discriminator learns


@dataclass(frozen=True)
class LazyPenalty:
    """A penalty of the discriminator that comes every few steps, as an update of its own."""

    interval: int  # steps
    of: Callable[[Scorer, Tensor], Tensor]  # score and real images to what is lowered


@dataclass(frozen=True)
class LazyPath:
    """A penalty of the generator that comes every few steps, as an update of its own."""

    interval: int  # steps
    batch_share: float  # of the batch that it is computed on
    of: Callable[[Any, Turn, Tensor], tuple[Tensor, Tensor]]  # generator, turn, mean to what is lowered, moved mean


class Game(Protocol):
    """What tells one GAN's training from another's."""

    lazy_penalty: LazyPenalty | None
    lazy_path: LazyPath | None
    grows: bool
    """Whether the discriminator has to be told the level."""
    adaptive: bool
    """Whether scores tell how sure the discriminator is, so that augmentation can follow it."""
    halves: bool
    """Whether the networks clamp what 16-bit floats cannot hold."""

    def fakes(self, generator: Any, turn: Turn) -> Tensor:
        """Return generated images (n, c, r, r)."""

    def before_scoring(self, images: Tensor, seen: int) -> Tensor:
        """Return what the discriminator is shown of images, after so many real ones."""

    def generator_loss(self, scores: Tensor) -> Tensor:
        """Return what the generator lowers, from the scores of its images."""

    def discriminator_loss(self, score: Scorer, real: Tensor, fake: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Return what the discriminator lowers, and the scores of the real images."""


class _Logistic:
    """What the style-based GANs share: the non-saturating logistic game."""

    adaptive = True

    def generator_loss(self, scores: Tensor) -> Tensor:
        return losses.logistic_generator(scores)

    def discriminator_loss(self, score: Scorer, real: Tensor, fake: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        scores = score(real)
        return losses.logistic_discriminator(scores, score(fake)), scores

    def before_scoring(self, images: Tensor, seen: int) -> Tensor:
        return images


class ProGANGame:
    """Wasserstein scores with a gradient penalty, and networks that grow."""

    lazy_penalty: LazyPenalty | None = None
    lazy_path: LazyPath | None = None
    grows = True
    adaptive = halves = False

    def __init__(self, settings: ProGANSettings) -> None:
        self.settings = settings

    def fakes(self, generator: Any, turn: Turn) -> Tensor:
        images: Tensor = generator(turn.draws.normal(turn.count, generator.latent), level=turn.level)
        return images

    def before_scoring(self, images: Tensor, seen: int) -> Tensor:
        return images

    def generator_loss(self, scores: Tensor) -> Tensor:
        return losses.wasserstein_generator(scores)

    def discriminator_loss(self, score: Scorer, real: Tensor, fake: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        scores = score(real)
        loss = losses.wasserstein_discriminator(scores, score(fake)) + losses.drift(scores, self.settings.drift)
        penalty = losses.gradient_penalty(
            score, real=real, fake=fake, shares=draws.uniform(len(real)), weight=self.settings.penalty
        )
        return loss + penalty, scores


class StyleGAN1Game(_Logistic):
    """R1 at every step, mixed styles, networks that grow."""

    lazy_penalty: LazyPenalty | None = None
    lazy_path: LazyPath | None = None
    grows = True
    halves = False

    def __init__(self, settings: StyleGAN1Settings) -> None:
        self.settings = settings

    def fakes(self, generator: Any, turn: Turn) -> Tensor:
        layers = generator.synthesis.layers_at(turn.level)
        styles = _mixed(generator, turn, layers, self.settings.mixing)
        images: Tensor = generator.synthesis(styles, noise=fresh_noise(turn.draws.normal), level=turn.level)
        return images

    def discriminator_loss(self, score: Scorer, real: Tensor, fake: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        real = real.detach().requires_grad_(True)
        scores = score(real)
        loss = losses.logistic_discriminator(scores, score(fake))
        return loss + losses.r1_penalty(scores, real, gamma=self.settings.r1), scores


class _LazyR1(_Logistic):
    """R1 every few steps, as an update of its own."""

    grows = False
    halves = True

    def __init__(self, settings: StyleGAN2Settings | StyleGAN3Settings, resolution: int) -> None:
        gamma, interval = settings.r1_gamma(resolution), settings.r1_interval

        def penalty(score: Scorer, real: Tensor) -> Tensor:
            real = real.detach().requires_grad_(True)
            return losses.r1_penalty(score(real), real, gamma=gamma, interval=interval)

        self.lazy_penalty: LazyPenalty | None = LazyPenalty(interval, penalty) if gamma > 0 else None


class StyleGAN2Game(_LazyR1):
    """Lazy R1 and path length penalties, mixed styles."""

    def __init__(self, settings: StyleGAN2Settings, resolution: int) -> None:
        super().__init__(settings, resolution)
        self.settings = settings
        path = LazyPath(settings.path_interval, settings.path_batch_share, self._path_penalty)
        self.lazy_path: LazyPath | None = path if settings.path_length > 0 else None

    def fakes(self, generator: Any, turn: Turn) -> Tensor:
        styles = _mixed(generator, turn, generator.synthesis.layers, self.settings.mixing)
        images: Tensor = generator.synthesis(styles, noise=fresh_noise(turn.draws.normal))
        return images

    def _path_penalty(self, generator: Any, turn: Turn, mean: Tensor) -> tuple[Tensor, Tensor]:
        styles = _mixed(generator, turn, generator.synthesis.layers, self.settings.mixing)
        images = generator.synthesis(styles, noise=fresh_noise(turn.draws.normal))
        lengths = losses.path_lengths(images, styles, turn.draws.normal(*images.shape))
        return losses.path_length_penalty(
            lengths,
            mean,
            weight=self.settings.path_length,
            interval=self.settings.path_interval,
            decay=self.settings.path_decay,
        )


class StyleGAN3Game(_LazyR1):
    """Lazy R1; running magnitudes of the layers; in configuration R the discriminator's first images are blurred."""

    lazy_path: LazyPath | None = None

    def __init__(self, settings: StyleGAN3Settings, resolution: int) -> None:
        super().__init__(settings, resolution)
        self.settings = settings

    def fakes(self, generator: Any, turn: Turn) -> Tensor:
        styles = generator.styles(turn.draws.normal(turn.count, generator.latent))
        if turn.moving:
            generator.mapping.update_average(styles[:, 0])
        images: Tensor = generator.synthesis(styles, update=turn.moving)
        return images

    def before_scoring(self, images: Tensor, seen: int) -> Tensor:
        return gaussian_blur(images, self.settings.blur_at(seen))


def _mixed(generator: Any, turn: Turn, layers: int, probability: float) -> Tensor:
    """Return styles (n, layers, latent) of which some change from one latent to another on the way."""
    first = turn.draws.normal(turn.count, generator.latent)
    second = turn.draws.normal(turn.count, generator.latent)
    crossovers = turn.draws.crossovers(turn.count, layers, probability)
    styles: Tensor = generator.styles(first, second=second, crossovers=crossovers)
    if turn.moving:
        generator.mapping.update_average(styles[:, 0])
    return styles


def game_of(name: str, settings: Settings, resolution: int) -> Game:
    """Return the game of a GAN by its name; ``settings`` are those of its networks."""
    match name:
        case "progan":
            return ProGANGame(cast(ProGANSettings, settings))
        case "stylegan1":
            return StyleGAN1Game(cast(StyleGAN1Settings, settings))
        case "stylegan2":
            return StyleGAN2Game(cast(StyleGAN2Settings, settings), resolution)
        case _:
            return StyleGAN3Game(cast(StyleGAN3Settings, settings), resolution)
