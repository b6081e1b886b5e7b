"""`train --dry-run` and what it says; a training and a sampling by the commands."""

from __future__ import annotations

import json

import numpy as np
import pytest
from audit_helpers import images_of, masks_of, names_of, run_cli

from synthrelease.image_set import ImageRow, open_set
from synthrelease.image_writer import ImageSetWriter


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


def make_set(folder):
    pixels = np.concatenate([images_of(range(4)), masks_of(range(4))], axis=1)
    names = names_of(range(4))
    with ImageSetWriter(folder, ("t1", "t1ce", "flair", "mask")) as writer:
        writer.add("all", pixels, [ImageRow(f"{name}/{i}", name, i) for i, name in enumerate(names)])
        writer.close()


@pytest.mark.parametrize("name", ["progan", "stylegan1", "stylegan2", "stylegan3", "diffusion"])
def test_a_model_is_trained_and_sampled_by_the_commands(name, tmp_path):
    make_set(tmp_path / "set")
    narrow = ("--set", "width=8") if name == "diffusion" else ("--set", "channel_max=4", "--set", "latent=8")
    options = ("--config", "small", *narrow, "--resolution", 16, "--batch", 2, "--device", "cpu", "--best", "own")
    trained = run_cli(
        "train",
        "--generator",
        name,
        *("--images", tmp_path / "set", "--out", tmp_path / "model", *options, "--steps", 2, "--seed", 7),
    )
    assert trained.code == 0, trained.err
    about = json.loads((tmp_path / "model" / "MODEL.json").read_text())
    assert about["training"]["seed"] == 7
    assert "separate release" in about["weights"] or "release of their own" in about["weights"]

    how = ("--sampling-steps", 2) if name == "diffusion" else ()
    sampled = run_cli(
        "sample", tmp_path / "model", "--count", 3, "--seed", 5, "--out", tmp_path / "made", *how, "--json"
    )
    assert sampled.code == 0, sampled.err
    assert sampled.document["generator"] == name
    made = open_set(tmp_path / "made")
    assert made.pixels.shape == (3, 4, 16, 16)
    assert [row.seed for row in made.rows] == [5, 6, 7]
    assert set(np.unique(made.read(slice(None), ("mask",)))) <= {0, 51, 102, 204}


def test_kimg_counts_images_and_frechet_distance_chooses_the_checkpoint_of_a_gan(tmp_path):
    make_set(tmp_path / "set")
    options = ("--config", "small", "--set", "channel_max=4", "--set", "latent=8", "--resolution", 16, "--batch", 4)
    run = run_cli(
        "train",
        "--generator",
        "stylegan2",
        *("--images", tmp_path / "set", "--out", tmp_path / "model", "--kimg", 0.01, "--device", "cpu", *options),
        *("--set", "judged_images=20", "--json"),
    )
    assert run.code == 1
    assert "judged_images" in run.err, "what --set does not know is an error that names it"
    run = run_cli(
        "train",
        "--generator",
        "stylegan2",
        *("--images", tmp_path / "set", "--out", tmp_path / "model", "--kimg", 0.01, "--device", "cpu", *options),
    )
    assert run.code == 0, run.err
    best = json.loads((tmp_path / "model" / "best.json").read_text())
    assert best["metric"] == "fd_embedded of 500 samples against train"
    assert best["checkpoint"] == "step-000000003", "three batches of four images are more than ten images"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--set", "channel_max"], 2, "NAME=VALUE"),
        (["--set", "chanel_max=4"], 1, "did you mean 'channel_max'"),
        (["--set", "channel_max=wide"], 1, "channel_max"),
        (["--screen-kimg", 1], 1, "--holdout"),
        (["--kimg", 1], 2, "not both"),
        (["--augment", "colour"], 2, "medical"),
        (["--config", "smal"], 1, "Did you mean 'small'?"),
    ],
)
def test_a_mistake_in_a_training_is_told_before_it_begins(arguments, code, said, tmp_path):
    make_set(tmp_path / "set")
    run = run_cli(
        "train",
        "--generator",
        "stylegan2",
        *("--images", tmp_path / "set", "--out", tmp_path / "model", "--steps", 1, "--resolution", 16, *arguments),
    )
    assert run.code == code
    assert said in run.err
    assert not (tmp_path / "model" / "checkpoints").exists()
