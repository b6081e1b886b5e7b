"""Features of a set: cached by everything that shapes them, resumable, and refused when damaged."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from synthrelease import seeds
from synthrelease.errors import AuditError
from synthrelease.features.extract import BLOCK, features_of
from synthrelease.features.interface import ExtractorInfo, NonFiniteFeatureError
from synthrelease.image_set import ImageRow, ImageSet, from_arrays
from synthrelease.image_writer import ImageSetWriter
from synthrelease.progress import Silent

INFO = ExtractorInfo("columns", "columns-1", None, "nothing", mirror_invariant=False)
COUNT = 2 * BLOCK + 5


@dataclass
class Columns:
    """Features are the sums of the pixel columns, which mirroring reverses."""

    info: ExtractorInfo = INFO
    calls: list[int] = field(default_factory=list)
    fail_at: int | None = None
    bad_row: int | None = None

    def embed(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        self.calls.append(len(images))
        if self.fail_at == len(self.calls):
            raise KeyboardInterrupt
        features = images.sum((1, 2))
        if self.bad_row is not None:
            features[self.bad_row] = np.nan
        return features


class Listener(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def some_images(count: int = COUNT, name: str = "images") -> ImageSet:
    pixels = seeds.named(0, name).integers(0, 256, (count, 2, 6, 5), dtype=np.uint8)
    return from_arrays(pixels, [ImageRow(f"{name}/{i}.png", subject=f"s{i}") for i in range(count)])


def scaled(block: NDArray[np.uint8]) -> NDArray[np.float32]:
    return block.astype(np.float32) / 255


def get(images: ImageSet, extractor: Columns, cache: Path, **options: object) -> NDArray[np.float32]:
    return features_of(images, extractor, **{"prepare": scaled, "key": "scaled-1", "cache": cache, **options})


def test_features_follow_the_order_of_the_set(tmp_path):
    images = some_images()

    features = get(images, Columns(), tmp_path)

    np.testing.assert_allclose(features, scaled(images.read(slice(0, COUNT))).sum((1, 2)), rtol=1e-6)
    assert features.dtype == np.float32
    assert isinstance(features, np.memmap)


def test_a_set_on_disk_gives_the_features_of_the_same_set_in_memory(tmp_path):
    images = some_images()
    with ImageSetWriter(tmp_path / "set", images.channels) as writer:
        writer.add("all", images.read(slice(0, COUNT)), images.rows)
        on_disk = writer.close()

    np.testing.assert_array_equal(get(on_disk, Columns(), tmp_path / "a"), get(images, Columns(), tmp_path / "b"))


def test_mirrored_features_are_those_of_the_mirror_images(tmp_path):
    images = some_images()

    np.testing.assert_array_equal(
        get(images, Columns(), tmp_path, mirrored=True), get(images, Columns(), tmp_path)[:, ::-1]
    )


def test_a_mirror_invariant_extractor_is_not_run_twice(tmp_path):
    extractor = Columns(replace(INFO, mirror_invariant=True))
    get(some_images(), extractor, tmp_path)
    calls = len(extractor.calls)

    get(some_images(), extractor, tmp_path, mirrored=True)

    assert len(extractor.calls) == calls


def test_a_second_run_embeds_nothing(tmp_path):
    first, second = Columns(), Columns()

    assert (get(some_images(), first, tmp_path) == get(some_images(), second, tmp_path)).all()
    assert first.calls == [BLOCK, BLOCK, 5]
    assert second.calls == []


@pytest.mark.parametrize(
    "change",
    [
        {"info": replace(INFO, name="other")},
        {"info": replace(INFO, preprocessing="columns-2")},
        {"info": replace(INFO, weights_sha256="0" * 64)},
        {"info": replace(INFO, fitted_on="train")},
        {"key": "scaled-2"},
        {"key": {"size": 128}},
        {"mirrored": True},
        {"images": some_images(name="others")},
    ],
)
def test_anything_that_shapes_the_features_makes_them_anew(change, tmp_path):
    get(some_images(), Columns(), tmp_path)
    extractor = Columns(change.pop("info", INFO))

    get(change.pop("images", some_images()), extractor, tmp_path, **change)

    assert extractor.calls


def test_an_interrupted_run_continues_where_it_stopped_with_the_same_result(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        get(some_images(), Columns(fail_at=3), tmp_path)
    resumed = Columns()

    features = get(some_images(), resumed, tmp_path)

    assert resumed.calls == [5]
    np.testing.assert_array_equal(features, get(some_images(), Columns(), tmp_path / "unbroken"))


@pytest.mark.parametrize("damage", ["flip", "cut", "seal", "gone"])
def test_a_damaged_entry_is_noticed_and_made_again(damage, tmp_path):
    expected = get(some_images(), Columns(), tmp_path).copy()
    (entry,) = tmp_path.glob("features-*")
    file = entry / "features.npy"
    content = bytearray(file.read_bytes())
    match damage:
        case "flip":
            content[-1] ^= 1
            file.write_bytes(content)
        case "cut":
            file.write_bytes(content[:-4])
        case "seal":
            (entry / "seal.json").write_text("{}")
        case "gone":
            file.unlink()
    listener, again = Listener(), Columns()

    np.testing.assert_array_equal(get(some_images(), again, tmp_path, progress=listener), expected)
    assert again.calls
    assert "damaged" in listener.said[0]


def test_a_feature_that_is_not_finite_names_its_image(tmp_path):
    with pytest.raises(NonFiniteFeatureError, match=r"images/3\.png"):
        get(some_images(), Columns(bad_row=3), tmp_path)
    assert not list(tmp_path.glob("features-*[0-9a-f]"))


def test_the_extractors_own_finding_is_translated_to_the_image_of_a_later_block(tmp_path):
    class Careful(Columns):
        def embed(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
            if len(self.calls) == 1:
                raise NonFiniteFeatureError(2)
            return super().embed(images)

    with pytest.raises(NonFiniteFeatureError, match=rf"images/{BLOCK + 2}\.png"):
        get(some_images(), Careful(), tmp_path)


def test_the_next_block_is_read_while_this_one_is_embedded(tmp_path):
    second_read = threading.Event()

    def prepare(block: NDArray[np.uint8]) -> NDArray[np.float32]:
        if prepare.seen:  # type: ignore[attr-defined]
            second_read.set()
        prepare.seen = True  # type: ignore[attr-defined]
        return scaled(block)

    prepare.seen = False  # type: ignore[attr-defined]

    class Waiting(Columns):
        def embed(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
            assert second_read.wait(timeout=10), "the second block was not read during the first embed"
            return super().embed(images)

    get(some_images(), Waiting(), tmp_path, prepare=prepare)


def test_an_empty_set_and_a_lossy_preparation_are_errors(tmp_path):
    empty = from_arrays(np.zeros((0, 1, 4, 4), np.uint8), [])

    with pytest.raises(AuditError, match="no images"):
        get(empty, Columns(), tmp_path)
    with pytest.raises(AuditError, match="same number"):
        get(some_images(), Columns(), tmp_path, prepare=lambda block: scaled(block)[1:])


def test_cached_features_are_readable_by_their_owner_alone(tmp_path):
    get(some_images(8), Columns(), tmp_path / "cache")

    assert (tmp_path / "cache").stat().st_mode & 0o077 == 0
