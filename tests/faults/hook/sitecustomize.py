"""Counts what a process does to the disk under one folder, and kills it with SIGKILL before the n-th of these acts.

Python imports this by itself at its start where the folder is on PYTHONPATH. FAULT_ROOT names the folder watched,
FAULT_COUNT the file that gets the number of acts at the end, FAULT_AT the act before which to die. Children of the
process inherit none of it.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from pathlib import Path

_ROOT = os.environ.pop("FAULT_ROOT", "")
_COUNT = os.environ.pop("FAULT_COUNT", "")
_AT = int(os.environ.pop("FAULT_AT", "0"))
_ACTS = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"}
_done = 0


def _writes(event: str, arguments: tuple[object, ...]) -> bool:
    if event != "open":
        return event in _ACTS
    flags = arguments[2] if len(arguments) > 2 else 0
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    global _done
    if not _writes(event, arguments) or not isinstance(arguments[0], (str, bytes, os.PathLike)):
        return
    if os.fsdecode(arguments[0]).startswith(_ROOT):
        _done += 1
        if _done == _AT:
            os.kill(os.getpid(), signal.SIGKILL)


if _ROOT:
    sys.addaudithook(_hook)
if _COUNT:
    atexit.register(lambda: Path(_COUNT).write_text(str(_done), encoding="ascii"))
