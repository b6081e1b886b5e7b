"""Randomness by position: every draw is a function of a seed and of where it is needed.

A resumed run therefore repeats an unbroken one, and image i depends on seed i alone.
"""

from __future__ import annotations

import hashlib

import numpy as np


def at_step(seed: int, step: int) -> np.random.Generator:
    """Return the generator of one training or resampling step."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, 0, step])))


def at_image(seed: int, image: int) -> np.random.Generator:
    """Return the generator of one image; independent of every other image and of the batch size."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, 1, image])))


def named(seed: int, *names: str | int) -> np.random.Generator:
    """Return the generator of one named purpose, e.g. ``named(seed, "bootstrap")``.

    Names are hashed with SHA-256, not with ``hash()``, which differs between processes.
    """
    digest = hashlib.sha256("\x1f".join(map(str, names)).encode()).digest()
    words = np.frombuffer(digest[:16], dtype=np.uint32)
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, 2, *map(int, words)])))
