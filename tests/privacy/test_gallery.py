"""The gallery: candidates of all descriptors, cached blocks, and a key that names everything."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from audit_helpers import images_of, masks_of, names_of

from synthrelease.features.pixels import CanonicalPixels, PlainPixels
from synthrelease.image_set import ImageRow, from_arrays
from synthrelease.privacy import gallery as gallery_module
from synthrelease.privacy import queries as queries_module
from synthrelease.privacy.gallery import Frame, Gallery, prepared_set
from synthrelease.privacy.queries import Degradation, of_set
from synthrelease.progress import SILENT

CHANNELS = ("T1", "T1ce", "FLAIR")


def a_set(indices, count=2):
    pixels = np.concatenate([images_of(indices, count), masks_of(indices, count)], axis=1)
    rows = [ImageRow(f"{name}/{i}", name) for i, name in enumerate(names_of(indices, count))]
    return from_arrays(pixels, rows, channels=(*CHANNELS, "mask"))


def gallery(cache, images=None, extractors=None, *, size=64, with_parts=True):
    frame = Frame(CHANNELS, size, cache, SILENT)
    return Gallery(images or a_set(range(6)), extractors or [PlainPixels()], frame, with_parts=with_parts)


def asked(indices=range(4, 8)):
    return of_set("asked", a_set(indices), CHANNELS, 64)


def entries(cache, kind="screen"):
    return sorted(path.name for path in cache.glob(f"{kind}-*"))


def test_train_images_find_themselves_in_every_search(tmp_path):
    found = gallery(tmp_path).screen(of_set("self", a_set(range(6)), CHANNELS, 64), 3)

    assert (found.whole.index == np.arange(12)).all()
    assert found.whole.score.min() > 0.99
    there = found.patch.score > -1
    assert (found.patch.index[there] == np.flatnonzero(there)).all()
    assert ((found.tumour_area > 0) == (found.tumour.score > -1)).all()


def test_a_second_search_computes_nothing(tmp_path, monkeypatch):
    first = gallery(tmp_path).screen(asked(), 3)
    monkeypatch.setattr(Gallery, "screen_block", lambda *_, **__: pytest.fail("searched again"))

    again = gallery(tmp_path).screen(asked(), 3)

    for part in ("whole", "patch", "tumour"):
        for name, value in vars(getattr(first, part)).items():
            np.testing.assert_array_equal(value, getattr(getattr(again, part), name))


def test_an_interrupted_search_continues_with_the_same_result(tmp_path, monkeypatch):
    monkeypatch.setattr(queries_module, "BLOCK", 3)
    expected = gallery(tmp_path / "unbroken").screen(asked(), 3)
    real, calls = Gallery.screen_block, []

    def failing(self, *arguments):
        calls.append(arguments[1][0])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, *arguments)

    monkeypatch.setattr(Gallery, "screen_block", failing)
    with pytest.raises(KeyboardInterrupt):
        gallery(tmp_path / "broken").screen(asked(), 3)
    found = gallery(tmp_path / "broken").screen(asked(), 3)

    assert sorted(calls) == sorted([0, 3, 6, calls[1]])  # only the block that failed is made twice
    np.testing.assert_array_equal(found.whole.score, expected.whole.score)
    np.testing.assert_array_equal(found.patch.index, expected.patch.index)


def test_anything_that_shapes_the_search_makes_it_anew(tmp_path):
    gallery(tmp_path).screen(asked(), 3)
    changes = [
        lambda: gallery(tmp_path).screen(asked(), 4),
        lambda: gallery(tmp_path).screen(asked(range(5, 9)), 3),
        lambda: gallery(tmp_path, a_set(range(1, 7))).screen(asked(), 3),
        lambda: gallery(tmp_path, extractors=[CanonicalPixels()]).screen(asked(), 3),
        lambda: gallery(tmp_path, size=96).screen(of_set("asked", a_set(range(4, 8)), CHANNELS, 96), 3),
        lambda: gallery(tmp_path, with_parts=False).screen(asked(), 3),
        lambda: gallery(tmp_path).screen(asked(), 3, whole=False),
        lambda: gallery(tmp_path).screen(of_set("asked", a_set(range(4, 8)), CHANNELS, 64, Degradation(0.01, 0.0)), 3),
    ]
    for number, change in enumerate(changes, start=2):
        change()
        assert len(entries(tmp_path)) == number


@pytest.mark.parametrize("module", ["gallery", "confirmation", "parts", "analysis"])
def test_a_new_version_of_any_step_makes_the_search_anew(module, tmp_path, monkeypatch):
    gallery(tmp_path).screen(asked(), 3)
    match module:
        case "gallery":
            monkeypatch.setattr(gallery_module, "SCREEN_VERSION", 99)
        case "analysis":
            monkeypatch.setattr(gallery_module, "ANALYSIS_VERSION", "other")
        case name:
            monkeypatch.setattr(getattr(gallery_module, name), "VERSION", "other")

    gallery(tmp_path).screen(asked(), 3)

    assert len(entries(tmp_path)) == 2


def test_candidates_are_the_union_over_descriptors_without_repeats(tmp_path):
    both = gallery(tmp_path, extractors=[CanonicalPixels(), PlainPixels()])
    images = asked().load(0, 8)[0]

    found = both.candidates(images, 3)

    assert found.shape == (8, 6)
    for row, own in zip(found, gallery(tmp_path, extractors=[PlainPixels()]).candidates(images, 3), strict=True):
        kept = row[row >= 0].tolist()
        assert len(set(kept)) == len(kept)
        assert set(own.tolist()) <= set(kept)


def test_an_extractor_that_sees_left_and_right_is_asked_for_both(tmp_path):
    train = a_set(range(6))
    mirrored = of_set("m", replace(train, pixels=train.pixels[..., ::-1]), CHANNELS, 64)

    found = gallery(tmp_path, train).candidates(mirrored.load(0, 12)[0], 1)

    assert found[:, 0].tolist() == list(range(12))


def test_prepared_images_are_kept_and_equal_those_made_directly(tmp_path):
    frame = Frame(CHANNELS, 64, tmp_path, SILENT)
    images = a_set(range(3))

    first, second = prepared_set(images, frame), prepared_set(images, frame)

    assert len(entries(tmp_path, "prepared")) == 1
    assert len(first) == 6
    np.testing.assert_array_equal(first.images, second.images)
    np.testing.assert_array_equal(first.take(np.array([2, 0])).noise, first.noise[[2, 0]])


def test_what_the_cache_holds_is_private(tmp_path):
    cache = tmp_path / "cache"
    gallery(cache).screen(asked(), 3)

    for folder in cache.iterdir():
        assert folder.stat().st_mode & 0o077 == 0, folder


@pytest.mark.parametrize("kept", [0, 100, 1500])
@pytest.mark.parametrize(("kind", "file"), [("screen", "block-0.npz"), ("prepared", "images.npy")])
def test_a_damaged_cache_costs_time_never_an_answer(kind, file, kept, tmp_path):
    expected = gallery(tmp_path).screen(asked(), 3)
    damaged = tmp_path / entries(tmp_path, kind)[0] / file
    damaged.write_bytes(damaged.read_bytes()[:kept])

    found = gallery(tmp_path).screen(asked(), 3)

    np.testing.assert_array_equal(found.whole.score, expected.whole.score)
