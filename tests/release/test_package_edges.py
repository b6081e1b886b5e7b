"""A package beside other things: not inside another, and only with the whole of what the leak gate must know."""

from __future__ import annotations

from pathlib import Path

import pytest
from package_helpers import evidence_in, images_of, packed

from synthrelease.decision import folder
from synthrelease.errors import IntegrityError, SettingsError
from synthrelease.release.verify import verify

pytestmark = pytest.mark.usefixtures("plain_page")


def test_no_package_is_built_inside_another(tmp_path: Path) -> None:
    packed(tmp_path)
    with pytest.raises(SettingsError, match="lies in the package"):
        packed(tmp_path, to="release/images/again")
    assert verify(tmp_path / "release").intact


@pytest.mark.parametrize("name", [folder.FINGERPRINTS, folder.IDENTITIES])
def test_what_the_leak_gate_knows_cannot_be_taken_from_it(tmp_path: Path, name: str) -> None:
    evidence = evidence_in(tmp_path, images_of())
    lines = (evidence.folder / name).read_text().splitlines(keepends=True)
    (evidence.folder / name).write_text("".join(lines[1:]) if name == folder.FINGERPRINTS else "{}")
    with pytest.raises(IntegrityError, match=name):
        packed(tmp_path)
    assert not (tmp_path / "release").exists()
