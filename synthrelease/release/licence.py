"""Licences by their SPDX expressions, checked offline."""

from __future__ import annotations

import difflib
import functools
import re
from typing import Any

from license_expression import get_spdx_licensing  # type: ignore[import-untyped]

from synthrelease.errors import SettingsError

NAMES = {  # of licences that data sets carry; of others the identifier has to do
    "CC0-1.0": "Creative Commons Zero v1.0 Universal",
    "CC-BY-4.0": "Creative Commons Attribution 4.0 International",
    "CC-BY-SA-4.0": "Creative Commons Attribution Share Alike 4.0 International",
    "CC-BY-NC-4.0": "Creative Commons Attribution Non Commercial 4.0 International",
    "CC-BY-NC-SA-4.0": "Creative Commons Attribution Non Commercial Share Alike 4.0 International",
    "CC-BY-ND-4.0": "Creative Commons Attribution No Derivatives 4.0 International",
    "CC-BY-NC-ND-4.0": "Creative Commons Attribution Non Commercial No Derivatives 4.0 International",
    "CDLA-Permissive-2.0": "Community Data License Agreement Permissive 2.0",
    "CDLA-Sharing-1.0": "Community Data License Agreement Sharing 1.0",
    "ODC-By-1.0": "Open Data Commons Attribution License v1.0",
    "ODbL-1.0": "Open Data Commons Open Database License v1.0",
    "PDDL-1.0": "Open Data Commons Public Domain Dedication & License 1.0",
    "Apache-2.0": "Apache License 2.0",
    "MIT": "MIT License",
}
_OWN = re.compile(r"LicenseRef-[A-Za-z0-9.-]{1,60}")  # SPDX: terms of one's own, such as a data use agreement


def checked(expression: str) -> str:
    """Return an SPDX expression in its usual spelling, e.g. ``CC-BY-4.0``.

    Raises:
        SettingsError: It cannot be read, or an identifier is unknown; the nearest known one is named.
    """
    try:
        licensing = _licensing()
        parsed = licensing.parse(expression.strip(), validate=False, strict=True)
        if parsed is None:
            raise ValueError("it is empty")
        known = licensing.known_symbols
        unknown = [key for key in licensing.license_keys(parsed) if key not in known and not _OWN.fullmatch(key)]
    except Exception as error:  # the library has several error classes without a common, exported base
        text = " ".join(str(error).split())
        raise SettingsError(
            f"--licence {expression!r} is no SPDX expression: {text}", "Write e.g. CC-BY-4.0, or CC0-1.0."
        ) from error
    if unknown:
        near = [match for key in unknown for match in _nearest(key, known)]
        hint = (
            f"Did you mean {' or '.join(near)}?" if near else "Write e.g. CC-BY-4.0, or LicenseRef-NAME for your own."
        )
        raise SettingsError(f"--licence: SPDX knows no licence {', '.join(unknown)}.", hint)
    return str(parsed.render())


def text(expression: str, contact: str = "") -> str:
    """Return the file LICENSE: the expression, the names behind it, and where their texts are."""
    lines = [f"SPDX-License-Identifier: {expression}", ""]
    for key in _licensing().license_keys(_licensing().parse(expression)):
        if _OWN.fullmatch(key):
            lines.append(f"{key}: terms of the publisher's own; ask {contact or 'the publisher'} for their text.")
        else:
            name = f"{NAMES[key]}. " if key in NAMES else ""
            lines.append(f"{key}: {name}Text: https://spdx.org/licenses/{key}.html")
    lines += ["", "This licence covers the synthetic images and the documents in this package."]
    return "\n".join(lines) + "\n"


def _nearest(key: str, known: Any) -> list[str]:
    by_lower = {name.lower(): name for name in known}
    return [by_lower[name] for name in difflib.get_close_matches(key.lower(), by_lower, n=1, cutoff=0.5)]


@functools.cache
def _licensing() -> Any:
    return get_spdx_licensing()
