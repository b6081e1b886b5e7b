"""What every extractor promises, whoever wrote it. A new extractor joins by one line in `EXTRACTORS`."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from audit_helpers import subject

from synthrelease import seeds
from synthrelease.features import radimagenet
from synthrelease.features.copy_encoder import CopyEncoder
from synthrelease.features.interface import Extractor
from synthrelease.features.pixels import CanonicalPixels, PlainPixels

SMALL = 80  # pixels: the RadImageNet networks are the same at any size, and the tests stay quick
EXTRACTORS = ["canonical-pixels", "plain-pixels", "copy-encoder"]
NETWORKS = ["resnet50", "inceptionv3", "densenet121"]
Make = Callable[[str], Extractor]


def _published():
    """The random weights in published layouts that `tests/features` checks networks with."""
    place = Path(__file__).resolve().parents[1] / "features" / "published.py"
    spec = importlib.util.spec_from_file_location("published_layouts", place)
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Make:
    folder, known = tmp_path_factory.mktemp("weights"), {}

    def make(name: str) -> Extractor:
        if name not in known:
            match name:
                case "canonical-pixels":
                    known[name] = CanonicalPixels()
                case "plain-pixels":
                    known[name] = PlainPixels()
                case "copy-encoder":
                    known[name] = CopyEncoder()
                case _:
                    known[name] = radimagenet.RadImageNet(f"radimagenet-{name}", _random_file(name, folder))
        return known[name]

    return make


def _random_file(name: str, folder: Path) -> Path:
    published = _published()
    weights = published.Weights(seeds.named(1, name, "contract"))
    with torch.inference_mode():
        grey = np.zeros((1, 1, SMALL, SMALL), np.float32)
        published.NETWORKS[name](published.prepared(grey, keras=False), weights, form="pytorch", keras=False)
    path = folder / f"{name}.pt"
    torch.save(published.state_dict(weights), path)
    return path


@pytest.fixture(params=[*EXTRACTORS, *NETWORKS])
def extractor(request, made, monkeypatch) -> Extractor:
    monkeypatch.setattr(radimagenet, "SIZE", SMALL)
    return made(request.param)


def images(count=3, channels=2, size=64):
    """(count, channels, size, size) in [0, 1]: phantoms, and noise where there are more channels."""
    random = seeds.named(0, "contract")
    found = random.random((count, channels, size, size), dtype=np.float32)
    if size == 64:
        for i in range(count):
            for c in range(min(channels, 4)):
                found[i, c] = subject(i % 6)[0][i // 6, c]
    return found


def close(first, second):
    """Equal up to float32 rounding, relative to the size of the features."""
    np.testing.assert_allclose(first, second, atol=2e-3 * float(np.abs(second).max()))


def test_the_same_images_give_the_same_features_and_are_left_alone(extractor):
    block = images()
    before = block.copy()

    first, second = extractor.embed(block), extractor.embed(block)

    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(block, before)


def test_a_row_depends_on_its_image_alone_and_not_on_the_batch(extractor):
    block = images(5)
    together = extractor.embed(block)

    close(extractor.embed(block[2:3]), together[2:3])
    close(extractor.embed(block[::-1].copy())[::-1], together)
    other = block.copy()
    other[[0, 1, 3, 4]] = 1 - other[[0, 1, 3, 4]]
    close(extractor.embed(other)[2], together[2])


def test_other_images_have_other_features(extractor):
    features = extractor.embed(images(4))

    apart = np.linalg.norm(features[:, None] - features[None], axis=2)[np.triu_indices(4, 1)]
    assert apart.min() > 1e-5 * np.linalg.norm(features, axis=1).max()


def test_the_claim_about_mirror_images_is_true(extractor):
    block = images()
    straight, mirrored = (extractor.embed(x) for x in (block, np.ascontiguousarray(block[..., ::-1])))

    apart = np.linalg.norm(straight - mirrored, axis=1) / np.linalg.norm(straight, axis=1)
    if extractor.info.mirror_invariant:
        assert apart.max() < 1e-3
    else:
        assert apart.max() > 1e-5  # rounding is below 1e-6


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_any_number_of_channels_gives_finite_features_of_a_fixed_width(extractor, channels):
    features = extractor.embed(images(2, channels))

    assert features.dtype == np.float32
    assert features.ndim == 2
    assert np.isfinite(features).all()
    assert features.shape == (2, channels * extractor.embed(images(1, 1)).shape[1])


@pytest.mark.parametrize("size", [32, 64, 100, 224])
def test_any_square_size_gives_the_same_width(extractor, size):
    features = extractor.embed(images(2, 1, size))

    assert np.isfinite(features).all()
    assert features.shape == (2, extractor.embed(images(1, 1)).shape[1])


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_constant_image_gives_finite_features(extractor, value):
    assert np.isfinite(extractor.embed(np.full((2, 1, 64, 64), value, np.float32))).all()


def test_the_description_is_complete_and_hashable(extractor):
    info = extractor.info

    assert info.name
    assert info.preprocessing
    assert info.fitted_on == "nothing"
    assert info.weights_sha256 is None or len(info.weights_sha256) == 64
    assert (info.weights_sha256 is None) == ("pixels" in info.name)
    assert {info: 1}[info] == 1
