"""The copy encoder: pinned, the same for mirror images, indifferent to disguises, and rebuilt from its seed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from synthrelease import seeds, store
from synthrelease.errors import AuditError, WeightsError
from synthrelease.features import copy_encoder, copy_encoder_training
from synthrelease.features.copy_encoder import SHIPPED, SHIPPED_SHA256, WIDTH, CopyEncoder, EncoderNetwork
from synthrelease.features.copy_encoder_training import PAIRS, contrast_loss, disguise, save, train, varied
from synthrelease.features.interface import load
from synthrelease.phantom.cohort import make_slices


@pytest.fixture(scope="module")
def heads() -> np.ndarray:
    """One slice of 24 phantom subjects that training never drew, (24, 4, 96, 96)."""
    return np.concatenate([make_slices(seed=77, index=i, size=96, count=1)[0] for i in range(24)]).astype(np.float32)


@pytest.fixture(scope="module")
def encoder() -> CopyEncoder:
    return CopyEncoder()


def moved(images: np.ndarray, degrees: float, scale: float, mirror: bool) -> np.ndarray:
    """Rotate, scale and mirror about the centre."""
    angle = math.radians(degrees)
    rows = [
        [math.cos(angle) / scale, -math.sin(angle) / scale, 0],
        [math.sin(angle) / scale, math.cos(angle) / scale, 0],
    ]
    theta = torch.tensor([rows] * len(images), dtype=torch.float32)
    tensor = torch.from_numpy(images)
    grid = torch.nn.functional.affine_grid(theta, list(tensor.shape), align_corners=False)
    result = torch.nn.functional.grid_sample(tensor, grid, align_corners=False).numpy()
    return np.ascontiguousarray(result[..., ::-1]) if mirror else result


def test_the_shipped_file_is_small_and_is_the_pinned_one():
    assert store.sha256_of(SHIPPED) == SHIPPED_SHA256
    assert SHIPPED.stat().st_size <= 700_000


def test_a_changed_shipped_file_is_refused(tmp_path, monkeypatch):
    content = bytearray(SHIPPED.read_bytes())
    content[-1] ^= 1
    (tmp_path / "changed.safetensors").write_bytes(content)
    monkeypatch.setattr(copy_encoder, "SHIPPED", tmp_path / "changed.safetensors")

    with pytest.raises(WeightsError, match="expected " + SHIPPED_SHA256):
        CopyEncoder()


def test_features_are_unit_vectors_a_piece_per_contrast(encoder, heads):
    features = encoder.embed(heads)

    assert features.shape == (24, 4 * WIDTH)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(features.reshape(24, 4, WIDTH), axis=2), 0.5, rtol=1e-5)


def test_similarity_of_two_images_is_the_mean_over_contrasts():
    """Contrasts that are alike in place have one frame, whether they come together or alone."""
    image = np.zeros((2, 1, 64, 64), np.float32)
    image[0, 0, 12:50, 20:44], image[1, 0, 20:56, 10:50] = 1, 0.8
    image[0, 0, 25:30, 25:40] = 0.4
    both = np.concatenate([image, image * 0.5], axis=1)
    encoder = CopyEncoder()

    one, two = encoder.embed(image), encoder.embed(both)

    assert two[0] @ two[1] == pytest.approx(one[0] @ one[1], abs=1e-3)


def test_a_mirror_image_has_the_same_features(encoder, heads):
    assert encoder.info.mirror_invariant

    mirrored = encoder.embed(np.ascontiguousarray(heads[..., ::-1]))

    np.testing.assert_allclose(mirrored, encoder.embed(heads), atol=2e-3)


def test_features_of_an_image_do_not_depend_on_its_company(encoder, heads):
    np.testing.assert_allclose(encoder.embed(heads[5:6]), encoder.embed(heads)[5:6], atol=1e-4)


@pytest.mark.parametrize(
    ("disguised", "least"),
    [
        (lambda x: moved(x, 5, 1, mirror=True), 24),
        (lambda x: moved(x, 15, 1, mirror=False), 23),
        (lambda x: moved(x, 0, 0.85, mirror=False), 23),
        (lambda x: x**0.7, 23),
        (lambda x: np.clip(x + seeds.named(0, "noise").normal(0, 0.08, x.shape), 0, 1).astype(np.float32), 23),
    ],
)
def test_disguised_heads_that_training_never_saw_are_nearest_to_their_source(disguised, least, encoder, heads):
    found = (encoder.embed(disguised(heads)) @ encoder.embed(heads).T).argmax(1)

    assert (found == np.arange(24)).sum() >= least


def test_a_file_of_another_network_is_refused(tmp_path):
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other.pt")

    with pytest.raises(WeightsError, match="not a copy encoder"):
        load("copy-encoder", tmp_path / "other.pt")


def test_training_follows_its_seed_and_leaves_global_randomness_alone(heads, monkeypatch):
    monkeypatch.setattr(copy_encoder_training, "PAIRS", 12)
    images = np.concatenate([heads, heads[:, :, ::-1]])
    state = torch.random.get_rng_state()

    first, again, other = (train(images, seed=seed, steps=2) for seed in (3, 3, 4))

    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_an_encoder_trained_on_train_says_so_and_survives_its_file(heads, tmp_path):
    state = train(np.concatenate([heads, heads[:, :, ::-1]]), seed=0, steps=1)

    sha256 = save(state, tmp_path / "own.safetensors")
    own = load("copy-encoder", tmp_path / "own.safetensors")

    assert (own.info.fitted_on, own.info.weights_sha256) == ("train", sha256)
    network = EncoderNetwork()
    network.load_state_dict(state)
    frames = torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        np.testing.assert_allclose(own.on.network(frames), network.eval()(frames), atol=2e-2)


def test_too_few_images_cannot_train_an_encoder(heads):
    with pytest.raises(AuditError, match="cannot be trained on 5 images"):
        train(heads[:5], seed=0, steps=1)


def test_the_loss_prefers_views_together_and_strangers_apart():
    """With k orthogonal pairs of equal views, InfoNCE is log(1 + (2k - 2) exp(-1/t)) and KoLeo -log sqrt(2)."""
    k, temperature, spread = 4, copy_encoder_training.TEMPERATURE, copy_encoder_training.SPREAD
    good = torch.eye(k).repeat(2, 1)
    mixed = torch.cat([torch.eye(k), torch.eye(k).roll(1, 0)])

    expected = math.log1p((2 * k - 2) * math.exp(-1 / temperature)) - spread * math.log(math.sqrt(2))
    assert float(contrast_loss(good)) == pytest.approx(expected, abs=1e-5)
    assert float(contrast_loss(mixed)) > float(contrast_loss(good)) + 5


def test_disguises_are_standardised_and_follow_the_seed():
    frames = torch.from_numpy(seeds.named(0, "frames").standard_normal((PAIRS, 1, 64, 64)).astype(np.float32))

    for alter in (disguise, varied):
        first, again = alter(frames, seeds.at_step(0, 5)), alter(frames, seeds.at_step(0, 5))
        assert torch.equal(first, again)
        np.testing.assert_allclose(first.mean((1, 2, 3)), 0, atol=1e-4)
        np.testing.assert_allclose(first.std((1, 2, 3)), 1, atol=1e-2)
        assert not torch.equal(first, alter(frames, seeds.at_step(0, 6)))
