"""Class heads for extractors that are published without one: the user's own, or a declared surrogate."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthrelease import store
from synthrelease.errors import WeightsError
from synthrelease.features.interface import ExtractorInfo

SURROGATE = "radis_surrogate"


@dataclass(frozen=True)
class Head:
    """A linear layer over frozen features."""

    weight: NDArray[np.float64]
    """(k, d)."""
    bias: NDArray[np.float64]
    """(k,)."""
    surrogate: bool
    """Fitted on the user's own labels, so its score is not the score of the network's own classes."""
    about: str
    """In words: where it came from, and a surrogate's accuracy on held-out subjects."""

    def probabilities(self, features: NDArray[Any]) -> NDArray[np.float64]:
        """Return the softmax (n, k) of features (n, d)."""
        logits = np.asarray(features, dtype=np.float64) @ self.weight.T + self.bias
        logits -= logits.max(axis=1, keepdims=True)
        raised = np.exp(logits)
        return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def head_width(path: Path) -> int | None:
    """Return how many features a head takes; None where the file cannot be read, which `read_head` explains."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return int(file["weight"].shape[1])
    except Exception:  # NumPy's reader raises whatever damaged bytes provoke
        return None


def write_surrogate(
    path: Path, weight: NDArray[np.float64], bias: NDArray[np.float64], info: ExtractorInfo, about: dict[str, Any]
) -> None:
    """Write a surrogate head as NPZ; `about` says what it was fitted on and how well it does on held-out subjects."""
    said = {"kind": SURROGATE, "extractor": info.name, "weights_sha256": info.weights_sha256, **about}
    with store.atomic_path(path) as partial, partial.open("wb") as file:
        np.savez(file, weight=weight, bias=bias, about=np.array(json.dumps(said)))


def read_head(path: Path, info: ExtractorInfo, width: int) -> Head:
    """Return the head in an NPZ file with `weight` (k, d), `bias` (k,), and for a surrogate `about` (JSON).

    Raises:
        WeightsError: not such a file, of another width, not finite, one class, or fitted on other features.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            weight, bias = (np.asarray(file[name], dtype=np.float64) for name in ("weight", "bias"))
            about = json.loads(str(file["about"])) if "about" in file.files else {}
    except Exception as error:  # as above
        raise WeightsError(
            f"{path.name} is no class head: {error}.",
            "Give an NPZ file with weight (classes, features) and bias (classes).",
        ) from error
    problems = []
    if weight.ndim != 2 or bias.shape != weight.shape[:1] or len(weight) < 2:
        problems.append(f"its shapes are {weight.shape} and {bias.shape}")
    elif weight.shape[1] != width:
        problems.append(f"it takes {weight.shape[1]} features, these images have {width}")
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        problems.append("it holds values that are not finite")
    if not isinstance(about, dict) or about.get("weights_sha256", info.weights_sha256) != info.weights_sha256:
        problems.append("it was fitted on features of other weights")
    if problems:
        raise WeightsError(
            f"{path.name} does not fit {info.name}: {'; '.join(problems)}.", "Give the head made for it."
        )
    surrogate = about.get("kind") == SURROGATE
    words = f"Head {store.sha256_of(path)[:16]} of {len(weight)} classes"
    if surrogate:
        words = f"Surrogate {words.lower()}, accuracy {about.get('accuracy', 'not told')} on held-out subjects"
    return Head(weight, bias, surrogate, f"{words}.")
