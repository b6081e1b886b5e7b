"""docs/measures.md: as generated, complete, and its table of corruptions says what the text says."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from synthrelease.metrics import METRICS

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_measures", DOCS / "make_measures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_table_gives(maker):
    assert (DOCS / "measures.md").read_text(encoding="utf-8") == maker.page(), "run python docs/make_measures.py"


def test_every_metric_has_its_section(maker):
    page = maker.page()
    for metric in METRICS.values():
        for part in (metric.title, metric.meaning, metric.blind_to, metric.unit, metric.better, metric.source):
            assert part in page


def corruptions() -> dict[str, dict[str, float]]:
    with (DOCS / "corruptions.csv").open(newline="", encoding="utf-8") as file:
        rows = {row.pop("measure"): row for row in csv.DictReader(file)}
    return {name: {kind: float(value) for kind, value in row.items()} for name, row in rows.items()}


@pytest.mark.parametrize(
    ("measure", "kind", "side"),
    [
        ("Frechet distance", "blur (sd 1 pixel)", 1),
        ("Frechet distance", "noise (sd 5 %)", 1),
        ("Frechet distance", "one in ten kept, repeated", 1),
        ("Frechet distance", "half are verbatim copies", -1),
        ("Frechet distance", "all are verbatim copies", -1),
        ("Frechet distance", "T2 in place of T1", 1),
        ("Coverage", "one in ten kept, repeated", -1),
        ("Coverage", "all are verbatim copies", 1),
        ("Vendi score", "one in ten kept, repeated", -1),
        ("MS-SSIM of pairs", "one in ten kept, repeated", 1),
        ("FLD gap", "all are verbatim copies", -1),
        ("Spectrum distance", "blur (sd 1 pixel)", 1),
        ("Spectrum distance", "noise (sd 5 %)", 1),
        ("Intensity distance", "T2 in place of T1", 1),
    ],
)
def test_corruptions_moved_the_measures_the_documented_way(measure, kind, side):
    row = corruptions()[measure]

    assert side * (row[kind] - row["clean"]) > 0
