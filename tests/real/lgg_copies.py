"""Splits of the real LGG patients and copies hidden among a perfect generator's images."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from synthrelease.privacy.transformations import KINDS, affine, displaced, noise, rotation, smooth_noise

COPIES = 36  # of each kind, at most one per subject and kind

KIND_OF = {kind.name: kind.apply for kind in KINDS}


def _scale(image, _, random):
    return affine(image, scale=1.1)


def _combination(image, companion, random):
    turned = np.ascontiguousarray(rotation(10)(image, companion, random)[..., ::-1])
    return noise(0.05)(turned, turned, random)


def _elastic(image, _, random):
    shape = image.shape[1:]
    field = np.stack([smooth_noise(shape, 1 / 16, random) for _ in range(2)])
    return displaced(image, field * 2 / 128 * max(shape))


ISSUE_KINDS = {
    "mirror": KIND_OF["mirror"],
    "rotation_5": rotation(5),
    "rotation_15": rotation(15),
    "shift": KIND_OF["shift"],
    "scale": _scale,
    "elastic": _elastic,
    "gamma": KIND_OF["gamma"],
    "noise": noise(0.1),
    "blur": KIND_OF["blur"],
    "combination": _combination,
}
HELD_OUT = {name: KIND_OF[name] for name in ("perspective", "ghost")}


def split(lgg: Path, out: Path, seed: int) -> dict[str, Path]:
    """Copy 44 / 16 / 10 patients to out/train, out/holdout, out/standin; a patient is in one role."""
    subjects = sorted(folder.name for folder in lgg.iterdir() if folder.is_dir())
    order = np.random.default_rng(seed).permutation(subjects)
    roles = {"train": order[:44], "holdout": order[44:60], "standin": order[60:]}
    for role, names in roles.items():
        for name in names:
            shutil.copytree(lgg / name, out / role / name)
    return {role: out / role for role in roles}


def hide_copies(train: Path, into: Path, kinds: dict, seed: int, copies: int = COPIES) -> dict[str, tuple[str, str]]:
    """Write transformed train images into a folder of synthetic images; return id -> (kind, source subject)."""
    random = np.random.default_rng(seed + 1000)
    truth = {}
    subjects = sorted(folder.name for folder in train.iterdir())
    for kind, apply in kinds.items():
        for subject in random.permutation(subjects)[:copies]:
            slices = sorted((train / subject).glob("*.webp"))
            image = _read(slices[int(random.integers(len(slices)))])
            stranger = _read(next(iter((train / subjects[0]).glob("*.webp"))))
            copy = apply(image, stranger, random)
            name = f"planted/{kind}_{subject}.png"
            (into / "planted").mkdir(parents=True, exist_ok=True)
            pixels = (np.clip(copy, 0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0)
            Image.fromarray(pixels).save(into / name)
            truth[name] = (kind, subject)
    return truth


def _read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), dtype=np.float32).transpose(2, 0, 1) / 255
