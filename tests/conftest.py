"""Shared fixtures: a private cache for every run, and the real images where there are any."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test away from the user's own cache."""
    monkeypatch.setenv("SYNTHRELEASE_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real test images (`lgg/`, `brats/`), or skip: they are never part of the project."""
    place = os.environ.get("SYNTHRELEASE_REAL_DATA")
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(place) if place else beside
    if not (folder / "lgg").is_dir():
        pytest.skip("no real images: set SYNTHRELEASE_REAL_DATA to the folder that holds lgg/ and brats/")
    return folder
