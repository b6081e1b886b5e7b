"""Options that several commands share: `--set NAME=VALUE`, `--largest VALUES` and `--memory SIZE`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import click

from synthrelease import memory, store


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


def _told_to_all(variable: str, read: Callable[[Any], int] = int) -> Callable[..., None]:
    """Return a callback that puts an option into the environment: workers are processes of their own and inherit it."""

    def tell(context: click.Context, parameter: click.Parameter, value: object) -> None:
        if value is not None:
            os.environ[variable] = str(read(value))

    return tell


largest = click.option(
    "--largest",
    type=click.IntRange(min=1, max=10**15),
    metavar="VALUES",
    expose_value=False,
    callback=_told_to_all(store.LARGEST),
    help="Most pixel values that one image or volume may unpack to; larger files are refused as decompression bombs. "
    f"[default: {store.LARGEST_VALUES}, or ${store.LARGEST}]",
)
"""The option `--largest`, of every command that reads images made by others."""

memory_limit = click.option(
    "--memory",
    metavar="SIZE",
    expose_value=False,
    callback=_told_to_all(memory.MEMORY, memory.read_size),
    help="Memory that this process may take, e.g. 8GB: less is then done side by side, with the same answers; too "
    f"little is an error. [default: 80 % of the machine's, or ${memory.MEMORY}]",
)
"""The option `--memory`, of the commands that read whole sets."""
