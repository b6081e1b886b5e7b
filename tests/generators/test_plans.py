"""`train --dry-run` and what it says; a training and a sampling by the commands."""

from __future__ import annotations

import numpy as np
import pytest
from audit_helpers import images_of, masks_of, names_of, run_cli

from synthrelease.image_set import ImageRow, ImageSetWriter, open_set


@pytest.mark.parametrize(
    ("arguments", "networks"),
    [
        (["progan"], {"generator": 23_049_315, "discriminator": 23_057_345}),
        (["stylegan1"], {"generator": 26_091_235, "discriminator": 23_057_345}),
        (["stylegan2"], {"generator": 30_040_240, "discriminator": 28_864_385}),
        (["stylegan3"], {"generator": 28_472_391, "discriminator": 28_864_385}),
        (["stylegan3", "--config", "official", "--resolution", 64], {"generator": 37_769_225}),
        (["stylegan2", "--channels", 3], {"generator": 30_034_338, "discriminator": 28_864_129}),
        (["diffusion"], {"denoiser": 41_125_637}),
        (["diffusion", "--resolution", 64], {"denoiser": 30_304_069}),
    ],
)
def test_a_dry_run_counts_the_published_parameters_without_images(arguments, networks):
    run = run_cli("train", "--generator", *arguments, "--dry-run", "--json")

    assert run.code == 0
    found = {name: size["parameters"] for name, size in run.document["networks"].items()}
    assert {name: found[name] for name in networks} == networks
    assert run.document["settings"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["stylegan", "--dry-run"], "did you mean"),
        (["stylegan2", "--dry-run", "--config", "config-e"], "Did you mean 'config-f'?"),
        (["stylegan2", "--dry-run", "--resolution", 100], "100"),
        (["diffusion"], "--images"),
    ],
)
def test_a_mistake_is_answered_with_what_there_is(arguments, said):
    run = run_cli("train", "--generator", *arguments)

    assert run.code in (1, 2)
    assert said in run.err


def test_a_generator_without_a_training_loop_says_so(tmp_path):
    make_set(tmp_path / "set")
    run = run_cli(
        "train", "--generator", "progan", "--images", tmp_path / "set", "--out", tmp_path / "model", "--steps", 1
    )

    assert run.code == 1
    assert "cannot train progan" in run.err
    assert not (tmp_path / "model").exists()


def make_set(folder):
    pixels = np.concatenate([images_of(range(4)), masks_of(range(4))], axis=1)
    names = names_of(range(4))
    with ImageSetWriter(folder, ("t1", "t1ce", "flair", "mask")) as writer:
        writer.add("all", pixels, [ImageRow(f"{name}/{i}", name, i) for i, name in enumerate(names)])
        writer.close()


def test_a_model_is_trained_and_sampled_by_the_commands(tmp_path):
    make_set(tmp_path / "set")
    options = ("--config", "small", "--resolution", 16, "--batch", 2, "--steps", 2, "--device", "cpu")
    trained = run_cli(
        "train", "--generator", "diffusion", "--images", tmp_path / "set", "--out", tmp_path / "model", *options
    )
    assert trained.code == 0, trained.err

    sampled = run_cli(
        "sample",
        tmp_path / "model",
        "--count",
        3,
        "--seed",
        5,
        "--out",
        tmp_path / "made",
        "--sampling-steps",
        2,
        "--json",
    )
    assert sampled.code == 0, sampled.err
    made = open_set(tmp_path / "made")
    assert made.pixels.shape == (3, 4, 16, 16)
    assert [row.seed for row in made.rows] == [5, 6, 7]
    assert set(np.unique(made.read(slice(None), ("mask",)))) <= {0, 51, 102, 204}
