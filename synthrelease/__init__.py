"""Audit synthetic medical images for memorised patients, decide, and release them with evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["__version__", "audit"]

if TYPE_CHECKING:
    from synthrelease.study import audit_arrays as audit


def __getattr__(name: str) -> object:
    """Load `audit` on first use, so that ``import synthrelease`` stays cheap and free of torch."""
    if name == "audit":
        from synthrelease.study import audit_arrays

        return audit_arrays
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
