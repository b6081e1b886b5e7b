"""Hostile texts, and the records that hold one wherever a person could have typed it."""

from __future__ import annotations

from typing import Any

from release_sample import sample_public

from synthrelease.release_records import PublicRecord

NASTY = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "[click](javascript:alert(1))",
    "![x](https://evil.example/pixel.png)",
    "a: b\n---\nlicense: mit",
    "| cell | cell |",
    "`code` ``more``",
    "# heading",
    "- item",
    "1. first",
    "=== \n***",
    "'single' \"double\" \\ back",
    "\\(x^2\\) $$y$$",
    "{{ 7*7 }} {% raw %}",
    "right-to-left \u202egnp.exe\u2028 line \x00\x1b[31m",
    "&lt;b&gt; & <!-- x -->",
    "*bold* _it_ ~~gone~~",
    "{}[]: ,&*#?|-<>=!%@\\",
    "null",
    "😀 ünï\ufeff",
    "<https://evil.example>",
    "]]>--></style>",
    "'''\"\"\"",
    "@type",
    "%",
    "~",
)
TYPED = (  # where a person typed what a release prints
    *("options.title", "options.licence", "options.description", "options.contact", "options.generator"),
    *("options.intended_uses", "options.version", "options.creators", "images.channels", "policy"),
    *("findings.rule", "findings.reason", "findings.source", "approvals.by", "approvals.role", "approvals.reason"),
    *("approvals.conditions",),
)


def nasty_record(text: str) -> PublicRecord:
    """Return a public record with ``text`` in every place where a person types."""
    value = sample_public().model_dump(mode="json")
    for place in TYPED:
        _put(value, place.split("."), text)
    return PublicRecord.model_validate(value)


def _put(value: Any, path: list[str], text: str) -> None:
    if isinstance(value, list):
        for item in value:
            _put(item, path, text)
    elif len(path) == 1:
        value[path[0]] = [text] * len(value[path[0]]) if isinstance(value[path[0]], list) else text
    else:
        _put(value[path[0]], path[1:], text)
