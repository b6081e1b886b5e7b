"""Known ways in which a generator, or a careless pipeline, may hand back a patient's image.

Each kind maps one image (c, h, w) in [0, 1] to a copy of it; every draw comes from the generator passed in.
Lengths are shares of the image's side, so that a kind means the same at every size.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Kind:
    """One transformation at one strength."""

    name: str
    strength: str
    apply: Callable[[Array, Array, np.random.Generator], Array]  # (image, companion, random) -> copy
    required: bool = True  # counts for the policy's power floor
    held_out: bool = False  # never used in training or tuning any step
    companion: str = ""  # "neighbour": an adjacent slice; "stranger": another subject's image


def sign(random: np.random.Generator) -> float:
    """Return -1 or 1."""
    return float(random.choice((-1.0, 1.0)))


def affine(image: Array, *, turn: float = 0.0, scale: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)) -> Array:
    """Return the image turned (degrees), enlarged about its centre and shifted (shares of the side: rows, columns)."""
    angle = np.deg2rad(turn)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
    return resample(image, matrix, shift)


def resample(image: Array, matrix: NDArray[np.float64], shift: tuple[float, float] = (0.0, 0.0)) -> Array:
    """Return the image seen through a 2 x 2 map about its centre; (row, column) order, edges continued."""
    h, w = image.shape[1:]
    centre = np.array([(h - 1) / 2, (w - 1) / 2])
    offset = centre - matrix @ (centre + np.array(shift) * np.array([h, w]))
    return np.stack([ndimage.affine_transform(part, matrix, offset, order=1, mode="nearest") for part in image])


def displaced(image: Array, field: NDArray[np.float64]) -> Array:
    """Return the image sampled at every pixel plus ``field`` (2, h, w), in pixels."""
    h, w = image.shape[1:]
    where = np.mgrid[:h, :w] + field
    return np.stack([ndimage.map_coordinates(part, where, order=1, mode="nearest") for part in image])


def smooth_noise(shape: tuple[int, int], smoothness: float, random: np.random.Generator) -> NDArray[np.float64]:
    """Return a Gaussian field of standard deviation 1, correlated over ``smoothness`` of the side."""
    field = ndimage.gaussian_filter(random.standard_normal(shape), smoothness * max(shape), mode="reflect")
    return np.asarray(field / field.std())


def rotation(degrees: float) -> Callable[[Array, Array, np.random.Generator], Array]:
    """Return a turn by ``degrees`` to a random side."""
    return lambda image, _, random: affine(image, turn=degrees * sign(random))


def _identity(image: Array, _: Array, random: np.random.Generator) -> Array:
    return image.copy()


def _mirror(image: Array, _: Array, random: np.random.Generator) -> Array:
    return np.ascontiguousarray(image[..., ::-1])


def _shift(image: Array, _: Array, random: np.random.Generator) -> Array:
    return affine(image, shift=(0.04 * sign(random), 0.04 * sign(random)))


def _scale(image: Array, _: Array, random: np.random.Generator) -> Array:
    return affine(image, scale=1.1 if random.random() < 0.5 else 1 / 1.1)


def elastic(amplitude: float) -> Callable[[Array, Array, np.random.Generator], Array]:
    """Return a smooth random deformation of ``amplitude`` (standard deviation, share of the side)."""

    def apply(image: Array, _: Array, random: np.random.Generator) -> Array:
        shape = (image.shape[1], image.shape[2])
        field = np.stack([smooth_noise(shape, 1 / 16, random) for _ in range(2)])
        return displaced(image, field * amplitude * max(shape))

    return apply


def _gamma(image: Array, _: Array, random: np.random.Generator) -> Array:
    return np.clip(image, 0, 1) ** np.float32(0.7)


def _bias_field(image: Array, _: Array, random: np.random.Generator) -> Array:
    field = 0.2 * smooth_noise((image.shape[1], image.shape[2]), 1 / 4, random)
    return (image * np.exp(field)).astype(np.float32)


def noise(sd: float) -> Callable[[Array, Array, np.random.Generator], Array]:
    """Return Gaussian noise of ``sd``, a share of the intensity range, clipped to it."""
    return lambda image, _, random: np.clip(image + sd * random.standard_normal(image.shape), 0, 1).astype(np.float32)


def _blur(image: Array, _: Array, random: np.random.Generator) -> Array:
    sd = image.shape[1] / 64
    blurred: Array = ndimage.gaussian_filter(image, (0, sd, sd))
    return blurred


def _crop(image: Array, _: Array, random: np.random.Generator) -> Array:
    """Keep 80 % of each side, enlarged to the full frame, cut somewhere."""
    spare = 0.08
    shift = (float(random.uniform(-spare, spare)), float(random.uniform(-spare, spare)))
    return affine(image, scale=1.25, shift=shift)


def _blend(image: Array, stranger: Array, random: np.random.Generator) -> Array:
    return (0.7 * image + 0.3 * stranger).astype(np.float32)


def _jpeg(image: Array, _: Array, random: np.random.Generator) -> Array:
    return np.stack([_through_jpeg(part, quality=30) for part in image])


def _through_jpeg(part: Array, quality: int) -> Array:
    file = io.BytesIO()
    Image.fromarray((np.clip(part, 0, 1) * 255).round().astype(np.uint8)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file), dtype=np.float32) / np.float32(255)


def _between_slices(image: Array, neighbour: Array, random: np.random.Generator) -> Array:
    return (0.5 * (image + neighbour)).astype(np.float32)


def _combination(image: Array, _: Array, random: np.random.Generator) -> Array:
    """Ten degrees, mirrored, and noise: what the study's pixel correlation cannot see at all."""
    turned = affine(image, turn=10 * sign(random))[..., ::-1]
    return noise(0.05)(turned, turned, random)


def _perspective(image: Array, _: Array, random: np.random.Generator) -> Array:
    """Pull one corner pair together by 12 %: no affine map does this."""
    h, w = image.shape[1:]
    y, x = (np.mgrid[:h, :w] - np.array([(h - 1) / 2, (w - 1) / 2])[:, None, None]) / np.array([h, w])[:, None, None]
    depth = 1 + 0.24 * sign(random) * (x if random.random() < 0.5 else y)
    field = np.stack([y * depth - y, x * depth - x]) * np.array([h, w])[:, None, None]
    return displaced(image, field)


def _ghost(image: Array, _: Array, random: np.random.Generator) -> Array:
    """Add the ghost of a moving head: a shifted, fainter copy along the phase-encoding axis."""
    step = image.shape[1] // 5
    ghost = 0.5 * (np.roll(image, step, axis=1) + np.roll(image, -step, axis=1))
    return np.clip(0.85 * image + 0.25 * ghost, 0, 1).astype(np.float32)


KINDS: tuple[Kind, ...] = (
    Kind("identity", "verbatim", _identity),
    Kind("mirror", "left-right", _mirror),
    Kind("rotation_5", "5 degrees", rotation(5)),
    Kind("rotation_15", "15 degrees", rotation(15)),
    Kind("shift", "4 % of the side, both axes", _shift),
    Kind("scale", "10 % larger or smaller", _scale),
    Kind("elastic", "smooth deformation, sd 2 px at 128", elastic(2 / 128)),
    Kind("elastic_strong", "smooth deformation, sd 4 px at 128", elastic(4 / 128), required=False),
    Kind("gamma", "exponent 0.7", _gamma),
    Kind("bias_field", "smooth gain, sd 20 %", _bias_field),
    Kind("noise", "sd 10 % of the range", noise(0.1)),
    Kind("blur", "sd 2 px at 128", _blur),
    Kind("crop", "80 % of each side, enlarged", _crop, required=False),
    Kind("blend", "70 % with 30 % of another subject", _blend, required=False, companion="stranger"),
    Kind("jpeg", "quality 30", _jpeg),
    Kind("between_slices", "mean of two adjacent slices", _between_slices, required=False, companion="neighbour"),
    Kind("combination", "10 degrees + mirror + noise sd 5 %", _combination),
    Kind("perspective", "one side 12 % smaller", _perspective, required=False, held_out=True),
    Kind("ghost", "motion ghost at 25 %", _ghost, required=False, held_out=True),
)
