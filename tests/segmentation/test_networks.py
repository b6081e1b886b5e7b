"""Segmentation networks: sizes in and out, supervised outputs, presets, seeds."""

from __future__ import annotations

import pytest
import torch

from synthrelease.errors import SettingsError
from synthrelease.segmentation.networks import PRESETS, SwinSettings, UNetSettings, built, chosen

SMALL_UNET, SMALL_SWIN = PRESETS["unet"]["small"], PRESETS["swin"]["small"]


@pytest.mark.parametrize("settings", [SMALL_UNET, SMALL_SWIN], ids=["unet", "swin"])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (40, 72), (17, 5)])
def test_any_size_comes_out_as_it_came_in(settings: UNetSettings | SwinSettings, height: int, width: int) -> None:
    network = built(settings, contrasts=3, classes=2, seed=0)
    for training in (True, False):
        made = network.train(training).outputs(torch.randn(2, 3, height, width))
        assert {tuple(output.shape) for output in made} == {(2, 2, height, width)}
        assert all(torch.isfinite(output).all() for output in made)


def test_the_unet_of_the_study_has_its_depth_and_filters_and_four_supervised_outputs() -> None:
    preset, settings = chosen("unet", None)
    assert (preset, settings) == ("akbar2024", UNetSettings(filters=(64, 128, 256, 512, 1024, 2048), heads=3))
    with torch.device("meta"):
        network = built(settings, contrasts=4, classes=4, seed=0)
    assert len(network.train().outputs(torch.zeros(1, 4, 64, 64, device="meta"))) == 4
    assert len(network.eval().outputs(torch.zeros(1, 4, 64, 64, device="meta"))) == 1


def test_the_swin_network_of_the_study_has_its_blocks_heads_and_windows() -> None:
    settings = chosen("swin", "akbar2024")[1]
    assert isinstance(settings, SwinSettings)
    assert (settings.depths, settings.heads, settings.window) == ((2, 2, 18, 2), (4, 8, 16, 32), 7)
    assert settings.drop_path == 0.3


def test_every_output_of_the_unet_reaches_every_weight() -> None:
    network = built(UNetSettings(filters=(4, 8, 8, 8), heads=2), contrasts=1, classes=2, seed=0).train()
    outputs = network.outputs(torch.randn(2, 1, 32, 32))
    assert len(outputs) == 3
    torch.stack(outputs).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters() if p.ndim > 1)


def test_what_an_image_is_batched_with_does_not_change_its_answer() -> None:
    network = built(SMALL_UNET, contrasts=1, classes=2, seed=0).eval()
    images = torch.randn(3, 1, 64, 64)
    assert torch.allclose(network(images)[1:2], network(images[1:2]), atol=1e-4, rtol=1e-3)


def test_weights_are_a_function_of_the_seed() -> None:
    one, again, other = (built(SMALL_UNET, contrasts=1, classes=2, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_without_heads_there_is_one_output() -> None:
    network = built(UNetSettings(filters=(4, 8, 8), heads=0), contrasts=1, classes=2, seed=0).train()
    assert len(network.outputs(torch.randn(2, 1, 16, 16))) == 1


@pytest.mark.parametrize(("name", "preset"), [("unet", "huge"), ("vit", None)])
def test_unknown_networks_and_presets_name_what_there_is(name: str, preset: str | None) -> None:
    with pytest.raises(SettingsError, match="Choose one of"):
        chosen(name, preset)


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        (UNetSettings, {"filters": (8, 16)}, "at least three"),
        (UNetSettings, {"filters": (8, 16, 16), "heads": 2}, "at most 1"),
        (SwinSettings, {"features": 20}, "multiple of 12"),
        (SwinSettings, {"heads": (5, 8, 16, 32)}, "divide evenly"),
    ],
)
def test_networks_that_cannot_be_built_are_refused(kind: type[UNetSettings], options: dict, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        kind.checked(**options)
