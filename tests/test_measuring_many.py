"""Measures of more images than can be compared with one another: some stand for all, and the record says how many."""

from __future__ import annotations

import pytest
from audit_helpers import images_of

from synthrelease import measuring, memory
from synthrelease.errors import SettingsError
from synthrelease.image_set import ImageRow, ImageSet, from_arrays
from synthrelease.progress import SILENT
from synthrelease.release_records import Measurement
from synthrelease.settings import MeasureSettings
from synthrelease.store import cache_folder


def opened(name: str, subjects: range) -> ImageSet:
    pixels = images_of(list(subjects))[:, :1]
    rows = [ImageRow(f"{name}{i}", f"{name}{i // 3}" if name == "real" else "") for i in range(len(pixels))]
    return from_arrays(pixels, rows, channels=("t1",))


def by_name(sets: measuring.Sets, most: int) -> dict[str, Measurement]:
    settings = MeasureSettings(extractors=("copy-encoder",), parts=0, compared=most)
    record, _ = measuring.measured(sets, settings, cache_folder(), SILENT)
    return {item.name: item for item in record.measurements}


def test_of_very_many_images_some_stand_for_all_but_the_frechet_distance_takes_all() -> None:
    real, synthetic = opened("real", range(40)), opened("made", range(60, 98))
    sets = measuring.Sets(real, synthetic, None, ("t1",), "bytes", 64)
    few, all_images = by_name(sets, 100), by_name(sets, 50_000)
    view = next(name for name in few if name.startswith("fid_")).partition(" ")[2]

    fid, kid = f"fid_copy-encoder {view}", f"kid_copy-encoder {view}"
    assert few[fid] == all_images[fid]
    assert (few[fid].count, few[fid].real_count) == (114, 120)
    assert (few[kid].count, few[kid].real_count) == (100, 100)
    assert few[kid].value != all_images[kid].value
    assert (all_images[kid].count, all_images[kid].real_count) == (114, 120)
    assert few[f"intensity_distance {view}"] == all_images[f"intensity_distance {view}"]


def test_memory_that_cannot_hold_what_is_compared_is_an_error_that_says_what_would_help(monkeypatch) -> None:
    sets = measuring.Sets(opened("real", range(40)), opened("made", range(60, 98)), None, ("t1",), "bytes", 64)
    monkeypatch.setenv(memory.MEMORY, "1GB")
    with pytest.raises(SettingsError, match=r"Measuring 120 images of [\d,]+ features needs 1\.0 GB") as error:
        by_name(sets, 50_000)
    assert "lower --compared" in error.value.remedy
