"""What is installed is complete: templates, policies, the copy encoder and the type marker are in wheel and sdist."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from project import PACKAGE, ROOT, project_files

from synthrelease.report.pages import templates_folder

BESIDE_CODE = [
    *(path.relative_to(ROOT) for path in sorted((ROOT / "templates").rglob("*")) if path.is_file()),
    *(path.relative_to(ROOT) for path in sorted((PACKAGE / "policies").glob("*.toml"))),
    Path("synthrelease/features/copy_encoder.safetensors"),
    Path("synthrelease/py.typed"),
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build wheel and sdist with hatchling itself: no network, no isolated environment."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    (file,) = built.glob("*.whl")
    return zipfile.ZipFile(file)


@pytest.fixture(scope="module")
def sdist(built: Path) -> tarfile.TarFile:
    (file,) = built.glob("*.tar.gz")
    return tarfile.open(file)


@pytest.mark.parametrize("path", BESIDE_CODE, ids=str)
def test_the_wheel_holds_every_file_that_is_not_code(wheel: zipfile.ZipFile, path: Path) -> None:
    inside = path if path.parts[0] == "synthrelease" else Path("synthrelease") / path
    assert wheel.read(inside.as_posix()) == (ROOT / path).read_bytes()


def test_the_wheel_holds_every_module_and_nothing_from_outside(wheel: zipfile.ZipFile) -> None:
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    modules = {path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*.py")}
    assert modules <= names
    assert {name.split("/")[0] for name in names} == {"synthrelease"}


def test_the_wheel_has_its_licence_and_its_command(wheel: zipfile.ZipFile) -> None:
    about = {name.split(".dist-info/")[1]: name for name in wheel.namelist() if ".dist-info/" in name}
    assert wheel.read(about["licenses/LICENSE"]) == (ROOT / "LICENSE").read_bytes()
    assert b"synthrelease = synthrelease.cli:main" in wheel.read(about["entry_points.txt"])


def test_the_sdist_holds_every_file_of_the_project(sdist: tarfile.TarFile) -> None:
    inside = {name.split("/", 1)[1] for name in sdist.getnames() if "/" in name}
    missing = {path.relative_to(ROOT).as_posix() for path in project_files()} - inside
    assert not missing


def test_nothing_of_a_patient_can_slip_into_a_package(wheel: zipfile.ZipFile, sdist: tarfile.TarFile) -> None:
    images = (".nii", ".nii.gz", ".dcm", ".webp", ".npy", ".npz", ".zarr", ".tif", ".tiff", ".jpg")
    assert not [name for name in [*wheel.namelist(), *sdist.getnames()] if name.lower().endswith(images)]


def test_templates_are_found_in_a_checkout_and_in_an_installed_package(tmp_path: Path) -> None:
    assert (templates_folder(PACKAGE) / "base.html.j2").is_file()

    (tmp_path / "synthrelease" / "templates").mkdir(parents=True)
    assert templates_folder(tmp_path / "synthrelease") == tmp_path / "synthrelease" / "templates"
