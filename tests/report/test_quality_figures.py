"""Figures of quality: measures beside their floor; what has no place on the axis is left out, and said in words."""

from __future__ import annotations

import pytest

from synthrelease.release_records import Measurement
from synthrelease.report.quality_figures import floors_figure


def measure(name: str, matched: float | None, floor: float | None, **fields) -> Measurement:
    return Measurement(**({"name": name, "value": matched, "matched": matched, "floor": floor} | fields))


def test_the_finding_names_what_is_farthest_from_its_floor_either_way():
    near = measure("near", 1.1, 1.0)

    assert floors_figure([near, measure("far", 0.1, 1.0)]).finding == (
        "1 of 2 measures within a quarter of the floor; farthest from it: far, 0.100 times."
    )
    assert floors_figure([near, measure("over", 7.0, 2.0)]).finding.endswith("over, 3.500 times.")


@pytest.mark.parametrize(("matched", "floor"), [(None, 1.0), (1.0, None), (0.0, 1.0), (1.0, 0.0), (-0.1, 0.2)])
def test_what_has_no_ratio_is_left_out(matched, floor):
    assert floors_figure([measure("odd", matched, floor)]) is None
    assert "of 1 measure " in floors_figure([measure("odd", matched, floor), measure("even", 2.0, 1.0)]).finding


def test_an_interval_that_reaches_zero_and_a_hostile_name_do_no_harm():
    rows = [
        measure("$\\frac{", 2.0, 1.0, low=-0.5, high=3.0),
        measure("<script>" * 30, 3.0, 1.0, low=1.0, high=4.0, view="t1"),
    ]

    picture = floors_figure(rows, as_png=True)
    assert picture.address.startswith("data:image/png")
    assert "2 measures" in picture.finding


def test_the_same_measures_give_the_same_bytes():
    rows = [measure("fid", 2.0, 1.0, low=1.5, high=2.5)]

    assert floors_figure(rows).address == floors_figure(rows).address
