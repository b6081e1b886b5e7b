"""The option `--set NAME=VALUE`, which `train` and `segment` share."""

from __future__ import annotations

import json

import click


class SettingChange(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic from click 8.2 on
    """NAME=VALUE, the value being JSON or else plain text."""

    name = "NAME=VALUE"

    def __init__(self, example: str) -> None:
        self.example = example  # shown where the form is wrong

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, object]:
        """Return name and value, or say what is wrong."""
        name, sign, text = str(value).partition("=")
        if not sign or not name:
            self.fail(f"{value!r} is not NAME=VALUE, e.g. {self.example}", param, ctx)
        try:
            return name.strip(), json.loads(text)
        except ValueError:
            return name.strip(), text
