"""Values of two tables: streamed moments are those of the tables, also from files; and what stands for very many."""

from __future__ import annotations

import numpy as np
import pytest

from synthrelease.metrics import frechet_distance
from synthrelease.metrics.moments import Rows, moments, of_checked
from synthrelease.metrics.quality import Comparison, measure_coverage, measure_frechet, rows_at_most


def table(seed: int, count: int = 300, width: int = 12) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((count, width)) + seed).astype(np.float32)


def compared(width: int, real: np.ndarray | None = None) -> Comparison:
    real = table(0, width=width) if real is None else real
    return Comparison(real, table(1, 260, width), np.repeat([f"p{i}" for i in range(30)], 10))


@pytest.mark.parametrize("width", [12, 200, 280], ids=["more images", "halves with fewer images", "fewer images"])
def test_the_frechet_distance_and_its_floor_are_those_of_the_tables(width: int) -> None:
    comparison = compared(width)

    (found,) = measure_frechet(comparison, "fid")

    half = comparison.real[comparison.first]
    assert found.value == pytest.approx(
        frechet_distance(real=comparison.real, synthetic=comparison.synthetic), rel=1e-9
    )
    assert found.floor == pytest.approx(
        frechet_distance(real=half, synthetic=comparison.real[comparison.second]), rel=1e-9
    )
    assert found.matched == pytest.approx(
        frechet_distance(real=half, synthetic=comparison.synthetic[comparison.few]), rel=1e-9
    )
    assert found.low is not None
    assert found.low < found.value < (found.high or 0)


def test_tables_mapped_from_files_give_the_same_values(tmp_path) -> None:
    np.save(tmp_path / "real.npy", table(0))
    mapped = compared(12, np.load(tmp_path / "real.npy", mmap_mode="r", allow_pickle=False))
    for measure in (measure_frechet, measure_coverage):
        assert measure(mapped, "x") == measure(compared(12), "x")


def test_chosen_rows_are_a_table_of_their_own() -> None:
    rows = np.array([5, 3, 200, 3])
    chosen = Rows(table(0), rows)

    assert len(chosen) == 4
    assert chosen.shape == (4, 12)
    np.testing.assert_array_equal(np.asarray(chosen), table(0)[rows])
    np.testing.assert_array_equal(np.concatenate([chosen, chosen])[4:], table(0)[rows])
    np.testing.assert_array_equal(of_checked(chosen).scatter, moments(table(0)[rows]).scatter)


def test_few_images_are_all_compared_and_of_many_the_same_ones_under_one_seed() -> None:
    assert rows_at_most(100, 100, 0, "real") == slice(None)
    chosen = rows_at_most(1000, 100, 0, "real")

    assert isinstance(chosen, np.ndarray)
    assert len(set(chosen.tolist())) == 100
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(chosen, rows_at_most(1000, 100, 0, "real"))
    for other in (rows_at_most(1000, 100, 1, "real"), rows_at_most(1000, 100, 0, "synthetic")):
        assert not np.array_equal(chosen, other)
