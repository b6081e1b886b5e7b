"""Work on a cluster: the same answers as here, in order; a killed worker is survived, and lost work is never a pass."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthrelease import workers
from synthrelease.errors import ClusterError, ScanError
from synthrelease.image_set import ImageRow, ImageSet, from_arrays, open_set
from synthrelease.image_writer import ImageSetWriter
from synthrelease.privacy.neighbours import Index, Queries, nearest_across, shards_of
from synthrelease.workers import HERE, Workers

pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Workers]:
    with workers.opened("local:2") as found:
        yield found


def times(factor: int, piece: int) -> int:
    return factor * piece


def refusing(limit: int, piece: int) -> int:
    if piece >= limit:
        raise ScanError(f"Piece {piece} cannot be read.", "Mend it.")
    return piece


def dying(folder: str, piece: int) -> int:
    """Kill the worker at the third piece, once."""
    mark = Path(folder) / "died"
    if piece == 3 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return piece * piece


def deadly(_: int, piece: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return piece


def total(images: ImageSet, start: int) -> float:
    return float(images.read(slice(start, start + 2)).sum())


def test_results_come_in_the_order_of_their_pieces(cluster: Workers) -> None:
    assert cluster.count == 2
    assert list(cluster.each(times, 3, range(50))) == [3 * i for i in range(50)] == list(HERE.each(times, 3, range(50)))


def test_every_shard_sees_every_piece(cluster: Workers) -> None:
    expected = [[10 * i, 20 * i, 30 * i] for i in range(7)]
    assert list(cluster.across(times, [10, 20, 30], range(7))) == expected
    assert list(HERE.across(times, [10, 20, 30], range(7))) == expected


def test_pieces_are_drawn_as_they_are_needed(cluster: Workers) -> None:
    drawn: list[int] = []

    def pieces() -> Iterator[int]:
        for i in range(1000):
            drawn.append(i)
            yield i

    found = cluster.each(times, 1, pieces())
    assert next(found) == 0
    assert len(drawn) <= workers.IN_HAND * 2 + 1
    found.close()


def test_what_a_worker_refuses_is_the_users_error_with_its_remedy(cluster: Workers) -> None:
    found = cluster.each(refusing, 3, range(9))
    with pytest.raises(ScanError, match="Piece 3") as caught:
        list(found)
    assert caught.value.remedy == "Mend it."


def test_a_worker_killed_in_the_middle_is_survived(tmp_path: Path, cluster: Workers) -> None:
    assert list(cluster.each(dying, str(tmp_path), range(12))) == [i * i for i in range(12)]
    assert (tmp_path / "died").exists()


def test_shards_of_a_killed_worker_are_given_out_again(tmp_path: Path, cluster: Workers) -> None:
    folders = [str(tmp_path / name) for name in "ab"]
    for folder in folders:
        Path(folder).mkdir()
    assert list(cluster.across(dying, folders, range(8))) == [[i * i, i * i] for i in range(8)]


def test_work_that_kills_every_worker_is_an_error_and_never_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "ATTEMPTS", 1)
    with workers.opened("local:1") as alone, pytest.raises(ClusterError, match="lost"):
        list(alone.each(deadly, 0, range(2)))


def test_images_in_memory_and_on_disk_are_the_same_there(tmp_path: Path, cluster: Workers) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (9, 2, 8, 8), dtype=np.uint8)
    rows = [ImageRow(f"i{i}", f"s{i}") for i in range(9)]
    with ImageSetWriter(tmp_path / "set", ("a", "b")) as writer:
        writer.add("all", pixels, rows)
        stored = writer.close()
    for images in (stored, from_arrays(pixels, rows)):
        assert list(cluster.each(total, images, range(0, 9, 2))) == list(HERE.each(total, images, range(0, 9, 2)))


def test_a_disk_that_a_worker_does_not_see_is_an_error_and_not_black_images(tmp_path: Path, cluster: Workers) -> None:
    pixels = np.full((5, 1, 8, 8), 7, np.uint8)
    with ImageSetWriter(tmp_path / "set", ("a",)) as writer:
        writer.add("all", pixels, [ImageRow(f"i{i}") for i in range(5)])
        writer.close()
    images = open_set(tmp_path / "set")
    found = cluster.each(total, images, [0, 2])
    # Moved after the images are on their way: the workers' disk holds nothing under this path, and reads as zeros.
    images_there = images.__reduce__()
    (tmp_path / "set").rename(tmp_path / "elsewhere")
    with pytest.raises(ScanError, match="does not see the same images"):
        total(images_there[0](*images_there[1]), 0)
    found.close()


def random_features(count: int, width: int, seed: int) -> Any:
    return (np.random.default_rng(seed).standard_normal((count, width)) + 30).astype(np.float32)


@pytest.mark.parametrize("rows", [1, 7, 100, 1000])
def test_search_in_shards_finds_what_search_in_all_finds(cluster: Workers, rows: int) -> None:
    references, queries, mirrored = (random_features(n, 12, seed) for n, seed in ((230, 0), (60, 1), (60, 2)))
    if rows == 1:
        references = references[:12]
    expected = Index(references).nearest(queries, 5, mirrored)
    for who in (HERE, cluster):
        found = nearest_across(shards_of(references, rows), Queries(queries, 5, mirrored), who)
        assert (found[0] == expected[0]).all()
        assert found[1] == pytest.approx(expected[1], rel=1e-12)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("local:0", "number of processes"),
        ("local:many", "number of processes"),
        ("somewhere", "names no cluster"),
        ("nothing/scheduler.json", "There is no file"),
    ],
)
def test_a_name_that_is_no_cluster_says_what_would_be(where: str, said: str) -> None:
    with pytest.raises(ClusterError, match=said), workers.opened(where):
        pass


def test_without_a_name_this_process_works() -> None:
    with workers.opened("") as found:
        assert found is HERE
