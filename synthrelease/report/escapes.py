"""One way of writing foreign text per target: Markdown, YAML and (by autoescape) HTML. JSON takes care of itself."""

from __future__ import annotations

import html
import json
import re

from synthrelease.report import formats

# Every sign that starts emphasis, code, a link, an image, a table cell or mathematics somewhere in Markdown.
_MARKS = re.compile(r"([\\`*_\[\]{}|~#$!])")
_MATHEMATICS = re.compile(r"(?<=\\)[()]")  # two backslashes and a bracket open a formula on Hugging Face
_SIGN_AT_START = re.compile(r"^[-+=:]")
_NUMBER_AT_START = re.compile(r"^(\d+)(?=[.)](?:\s|$))")


def markdown(text: str) -> str:
    """Return text that Markdown prints as it is, on one line: no markup, no HTML, no table cell, no line break."""
    plain = _MARKS.sub(r"\\\1", html.escape(formats.shown(text), quote=False).strip())
    plain = _MATHEMATICS.sub(r"\\\g<0>", plain)
    return _NUMBER_AT_START.sub(r"\1\\", _SIGN_AT_START.sub(r"\\\g<0>", plain))


def markdown_paragraphs(text: str) -> str:
    """Return text whose lines become paragraphs; each is written as by `markdown`."""
    return "\n\n".join(markdown(line) for line in text.splitlines() if line.strip())


def yaml(text: str) -> str:
    """Return text as one YAML scalar: JSON's double quotes are YAML's, and no invisible character gets there."""
    return json.dumps(formats.shown(text), ensure_ascii=False)
