"""An audit and a measurement on a cluster give what one process gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from audit_helpers import QUICK, write_role

from synthrelease import measuring, opening, store, workers
from synthrelease.auditing import audited
from synthrelease.decision.keeping import timeless
from synthrelease.progress import SILENT
from synthrelease.settings import AuditSettings, MeasureSettings
from synthrelease.workers import HERE, Workers

pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("roles")
    return {
        "train": write_role(root / "train", range(8), masks=True),
        "holdout": write_role(root / "holdout", range(40, 44), masks=True),
        "synthetic": write_role(root / "synthetic", [2, *range(20, 25)], masks=True),
    }


@pytest.fixture(scope="module")
def cluster() -> Iterator[Workers]:
    with workers.opened("local:2") as found:
        yield found


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Each run finds an empty cache."""

    def caches() -> Iterator[Path]:
        for name in "abc":
            monkeypatch.setenv("SYNTHRELEASE_CACHE", str(tmp_path / name))
            yield store.cache_folder()

    return caches()


def test_an_audit_on_a_cluster_is_the_audit_of_one_process(folders, cluster, caches) -> None:
    settings = AuditSettings.checked(**QUICK)
    found = []
    for who in (HERE, cluster):
        roles = opening.open_roles(**folders, settings=settings, cache=next(caches), progress=SILENT)
        found.append(timeless(audited(roles, settings, SILENT, who).record))
    here, there = (record.model_dump(mode="json") for record in found)
    assert here["exact_copies"]  # the second subject of train is among the synthetic images
    differ = [path for path, one, other in _leaves(here, there) if not _alike(one, other)]
    assert differ == []


@pytest.mark.slow
def test_a_measurement_on_a_cluster_is_that_of_one_process(folders, cluster, caches, tmp_path) -> None:
    settings = MeasureSettings(extractors=("copy-encoder",), parts=3)
    roles = {"real": folders["train"], "synthetic": folders["synthetic"], "holdout": folders["holdout"]}
    found = []
    for who, name in ((HERE, "here"), (cluster, "there")):
        next(caches)
        found.append(measuring.measure(**roles, out=tmp_path / name, settings=settings, workers=who))
    here, there = (record.model_dump(mode="json") for record in found)
    assert len(here["measurements"]) > 20
    differ = [path for path, one, other in _leaves(here, there) if not _alike(one, other)]
    assert [path for path in differ if path != ".made_with.date"] == []


def test_a_search_that_loses_its_workers_leaves_what_it_found_and_no_result(
    folders, caches, monkeypatch: pytest.MonkeyPatch
) -> None:
    from synthrelease.errors import ClusterError

    settings = AuditSettings.checked(**QUICK)
    cache = next(caches)
    roles = opening.open_roles(**folders, settings=settings, cache=cache, progress=SILENT)

    class Lost:
        count = 2

        def each(self, function, shared, pieces):
            raise ClusterError("Work was lost 5 times.", "Run the same command again.")

        across = each

    with pytest.raises(ClusterError, match="lost"):
        audited(roles, settings, SILENT, Lost())
    assert not [path for path in cache.glob("screen-*") if not path.name.endswith(".partial")]


def _leaves(one, other, path=""):
    """Yield (path, value, value) of every leaf; a missing one is a pair with None."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            yield from _leaves(one.get(key), other.get(key), f"{path}.{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for place, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from _leaves(left, right, f"{path}[{place}]")
    else:
        yield path, one, other


def _alike(one, other) -> bool:
    if isinstance(one, float) and isinstance(other, float | int):
        return bool(np.isclose(one, other, rtol=1e-6, atol=1e-9))
    return one == other
