"""TorchScript files: they hold a program beside their tensors, so the program is read before it is loaded."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import torch

from synthrelease.errors import WeightsError

# Arithmetic stays; what reads or writes files, calls back into Python or belongs to another library does not.
FORBIDDEN = re.compile(
    r"\b(?:from_file|torch\.save|torch\.load|PythonOp|fork|rpc|print|warn)\b|\bops\.(?!prim\b|aten\b)\w+", re.ASCII
)
MOST_CODE = 4 * 2**20  # bytes of program text; Inception's takes a tenth of this


def is_torchscript(path: Path) -> bool:
    """Say whether a file is a TorchScript archive (a zip with a `code` folder)."""
    try:
        if not zipfile.is_zipfile(path):
            return False
        with zipfile.ZipFile(path) as archive:
            return any("/code/" in name and name.endswith(".py") for name in archive.namelist())
    except Exception:  # damaged; the reader of weights says so
        return False


def read_torchscript(path: Path) -> torch.jit.ScriptModule:
    """Return the module in a TorchScript file whose program is arithmetic alone.

    TorchScript runs in its own interpreter and cannot reach Python; the few operators that reach beyond tensors are
    looked for in the program's text first.

    Raises:
        WeightsError: the program does more than arithmetic, or the file is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            code = [item for item in archive.infolist() if "/code/" in item.filename and item.filename.endswith(".py")]
            if sum(item.file_size for item in code) > MOST_CODE:
                raise WeightsError(f"{path.name} holds an unusually long program.", "Give the file as published.")
            text = "\n".join(archive.read(item).decode("utf-8", "replace") for item in code)
    except WeightsError:
        raise
    except Exception as error:  # the reader raises whatever damaged bytes provoke
        raise WeightsError(f"{path.name} is a damaged TorchScript file.", "Fetch it again.") from error
    found = sorted({match.group() for match in FORBIDDEN.finditer(text)})
    if found:
        raise WeightsError(
            f"{path.name} is a TorchScript program that does more than arithmetic: {', '.join(found[:5])}.",
            "It was not run. Give the file as published, or the state dict of pytorch-fid.",
        )
    try:
        return torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call,no-any-return]
    except Exception as error:  # as above
        raise WeightsError(f"{path.name} is a damaged TorchScript file.", "Fetch it again.") from error
