"""StyleGAN 3: a generator whose detail moves with what it belongs to (Karras et al. 2021, arXiv 2106.12423).

Every layer is band-limited: the nonlinearity runs at twice the sampling rate between two low-pass filters, so that no
layer can read pixel positions out of aliasing. Configuration T follows translations, R rotations as well. The
mapping network and the discriminator are StyleGAN 2's. Written from the paper and the project's own specification.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from synthrelease.generators import stylegan2
from synthrelease.generators.filters import CLAMP, FilteredLeakyReLU, Signal
from synthrelease.generators.fourier_features import FourierFeatures, in_full_precision
from synthrelease.generators.layers import EPSILON, EqualizedLinear, add_bias
from synthrelease.generators.schedule import half_life_decay, levels_of, warmed_up_decay
from synthrelease.generators.styles import StyleMapping, truncate
from synthrelease.settings import Settings

FIRST_CUTOFF = 2.0  # cycles per image width that the first layer may carry
FIRST_STOPBAND = 2**2.1  # where its filter has done its work
LAST_STOPBAND = 2**0.3  # the same for the last layer, relative to its cutoff
CRITICAL_LAYERS = 2  # at the end: cutoff at the Nyquist frequency, to use all the resolution there is
MARGIN = 10  # pixels computed beyond each edge, so that nothing can be told from the border
OUTPUT_SCALE = 0.25
OFFICIAL_LAYERS = 14


class StyleGAN3Settings(Settings):
    """StyleGAN 3; the defaults are the paper's networks from 128 px up, and its training."""

    configuration: Literal["T", "R"] = Field(
        default="T", description="T: detail follows shifts; R: turns too, by 1x1 convolutions with twice the features"
    )
    layers: int | None = Field(
        default=None,
        ge=4,
        le=20,
        description="Layers before the last 1x1 convolution; none: 14, but 8 at 64 px and 6 below, because 14 layers"
        " at 32 px have more parameters than at 256 px",
    )
    channel_base: int = Field(default=32768, ge=16, description="Features at a cutoff of r/2: base / r; R doubles it")
    channel_max: int = Field(
        default=512, ge=1, description="Most features of a layer; 32 trains on a CPU; R doubles it"
    )
    latent: int = Field(default=512, ge=1, description="Numbers in a latent vector z, and in w")
    mapping_layers: int = Field(default=2, ge=1, description="Dense layers from z to w")
    mapping_rate: float = Field(default=0.01, gt=0, description="Their learning rate, relative")
    group: int = Field(default=4, ge=1, description="Images compared by the minibatch deviation; divides the batch")
    half_levels: int = Field(
        default=4, ge=0, description="Under mixed precision, the highest levels computed in 16 bits; the rest in 32"
    )
    style_average_beta: float = Field(default=0.998, ge=0, lt=1, description="Decay per batch of the average w")
    magnitude_kimg: float = Field(
        default=20,
        gt=0,
        description="Half-life of the mean squares by which layers divide their input, thousand images",
    )
    truncation_layers: int | None = Field(default=None, ge=1, description="Only the first are truncated; none: all")
    total_kimg: float = Field(default=25_000, gt=0, description="Thousand real images in all")
    batch: int = Field(default=32, ge=1, description="Images a step over all devices")
    learning_rate: float = Field(default=0.0025, gt=0, description="Adam's for the generator; nothing lazy corrects it")
    discriminator_learning_rate: float = Field(
        default=0.002, gt=0, description="Adam's for the discriminator, before the correction for the lazy penalty"
    )
    betas: tuple[float, float] = Field(default=(0.0, 0.99), description="Adam's; no momentum, as the game turns")
    adam_epsilon: float = Field(default=1e-8, gt=0, description="Adam's")
    r1: float | None = Field(
        default=None,
        ge=0,
        description="Gamma of the R1 penalty; none: 0.001 * resolution^2 / batch, 2 at 256 px and 32",
    )
    r1_interval: int = Field(default=16, ge=1, description="Steps between R1 penalties, each weighing as many times")
    blur_sigma: float | None = Field(
        default=None, ge=0, description="Pixels by which D's first images are blurred; none: 10 in R, 0 in T"
    )
    average_kimg: float | None = Field(
        default=None, gt=0, description="Half-life of the averaged generator, thousand images; none: batch * 10 / 32"
    )
    average_rampup: float | None = Field(
        default=0.05, gt=0, description="Half-life at most this share of the images so far, so that it warms up"
    )

    def of_stylegan2(self) -> stylegan2.StyleGAN2Settings:
        """Return the settings of what is StyleGAN 2's: the discriminator, which R does not widen."""
        shared = ("channel_base", "channel_max", "group", "half_levels")
        return stylegan2.StyleGAN2Settings(**{name: getattr(self, name) for name in shared})

    def layers_at(self, resolution: int) -> int:
        """Return the layers before the last 1x1 convolution."""
        if self.layers is not None:
            return self.layers
        return OFFICIAL_LAYERS if resolution >= 128 else 8 if resolution == 64 else 6

    def features_at(self, cutoff: float) -> int:
        """Return the feature maps of a layer with this cutoff, cycles per image width."""
        wider = 2 if self.configuration == "R" else 1
        return max(1, round(wider * min(self.channel_base / 2 / cutoff, self.channel_max)))

    def r1_gamma(self, resolution: int) -> float:
        """Return gamma of the R1 penalty at a resolution in pixels."""
        return 0.001 * resolution**2 / self.batch if self.r1 is None else self.r1

    def blur_at(self, images: int) -> float:
        """Return the sigma, in pixels, of `filters.gaussian_blur` before the discriminator after so many images.

        It fades out over the first 200,000 images at a batch of 32, in proportion at others.
        """
        start = self.blur_sigma if self.blur_sigma is not None else 10.0 if self.configuration == "R" else 0.0
        return start * max(1 - images / (self.batch * 200_000 / 32), 0)

    def level_at(self, images: int, resolution: int) -> float:
        """Return the level of growth, always the last."""
        return float(levels_of(resolution))

    def batch_at(self, resolution: int) -> int:
        """Return the images per step."""
        return self.batch

    def learning_rate_at(self, resolution: int) -> float:
        """Return Adam's learning rate for the generator."""
        return self.learning_rate

    def average_decay(self, batch: int, images: int) -> float:
        """Return the share of the averaged generator that one step of `batch` images keeps, `images` seen so far."""
        return warmed_up_decay(batch, images, kimg=self.average_kimg, rampup=self.average_rampup)


PRESETS = {
    "t": StyleGAN3Settings(),
    "r": StyleGAN3Settings(configuration="R"),
    "official": StyleGAN3Settings(layers=OFFICIAL_LAYERS),
    "official-r": StyleGAN3Settings(configuration="R", layers=OFFICIAL_LAYERS),
    "small": StyleGAN3Settings(
        channel_base=2048,
        channel_max=64,
        latent=128,
        batch=16,
        learning_rate=0.004,
        discriminator_learning_rate=0.004,
        r1=1.0,
        average_kimg=0.5,
    ),
}
"""Settings by name: configurations T and R; the same with the published 14 layers at every resolution; narrow
networks, for a CPU."""


def plan(settings: StyleGAN3Settings, *, channels: int, resolution: int) -> list[Signal]:
    """Return the signal of each layer, the last 1x1 convolution included; the input's is the first layer's.

    Cutoff and stop band grow geometrically up to the critically sampled layers (StyleGAN 3, section 3.2 and figure 4).
    """
    levels_of(resolution)
    count, last_cutoff = settings.layers_at(resolution), resolution / 2
    last_stopband = last_cutoff * LAST_STOPBAND
    signals = []
    for index in range(count + 1):
        progress = min(index / (count - CRITICAL_LAYERS), 1)
        cutoff = FIRST_CUTOFF * (last_cutoff / FIRST_CUTOFF) ** progress
        stopband = FIRST_STOPBAND * (last_stopband / FIRST_STOPBAND) ** progress
        rate = 2 ** math.ceil(math.log2(min(2 * stopband, resolution)))
        size = resolution if index >= count - 1 else rate + 2 * MARGIN
        half_width = max(stopband, rate / 2) - cutoff
        features = channels if index == count else settings.features_at(cutoff)
        signals.append(Signal(size, rate, cutoff, half_width, features))
    return signals


class Generator(nn.Module):
    """Latent vectors to images, by way of styles.

    Image i depends on z[i] alone: there is no noise, and no statistic over the batch outside training.
    """

    def __init__(self, settings: StyleGAN3Settings, *, channels: int, resolution: int) -> None:
        super().__init__()
        self.latent = settings.latent
        self.truncation_layers = settings.truncation_layers
        self.mapping = StyleMapping(settings, gain_in_weights=False)
        self.synthesis = Synthesis(settings, channels=channels, resolution=resolution)

    def forward(self, z: Tensor, *, truncation: float = 1.0) -> Tensor:
        """Return images (n, channels, resolution, resolution), about -1 to 1.

        Args:
            z: (n, latent) standard normal.
            truncation: psi; 1 keeps all variety, 0 gives the mean image.
        """
        images: Tensor = self.synthesis(self.styles(z, truncation=truncation))
        return images

    def styles(self, z: Tensor, *, truncation: float = 1.0) -> Tensor:
        """Return styles (n, layers, latent) of z (n, latent)."""
        styles = self.mapping(z)[:, None].expand(-1, self.synthesis.layers, -1)
        return truncate(styles, self.mapping.average, truncation, self.truncation_layers)


class Discriminator(stylegan2.Discriminator):
    """Images to one score each: StyleGAN 2's, which configuration R does not widen."""

    def __init__(self, settings: StyleGAN3Settings, *, channels: int, resolution: int) -> None:
        super().__init__(settings.of_stylegan2(), channels=channels, resolution=resolution)


class Synthesis(nn.Module):
    """Styles to images: Fourier features, then layers of growing bandwidth."""

    def __init__(self, settings: StyleGAN3Settings, *, channels: int, resolution: int) -> None:
        super().__init__()
        signals = plan(settings, channels=channels, resolution=resolution)
        self.layers = len(signals) + 1  # the input takes a style too
        self.input = FourierFeatures(signals[0], settings.latent)
        rotating = settings.configuration == "R"
        self.blocks = nn.ModuleList(
            FilteredLayer(
                signals[max(index - 1, 0)],
                signal,
                settings.latent,
                kernel=1 if rotating else 3,
                radial=rotating and index < len(signals) - 1 - CRITICAL_LAYERS,
                half_life=1000 * settings.magnitude_kimg,
            )
            for index, signal in enumerate(signals[:-1])
        )
        self.to_image = ToImage(signals[-2], signals[-1], settings.latent, half_life=1000 * settings.magnitude_kimg)
        self.in_half = [s.rate * 2**settings.half_levels > resolution for s in signals]

    def forward(self, styles: Tensor, *, update: bool = False) -> Tensor:
        """Return images (n, channels, resolution, resolution) in float32 of styles (n, layers, latent).

        `update` moves the running magnitudes of the layers' inputs: in training, once a step.
        """
        first, *rest = styles.unbind(1)
        x = self.input(first)
        for block, w, half in zip([*self.blocks, self.to_image], rest, self.in_half, strict=True):
            with nullcontext() if half else in_full_precision(x):
                x = block(x, w, update=update)
        image: Tensor = x.float() * OUTPUT_SCALE
        return image


class _ModulatedLayer(nn.Module):
    """A modulated convolution of an input that is brought to unit magnitude."""

    magnitude: Tensor

    def __init__(self, inputs: int, outputs: int, latent: int, *, kernel: int, half_life: float) -> None:
        super().__init__()
        self.affine = EqualizedLinear(latent, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.half_life = half_life
        self.register_buffer("magnitude", torch.ones(()))

    def _style_and_gain(self, x: Tensor, w: Tensor, update: bool) -> tuple[Tensor, Tensor]:
        if update:
            mean_square = x.detach().float().square().mean()
            self.magnitude.copy_(torch.lerp(mean_square, self.magnitude, half_life_decay(len(x), self.half_life)))
        with in_full_precision(x):
            return self.affine(w.float()), self.magnitude.rsqrt()


class FilteredLayer(_ModulatedLayer):
    """Maps the source signal (n, c, size, size) and w (n, latent) to the target signal."""

    def __init__(
        self, source: Signal, target: Signal, latent: int, *, kernel: int, radial: bool, half_life: float
    ) -> None:
        super().__init__(source.channels, target.channels, latent, kernel=kernel, half_life=half_life)
        self.activation = FilteredLeakyReLU(source, target, before=source.size + kernel - 1, radial=radial)

    def forward(self, x: Tensor, w: Tensor, *, update: bool = False) -> Tensor:
        style, gain = self._style_and_gain(x, w, update)
        y = modulated_convolution(x, self.weight, style, gain=gain)
        out: Tensor = self.activation(add_bias(y, self.bias))
        return out


class ToImage(_ModulatedLayer):
    """Maps features and w to contrasts and mask, pixel by pixel; the style is not divided out."""

    def __init__(self, source: Signal, target: Signal, latent: int, *, half_life: float) -> None:
        super().__init__(source.channels, target.channels, latent, kernel=1, half_life=half_life)

    def forward(self, x: Tensor, w: Tensor, *, update: bool = False) -> Tensor:
        style, gain = self._style_and_gain(x, w, update)
        scale = style * gain / math.sqrt(self.weight.shape[1])
        y = functional.conv2d(x * scale.to(x.dtype)[:, :, None, None], self.weight)
        return add_bias(y, self.bias).clamp(-CLAMP, CLAMP)


def modulated_convolution(x: Tensor, weight: Tensor, style: Tensor, *, gain: Tensor) -> Tensor:
    """Return x convolved with each image's own kernel s w / |s w| (StyleGAN 2, equations 1 to 3), k - 1 pixels larger.

    Args:
        x: (n, in, h, w), with what lies outside taken as 0.
        weight: (out, in, k, k), shared by all images: x is scaled instead, and the result divided.
        style: (n, in), float32.
        gain: Scalar on the input, float32.
    """
    # Both to unit mean square, so that 16-bit sums stay in range. The style's size cancels below, so it may be taken
    # for each image; over the batch, as published, image i would depend on the others by a rounding error.
    weight = weight * weight.square().mean((1, 2, 3), keepdim=True).rsqrt()
    style = style * (style.square().mean(1, keepdim=True) + EPSILON).rsqrt()
    scaled = x * (style * gain).to(x.dtype)[:, :, None, None]
    y = functional.conv2d(scaled, weight, padding=weight.shape[-1] - 1)
    with in_full_precision(x):
        power = style.square() @ weight.square().sum((2, 3)).T  # (n, out)
    return y * (power + EPSILON).rsqrt().to(y.dtype)[:, :, None, None]
