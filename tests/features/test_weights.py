"""Importing weights into the cache, finding them there, and emptying the cache without losing them."""

from __future__ import annotations

import json
from pathlib import Path

import published
import pytest
import torch

from synthrelease import seeds, store
from synthrelease.errors import SettingsError, WeightsError
from synthrelease.features import cache, weights
from synthrelease.features.interface import load

NAME = "radimagenet-densenet121"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    drawn = published.Weights(seeds.named(3, "densenet"))
    published.densenet121(torch.zeros(1, 3, 32, 32), drawn, form="pytorch", keras=False)
    path = tmp_path_factory.mktemp("weights") / "DenseNet121.pt"
    torch.save(published.state_dict(drawn), path)
    return path


def test_an_imported_file_is_installed_and_loads_by_name(file):
    found = weights.import_weights(NAME, file)

    assert found.sha256 == store.sha256_of(file) == store.sha256_of(found.path)
    assert weights.weights_for(NAME) == found.path
    assert weights.installed() == (found,)
    assert weights.listing().installed == (found,)
    assert load(NAME).info.weights_sha256 == found.sha256


def test_a_later_import_replaces_the_earlier_one(file, tmp_path):
    first = weights.import_weights(NAME, file)
    state = torch.load(file, weights_only=True)
    state["backbone.0.norm5.bias"] += 1
    torch.save(state, tmp_path / "later.pt")

    second = weights.import_weights(NAME, tmp_path / "later.pt")

    assert weights.installed() == (second,)
    assert not first.path.exists()


def test_a_file_that_does_not_load_is_not_installed(tmp_path):
    torch.save({"fc.weight": torch.zeros(1000, 1)}, tmp_path / "wrong.pt")

    with pytest.raises(WeightsError):
        weights.import_weights(NAME, tmp_path / "wrong.pt")
    assert weights.installed() == ()


def test_a_flipped_bit_in_an_installed_file_is_noticed(file):
    place = weights.import_weights(NAME, file).path
    content = bytearray(place.read_bytes())
    content[len(content) // 2] ^= 1
    place.write_bytes(content)

    with pytest.raises(WeightsError, match="changed since it was imported"):
        weights.weights_for(NAME)


def test_names_without_weights_and_unknown_names_are_refused(file):
    with pytest.raises(WeightsError, match="needs no weights"):
        weights.import_weights("pixels", file)
    with pytest.raises(SettingsError, match=NAME):
        weights.import_weights("radimagenet-densenet", file)


def test_a_known_hash_is_recognised_and_a_different_one_is_called_different():
    known = weights.KNOWN[0]
    assert known.sha256 is not None

    assert "equals" in weights.recognised(known.name, known.form, known.sha256)
    assert "differs" in weights.recognised(known.name, known.form, "0" * 64)
    assert "cannot be checked" in weights.recognised(NAME, "pytorch", "0" * 64)


def test_every_known_hash_is_a_sha256_with_a_stated_standing():
    for known in weights.KNOWN:
        assert (known.sha256 is None) == (known.sha256_status == "unknown")
        assert known.sha256 is None or (len(known.sha256) == 64 and int(known.sha256, 16))


def test_clearing_the_cache_keeps_weights_unless_told_otherwise(file):
    weights.import_weights(NAME, file)
    entry = store.private_folder(store.cache_folder() / "features-0123456789abcdef")
    (entry / "features.npy").write_bytes(b"x" * 5000)

    shown = {kind.kind: (kind.entries, kind.bytes) for kind in cache.show_cache().kinds}
    cleared = cache.clear_cache()

    assert shown["features"] == (1, 5000)
    assert shown["weights"][0] == 1
    assert shown["weights"][1] >= file.stat().st_size
    assert cleared.removed_bytes == 5000
    assert [kind.kind for kind in cleared.kinds] == ["weights"]
    assert "real patients" in cleared.note
    assert len(weights.installed()) == 1

    assert cache.clear_cache(weights=True).kinds == ()
    assert weights.installed() == ()


def test_clearing_never_follows_a_link_out_of_the_cache(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "keep.txt").write_text("keep")
    (store.cache_folder() / "features-link").symlink_to(outside)

    cache.clear_cache()

    assert (outside / "keep.txt").read_text() == "keep"


def test_a_damaged_record_says_to_import_again(file):
    place = weights.import_weights(NAME, file).path
    (place.parent / "about.json").write_text(json.dumps({"name": NAME}))

    with pytest.raises(WeightsError, match="damaged"):
        weights.weights_for(NAME)
