"""Five names, one way to use them: settings, networks, and images that depend on their seed alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusion_helpers import tiny

from synthrelease.errors import SettingsError
from synthrelease.generators import interface, plans
from synthrelease.generators.interface import Batch, Generator, default_settings, in_lanes
from synthrelease.generators.plans import sizes_of
from synthrelease.image_set import ImageSet
from synthrelease.settings import Settings

PUBLISHED = {  # 5 channels at 256 px, counted in the official implementations
    "progan": {"generator": 23_049_315, "discriminator": 23_057_345},
    "stylegan1": {"generator": 26_091_235, "discriminator": 23_057_345},
    "stylegan2": {"generator": 30_040_240, "discriminator": 28_864_385},
    "stylegan3": {"generator": 28_472_391, "discriminator": 28_864_385},
    "diffusion": {"denoiser": 41_125_637},
}


class Outsider:
    """A generator that repeats its seed: all that an outsider must write."""

    name, channels = "outsider", ("T1",)

    def train(self, images: ImageSet, steps: int, folder: Path) -> None:
        """Learn nothing."""

    def sample(self, seeds: Sequence[int]) -> Iterator[Batch]:
        """Yield one constant image per seed."""
        for seed in seeds:
            yield np.full((1, 1, 4, 4), seed / 255, np.float32)


@pytest.mark.parametrize("name", interface.NAMES)
def test_default_networks_have_the_published_number_of_parameters(name: str) -> None:
    counted = sizes_of(name, default_settings(name), channels=5, resolution=256)
    assert {part: size.parameters for part, size in counted.items()} == PUBLISHED[name]


def test_counting_makes_no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, torch.nn.Module] = {}
    build = interface.build_networks
    monkeypatch.setattr(plans, "build_networks", lambda *a, **k: made.update(build(*a, **k)) or made)
    sizes_of("diffusion", default_settings("diffusion"), channels=5, resolution=256)
    assert all(parameter.is_meta for parameter in made["denoiser"].parameters())


@pytest.mark.parametrize(
    ("wrong", "near"), [("stylegan", "stylegan"), ("Difusion", "diffusion"), ("pro-gan", "progan")]
)
def test_an_unknown_name_is_answered_with_the_nearest(wrong: str, near: str) -> None:
    with pytest.raises(SettingsError, match=f"did you mean '{near}"):
        interface.settings_class(wrong)


@pytest.mark.parametrize("wrong", ["", "\x1b[31m", "../x", "xyzzy"])
def test_a_name_like_no_other_is_answered_with_all(wrong: str) -> None:
    with pytest.raises(SettingsError, match="known are progan, stylegan1, stylegan2, stylegan3, diffusion"):
        interface.check_name(wrong)


def test_settings_of_another_generator_are_refused() -> None:
    class Foreign(Settings):
        """Nobody's."""

    for name in interface.NAMES:
        with pytest.raises(SettingsError, match="Foreign"):
            interface.build_networks(name, Foreign(), channels=1, resolution=16)


def test_ours_and_an_outsiders_object_are_generators() -> None:
    assert isinstance(tiny(), Generator)
    assert isinstance(Outsider(), Generator)
    assert not isinstance(object(), Generator)


@pytest.mark.parametrize("count", [1, 3, 4, 9])
def test_a_network_always_sees_the_same_number_of_images(count: int) -> None:
    seen: list[int] = []

    def run(some: Sequence[int]) -> torch.Tensor:
        seen.append(len(some))
        return torch.tensor(some, dtype=torch.float32)[:, None, None, None]

    made = np.concatenate(list(in_lanes(range(7, 7 + count), run, lanes=4)))
    assert set(seen) == {4}
    assert made.ravel().tolist() == list(range(7, 7 + count))


def test_no_image_is_no_batch() -> None:
    assert list(in_lanes([], lambda some: torch.zeros(1), lanes=4)) == []


def test_names_and_settings_load_no_network_library() -> None:
    code = "import sys, synthrelease.generators.interface; print('torch' in sys.modules, 'diffusers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False False"
