"""`synthrelease weights` and `synthrelease cache` on the command line."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner

import synthrelease
from synthrelease import store
from synthrelease.cli import group
from synthrelease.errors import WeightsError
from synthrelease.features import cache, weights


@pytest.fixture(autouse=True)
def _study(monkeypatch: pytest.MonkeyPatch) -> None:
    """The four functions that study.py hands on, and nothing else of it."""
    study = SimpleNamespace(
        weights_list=weights.listing,
        weights_import=weights.import_weights,
        cache_show=cache.show_cache,
        cache_clear=cache.clear_cache,
    )
    monkeypatch.setitem(sys.modules, "synthrelease.study", study)
    monkeypatch.setattr(synthrelease, "study", study, raising=False)


def run(*words: str) -> str:
    result = CliRunner().invoke(group, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_list_names_source_licence_and_hash_of_every_known_file():
    text = run("weights", "list")

    for known in weights.KNOWN:
        assert known.source in text
        assert known.file_names[0] in text
        assert (known.sha256 or "none published") in text
    assert "Nothing is installed" in text


def test_the_list_as_json_is_one_document_with_the_same_files():
    document = json.loads(run("weights", "list", "--json"))

    assert [entry["form"] for entry in document["known"]] == [known.form for known in weights.KNOWN]
    assert document["installed"] == []
    assert document["folder"] == run("weights", "where").strip()


def test_importing_a_wrong_file_is_the_librarys_error(tmp_path):
    torch.save({"fc.weight": torch.zeros(1000, 1)}, tmp_path / "wrong.pt")

    with pytest.raises(WeightsError, match="expected RadImageNet ResNet50"):
        run("weights", "import", "radimagenet-resnet50", str(tmp_path / "wrong.pt"))


def test_showing_and_clearing_the_cache_says_whose_data_it_holds():
    entry = store.private_folder(store.cache_folder() / "features-0123456789abcdef")
    (entry / "features.npy").write_bytes(b"x" * 1_500_000)

    assert "1.5 MB" in run("cache", "show")
    assert "real patients" in run("cache", "show")
    assert json.loads(run("cache", "show", "--json"))["kinds"] == [
        {"kind": "features", "entries": 1, "bytes": 1_500_000}
    ]
    assert "removed 1.5 MB" in run("cache", "clear")
    assert not entry.exists()
