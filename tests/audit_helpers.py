"""Small phantom cohorts, a quick form of the audit, and the command line run inside the test's own process."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from synthrelease import cli
from synthrelease.cli import audit as audit_command
from synthrelease.phantom.cohort import make_slices
from synthrelease.settings import AuditSettings

SIZE = 64
QUICK = {"image_size": SIZE, "bootstrap": 100, "permutations": 99, "planted_subjects": 3, "power_floor": 0.0}


@functools.lru_cache(maxsize=256)
def subject(index: int, count: int = 3, seed: int = 11) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return one phantom subject: images (count, 4, 64, 64) in [0, 1] and label masks (count, 64, 64)."""
    images, masks = make_slices(seed=seed, index=index, size=SIZE, count=count)
    images = np.clip(images / images.max((0, 2, 3), keepdims=True), 0, 1).astype(np.float32)
    images.flags.writeable = masks.flags.writeable = False
    return images, masks


def images_of(indices: Sequence[int], count: int = 3) -> NDArray[np.uint8]:
    """Return images (n, 3, 64, 64) of subjects, 8 bits: T1, T1ce, FLAIR, as they are written to PNG."""
    return np.concatenate([eight_bits(subject(i, count)[0][:, [0, 1, 3]]) for i in indices])


def masks_of(indices: Sequence[int], count: int = 3) -> NDArray[np.uint8]:
    """Return label masks (n, 1, 64, 64) of subjects with the stored levels 0, 51, 102, 204."""
    return np.concatenate([51 * subject(i, count)[1][:, None] for i in indices])


def names_of(indices: Sequence[int], count: int = 3) -> list[str]:
    return [f"p{i:03d}" for i in indices for _ in range(count)]


def eight_bits(images: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    return (np.clip(images, 0, 1) * 255).round().astype(np.uint8)


def write_png(path: Path, image: NDArray[np.uint8]) -> Path:
    """Write one image (3, h, w) or (1, h, w) as PNG, or as whatever the suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = image.transpose(1, 2, 0)
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(path)
    return path


def write_role(folder: Path, indices: Sequence[int], count: int = 3, masks: bool = False) -> Path:
    """Write subjects as `folder/p007/slice0.png`, with `slice0_mask.png` beside it if wanted."""
    for name, number, image, mask in zip(
        names_of(indices, count),
        list(range(count)) * len(indices),
        images_of(indices, count),
        masks_of(indices, count),
        strict=True,
    ):
        write_png(folder / name / f"slice{number}.png", image)
        if masks:
            write_png(folder / name / f"slice{number}_mask.png", mask)
    return folder


@dataclass(frozen=True)
class Run:
    """What one call of the command line said."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


@contextlib.contextmanager
def quick_settings(**changes: Any) -> Iterator[None]:
    """Make the command build settings with fewer planted copies and draws than a real audit."""
    defaults = {name: value for name, value in {**QUICK, **changes}.items() if name != "image_size"}
    kinds = {name: AuditSettings.model_fields[name].annotation for name in defaults}
    quick = type("AuditSettings", (AuditSettings,), {"__annotations__": kinds, **defaults})
    with mock.patch.object(audit_command, "AuditSettings", quick):
        yield


def run_cli(*arguments: object, cache: Path | None = None, **changes: Any) -> Run:
    """Run `synthrelease ARGUMENTS` through the real entry point, with quick settings."""
    out, err = io.StringIO(), io.StringIO()
    place = {} if cache is None else {"SYNTHRELEASE_CACHE": str(cache)}
    code: object = 0
    with (
        quick_settings(**changes),
        mock.patch.object(sys, "argv", ["synthrelease", *map(str, arguments)]),
        mock.patch.dict(os.environ, place),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code
    assert isinstance(code, int)
    assert "Traceback" not in err.getvalue() + out.getvalue()
    return Run(code, out.getvalue(), err.getvalue())


def without_time(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record without the date and the duration, the only things that may differ between equal runs."""
    made_with = {name: value for name, value in record["made_with"].items() if name not in ("date", "seconds")}
    return {**record, "made_with": made_with}
