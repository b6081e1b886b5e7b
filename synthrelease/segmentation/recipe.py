"""How a segmenter learns: optimiser, schedule, length, when to stop; presets for the study's runs and for CPUs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from pydantic import Field

from synthrelease.segmentation.networks import SMALL, STUDY
from synthrelease.settings import Settings
from synthrelease.training.running import Precision


class SegmenterTraining(Settings):
    """One training; the defaults are the study's for the U-Net where it says something."""

    seed: int = Field(default=0, ge=0, description="Of weights, order of images, augmentation")
    steps: int = Field(default=666_667, ge=1, description="Optimiser steps; study: 3.2e7 images in batches of 48")
    batch: int = Field(default=48, ge=1, description="Images per step, over all processes")
    optimiser: Literal["sgd", "adamw"] = Field(default="sgd", description="sgd is with Nesterov momentum")
    learning_rate: float = Field(default=0.02, gt=0, description="At its highest")
    momentum: float = Field(default=0.99, ge=0, lt=1, description="Of sgd")
    weight_decay: float = Field(default=3e-5, ge=0, description="Of either optimiser")
    warmup_steps: int = Field(default=0, ge=0, description="Steps in which the learning rate rises to its highest")
    decay_power: float = Field(default=0.9, ge=0, description="Learning rate falls as (1 - step / steps) to this power")
    clip_norm: float = Field(default=12.0, ge=0, description="Longest gradient; 0 leaves it alone")
    background: bool = Field(default=True, description="Whether background counts in the Dice term of the loss")
    precision: Precision = Field(default="none", description="none is 32 bits; bf16 on recent GPUs, fp16 (study)")
    average_decay: float = Field(
        default=0.0, ge=0, lt=1, description="Average of the weights that is validated and used; 0: the weights as such"
    )
    validate_every: int = Field(default=1000, ge=1, description="Steps between validations, each with a checkpoint")
    patience: int = Field(
        default=0, ge=0, description="Stop after so many validations without a gain of min_gain in Dice; 0: never"
    )
    min_gain: float = Field(default=0.001, ge=0, le=1, description="Of validation Dice, for `patience`")
    log_every: int = Field(default=50, ge=1, description="Steps between lines in scalars.jsonl and checks for NaN")
    keep_last: int = Field(default=2, ge=1, description="Newest checkpoints that stay; the best one stays besides")
    memory_mib: int = Field(default=4096, ge=1, description="MiB of training images held at once")
    workers: int = Field(default=2, ge=1, description="Threads that augment")
    tensorboard: bool = Field(default=False, description="Also write for TensorBoard, where it is installed")


_CPU = SegmenterTraining(
    steps=1500,
    batch=8,
    optimiser="adamw",
    learning_rate=2e-3,
    weight_decay=0.01,
    warmup_steps=50,
    clip_norm=1.0,
    validate_every=100,
)

TRAININGS: Mapping[str, Mapping[str, SegmenterTraining]] = MappingProxyType(
    {
        "unet": {STUDY: SegmenterTraining(), SMALL: _CPU},
        "swin": {
            STUDY: SegmenterTraining(
                steps=250_000,  # 25 epochs of 80,000 images
                batch=8,
                optimiser="adamw",
                learning_rate=6e-5,
                weight_decay=0.01,
                warmup_steps=1500,
                decay_power=1.0,
                background=False,
            ),
            SMALL: _CPU,
        },
    }
)
"""Network and preset: how it learns. Where the study's own code says nothing, MMSegmentation's habits are taken."""


def rate_at(step: int, training: SegmenterTraining) -> float:
    """Return the learning rate of step 0, 1, ..., steps - 1."""
    risen = min(1.0, (step + 1) / training.warmup_steps) if training.warmup_steps else 1.0
    return float(training.learning_rate * risen * (1 - step / training.steps) ** training.decay_power)
