"""A cache that fills up while an audit works: an error that says so, whatever was being written, and never a crash.

Tables that are mapped into memory are the danger: a full disk under a map kills the process (SIGBUS).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from audit_helpers import write_role
from fault_helpers import small_disk


def audit(root: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    words = ["--train", root / "train", "--holdout", root / "holdout", "--synthetic", root / "made"]
    words += ["--out", root / "out", "--extractor", "pixels", "--image-size", "64"]
    return subprocess.run(
        [sys.executable, "-m", "synthrelease", "audit", *map(str, words)],
        env={**os.environ, "SYNTHRELEASE_CACHE": str(cache), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("roles")
    for name, subjects in (("train", range(10)), ("holdout", range(20, 25)), ("made", range(40, 43))):
        write_role(root / name, subjects, masks=True)
    return root


# 3.4 MB is what this audit keeps in all; the sizes let it fill up while features, images, patches or results are kept.
@pytest.mark.parametrize(
    "size",
    ["700k", *(pytest.param(size, marks=pytest.mark.slow) for size in ("300k", "1m", "1500k", "2m", "2500k", "3m"))],
)
def test_a_full_cache_is_an_error_and_the_same_command_goes_on_elsewhere(size: str, root: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "cache", size):
        done = audit(root, tmp_path / "cache")

    assert done.returncode == 1, f"{done.returncode}: {done.stderr[-2000:]}"
    assert "Traceback" not in done.stderr
    assert "No space left" in done.stderr
    assert "Free some space" in done.stderr
    assert not (root / "out" / "evidence" / "audit.json").exists()
