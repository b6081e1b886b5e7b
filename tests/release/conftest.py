"""Packages that many tests look at are built once, with keys and cache away from the user's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from package_helpers import images_of, packed, volume_ids


@pytest.fixture(autouse=True)
def _private_keys(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTHRELEASE_KEYS", str(tmp_path_factory.mktemp("keys")))
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)


@pytest.fixture(scope="package")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the place of one package per format; the key of all lies in `keys` beside them. Nobody changes them."""
    place = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SYNTHRELEASE_KEYS", str(place / "keys"))
        patch.setenv("SYNTHRELEASE_CACHE", str(place / "cache"))
        patch.delenv("SOURCE_DATE_EPOCH", raising=False)
        for image_format in ("nifti", "png", "dicom"):
            (place / image_format).mkdir()
            packed(place / image_format, images_of(ids=volume_ids()), image_format=image_format)
    return {name: place / name / "release" for name in ("nifti", "png", "dicom")} | {"keys": place / "keys"}


@pytest.fixture
def plain_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the public page, whose figure takes a second to draw, where a test is about something else."""
    page = "<!doctype html><html lang=en><title>x</title><body><p>Synthetic</p></body></html>"
    monkeypatch.setattr("synthrelease.report.public.public_page", lambda record, samples: page)
