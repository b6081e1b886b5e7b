"""Reports as web pages, made from the templates.

A page is one file without scripts or outside resources. Its style is inline and pinned by hash in the page's
own content security policy, so that nothing else is applied or fetched even if hostile text slipped in.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from synthrelease.report import decisions, formats, words

PACKAGE = Path(__file__).resolve().parents[1]


def page(template: str, **context: object) -> str:
    """Return a template of the templates folder as a page, with its style inline and pinned by hash."""
    folder = templates_folder(PACKAGE)
    style = (folder / "style.css").read_text(encoding="utf-8")
    pin = "sha256-" + base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return _environment(folder).get_template(template).render(style=Markup(style), style_hash=pin, **context)


def templates_folder(package: Path) -> Path:
    """Return where templates lie: inside the package when installed from a wheel, beside it in a checkout."""
    installed = package / "templates"
    return installed if installed.is_dir() else package.parent / "templates"


@functools.cache
def _environment(folder: Path) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["words"] = words
    environment.filters.update(
        percent=formats.percent,
        at_most=lambda share: formats.percent(share, "up"),
        at_least=lambda share: formats.percent(share, "down"),
        number=formats.number,
        score=formats.score,
        p_value=formats.p_value,
        count=formats.count,
        counted=formats.counted,
        rate=formats.rate,
        approval=decisions.approval_sentence,
        cohort=decisions.cohort_count,
        as_json=lambda value: json.dumps(value, ensure_ascii=False, default=str),
    )
    return environment


def _printable(value: object) -> object:
    """Let text and whole numbers through; a raw float or None in a template is a mistake of ours, not a value."""
    if isinstance(value, Markup) or callable(value):
        return value
    if isinstance(value, str):
        return formats.shown(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise TypeError(f"A template prints {value!r} without a format.")
