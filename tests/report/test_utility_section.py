"""Usefulness in both editions: the figure's numbers, what leaves without vectors, and names of regions as text."""

from __future__ import annotations

from synthrelease.records import Rate
from synthrelease.release_records import Measurement, UtilityRecord
from synthrelease.report.utility import utility_section


def _dice(name: str, value: float | None) -> Measurement:
    around = (None, None) if value is None else (value - 0.1, value + 0.1)
    return Measurement(name=name, value=value, low=around[0], high=around[1], count=8)


def _record(*items: Measurement) -> UtilityRecord:
    rate = Rate(value=0.9, low=0.8, high=1.0, count=100, subjects=8)
    return UtilityRecord(relative_dice=rate, measurements=items, segmenter="MONAI U-Net small", seeds=3)


def test_there_is_no_section_without_anything_measured() -> None:
    assert utility_section(None) is None
    assert utility_section(UtilityRecord(relative_dice=None)) is None


def test_the_finding_tells_the_mean_of_every_training_set() -> None:
    section = utility_section(
        _record(_dice("dice_mean_real", 0.61), _dice("dice_mean_synthetic", 0.52), _dice("dice_ET_synthetic", 0.4))
    )
    assert section is not None
    assert section.figure is not None
    assert "0.610 trained on real images" in section.figure.finding
    assert "0.520 trained on synthetic images" in section.figure.finding
    assert section.figure.address.startswith("data:image/svg+xml")


def test_what_leaves_is_drawn_in_pixels() -> None:
    section = utility_section(_record(_dice("dice_mean_real", 0.6)), public=True)
    assert section is not None
    assert section.figure is not None
    assert section.figure.address.startswith("data:image/png")


def test_regions_of_any_name_are_drawn_and_unknown_ones_left_out() -> None:
    odd = _record(_dice("dice_$\\frac$_a_b_both", 0.3), _dice("dice_gone_real", None), _dice("hausdorff_mean_real", 3))
    section = utility_section(odd)
    assert section is not None
    assert section.figure is not None
    nothing = utility_section(_record(_dice("dice_gone_real", None)))
    assert nothing is not None
    assert nothing.figure is None
