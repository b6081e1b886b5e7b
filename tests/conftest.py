"""Shared fixtures: a private cache for every run, and the real images where there are any."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile("unhurried", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("unhurried")


@pytest.fixture(autouse=True)
def _private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test away from the user's own cache and keys."""
    monkeypatch.setenv("SYNTHRELEASE_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("SYNTHRELEASE_KEYS", str(tmp_path_factory.mktemp("keys") / "user"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a GPU where there is none."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real test images (`lgg/`, `brats/`), or skip: they are never part of the project."""
    place = os.environ.get("SYNTHRELEASE_REAL_DATA")
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(place) if place else beside
    if not (folder / "lgg").is_dir():
        pytest.skip("no real images: set SYNTHRELEASE_REAL_DATA to the folder that holds lgg/ and brats/")
    return folder
