"""What the tests of the project itself share: where things are, which files count, and every command."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import click
from make_cli import commands

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "synthrelease"
_BUILT = {".venv", "dist", "build", "demo-output", "results", "__pycache__"}


def project_files(pattern: str = "*") -> list[Path]:
    """Return the project's files: what git knows or would add; without git, what is not built or cached."""
    if (ROOT / ".git").exists() and shutil.which("git"):
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        found = {ROOT / name for name in listed.split("\0") if name}
    else:
        found = {path for path in ROOT.rglob("*") if _counts(path.relative_to(ROOT))}
    return sorted(path for path in found if path.is_file() and path.match(pattern))


def _counts(path: Path) -> bool:
    hidden = path.parts[0].startswith(".") and path.parts[0] not in {".ci", ".gitignore"}
    return not hidden and not _BUILT & set(path.parts) and path.parts[0] != "PKG-INFO"


def working_commands() -> list[tuple[str, click.Command]]:
    """Return every command that does something, e.g. `synthrelease weights list`, and no group."""
    return [(name, command) for name, command in commands() if not isinstance(command, click.Group)]
