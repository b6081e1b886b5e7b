"""Segmentation networks from MONAI: a 2-D U-Net with deep supervision, and a Swin Transformer with a UNETR decoder.

Preset `akbar2024` follows the reference study where MONAI can. Known differences: its U-Net has unpadded convolutions
on larger inputs, ours is padded; its Swin network is Swin-B with a UPerNet decoder and patches of 4 pixels (128
features), ours is SwinUNETR (Hatamizadeh et al. 2022), in 2-D, with patches of 2 and 132 features, because MONAI wants
multiples of 12. Preset `small` is for CPUs.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import cast

import torch
import torch.nn.functional as functional
from monai.networks.nets import DynUNet, SwinUNETR
from pydantic import Field, model_validator
from torch import Tensor, nn

from synthrelease.errors import SettingsError
from synthrelease.settings import Settings

SLOPE = 0.01  # of the leaky rectifiers, as in the study
STUDY, SMALL = "akbar2024", "small"


class UNetSettings(Settings):
    """The 2-D U-Net: instance norm, leaky rectifiers, supervised at several resolutions."""

    filters: tuple[int, ...] = Field(default=(64, 128, 256, 512, 1024, 2048), description="Features per resolution")
    heads: int = Field(
        default=3, ge=0, description="Coarser outputs that are trained too, with weights 1/2, 1/4, ...; 0: none"
    )

    @model_validator(mode="after")
    def _fits(self) -> UNetSettings:
        if len(self.filters) < 3 or min(self.filters) < 1:
            raise ValueError("filters needs at least three positive numbers")
        if self.heads > len(self.filters) - 2:
            raise ValueError(f"{len(self.filters)} resolutions have at most {len(self.filters) - 2} coarser outputs")
        return self


class SwinSettings(Settings):
    """SwinUNETR in two dimensions."""

    features: int = Field(default=132, ge=12, multiple_of=12, description="Of the first stage; they double four times")
    depths: tuple[int, int, int, int] = Field(default=(2, 2, 18, 2), description="Transformer blocks per stage")
    heads: tuple[int, int, int, int] = Field(default=(4, 8, 16, 32), description="Attention heads per stage")
    window: int = Field(default=7, ge=2, description="Side of the attention windows, patches")
    drop_path: float = Field(default=0.3, ge=0, lt=1, description="Chance that a block is skipped in training")

    @model_validator(mode="after")
    def _fits(self) -> SwinSettings:
        stages = [(self.features * 2**i, heads) for i, heads in enumerate(self.heads)]
        if min((*self.depths, *self.heads)) < 1 or any(width % heads for width, heads in stages):
            raise ValueError("each stage needs a block, and features that its heads divide evenly")
        return self


NetworkSettings = UNetSettings | SwinSettings

PRESETS: Mapping[str, Mapping[str, NetworkSettings]] = MappingProxyType(
    {
        "unet": {STUDY: UNetSettings(), SMALL: UNetSettings(filters=(16, 32, 64, 128, 128), heads=2)},
        "swin": {
            STUDY: SwinSettings(),
            SMALL: SwinSettings(features=12, depths=(1, 1, 1, 1), heads=(1, 2, 4, 8), window=4, drop_path=0.0),
        },
    }
)
"""Network and preset: its settings; the first preset is the default."""


def chosen(name: str, preset: str | None) -> tuple[str, NetworkSettings]:
    """Return a preset's name and settings; None takes the study's.

    Raises:
        SettingsError: There is no such network or preset.
    """
    if name not in PRESETS:
        raise SettingsError(f"There is no segmentation network {name!r}.", f"Choose one of {', '.join(PRESETS)}.")
    preset = preset or STUDY
    if preset not in PRESETS[name]:
        raise SettingsError(f"{name} has no preset {preset!r}.", f"Choose one of {', '.join(PRESETS[name])}.")
    return preset, PRESETS[name][preset]


class Segmenter(nn.Module):
    """A network for images of any size: padded to what it can halve, answered at the size that came in."""

    def __init__(self, settings: NetworkSettings, *, contrasts: int, classes: int) -> None:
        """Make the network; weights come from torch's generator.

        Args:
            settings: Of either network.
            contrasts: Channels in.
            classes: Channels out, background included.
        """
        super().__init__()
        self.settings = settings
        if isinstance(settings, UNetSettings):
            self.multiple = 2 ** (len(settings.filters) - 1)
            self.body = _unet(settings, contrasts, classes)
        else:
            self.multiple = 32  # SwinUNETR halves five times
            self.body = _swin(settings, contrasts, classes)

    @property
    def is_random(self) -> bool:
        """Whether a training step draws random numbers within the network."""
        return isinstance(self.settings, SwinSettings) and self.settings.drop_path > 0

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (b, classes, h, w) of images (b, contrasts, h, w)."""
        return self.outputs(images)[0]

    def outputs(self, images: Tensor) -> list[Tensor]:
        """Return the logits (b, classes, h, w) of every supervised output, the finest first."""
        height, width = images.shape[2:]
        # At least two pixels must be left at the coarsest resolution: instance norm has no spread of one.
        down, right = (_padding(side, self.multiple) for side in (height, width))
        made = self.body(functional.pad(images, (0, right, 0, down)))
        stacked = made if made.ndim == 5 else made[:, None]  # in training: (b, outputs, classes, h, w)
        return list(stacked[..., :height, :width].unbind(1))


def _padding(side: int, multiple: int) -> int:
    return max(-(-side // multiple), 2) * multiple - side


def _unet(settings: UNetSettings, contrasts: int, classes: int) -> nn.Module:
    levels = len(settings.filters)
    network = DynUNet(
        spatial_dims=2,
        in_channels=contrasts,
        out_channels=classes,
        kernel_size=[3] * levels,
        strides=[1] + [2] * (levels - 1),
        upsample_kernel_size=[2] * (levels - 1),
        filters=settings.filters,
        norm_name=("INSTANCE", {"affine": True}),
        act_name=("leakyrelu", {"inplace": True, "negative_slope": SLOPE}),
        deep_supervision=settings.heads > 0,
        deep_supr_num=max(settings.heads, 1),
    )
    return cast(nn.Module, network)


def _swin(settings: SwinSettings, contrasts: int, classes: int) -> nn.Module:
    network = SwinUNETR(
        in_channels=contrasts,
        out_channels=classes,
        spatial_dims=2,
        feature_size=settings.features,
        depths=settings.depths,
        num_heads=settings.heads,
        window_size=settings.window,
        dropout_path_rate=settings.drop_path,
    )
    return cast(nn.Module, network)


def built(settings: NetworkSettings, *, contrasts: int, classes: int, seed: int) -> Segmenter:
    """Return a network whose weights are a function of the seed, leaving torch's own generator alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Segmenter(settings, contrasts=contrasts, classes=classes)
