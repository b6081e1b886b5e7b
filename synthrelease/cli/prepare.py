"""`synthrelease prepare`: real scans to image sets, split by subject."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from synthrelease.cli.setting import largest
from synthrelease.settings import PrepareSettings

if TYPE_CHECKING:
    from synthrelease.image_set import ImageSet

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class _Fractions(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic from click 8.2 on
    name = "A,B,C"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float, float]:
        try:
            train, holdout, test = (float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not three numbers, e.g. 0.6,0.2,0.2", param, ctx)
        return train, holdout, test


@click.command("prepare")
@click.argument("cohort", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for train, holdout and test.")
@click.option("--fractions", type=_Fractions(), default="0.6,0.2,0.2", show_default=True, help="Shares of subjects.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the split.")
@click.option(
    "--preset", type=click.Choice(["akbar2024", "robust"]), default="akbar2024", show_default=True, help="Scaling."
)
@click.option("--foreground", type=float, default=0.15, show_default=True, help="Least foreground share of a slice.")
@click.option("--subject-pattern", help="Regex on the relative path; group 1 is the subject.")
@click.option("--train-list", "train", type=_FILE, help="Text file, one subject per line; replaces --fractions.")
@click.option("--holdout-list", "holdout", type=_FILE, help="As --train-list.")
@click.option("--test-list", "test", type=_FILE, help="As --train-list.")
@click.option("--workers", type=int, default=0, show_default=True, help="Processes; 0 takes all cores.")
@largest
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def command(
    *,
    cohort: Path,
    out: Path,
    train: Path | None,
    holdout: Path | None,
    test: Path | None,
    as_json: bool,
    **options: object,
) -> int:
    """Turn a COHORT of real scans into image sets OUT/train, OUT/holdout and OUT/test, split by subject.

    COHORT is a BraTS folder (2020, 2021 or 2023 names), a folder of slices per subject, or a flat folder of
    PNG, JPEG, WebP, BMP, TIFF, NIfTI, DICOM, NPY or NPZ files. An interrupted run continues where it stopped.

    \b
    synthrelease prepare cohort --out sets --fractions 0.6,0.2,0.2
    synthrelease prepare cohort --out sets --train-list train.txt --holdout-list holdout.txt
    """
    from synthrelease import study
    from synthrelease.cli import printable
    from synthrelease.cli.console import ConsoleProgress

    settings = PrepareSettings.checked(**options)
    lists = {role: path for role, path in (("train", train), ("holdout", holdout), ("test", test)) if path}
    sets = study.prepare(cohort, out, settings, lists or None, ConsoleProgress())
    click.echo(_document(sets, out) if as_json else printable(_table(sets, out)))
    return 0


def _table(sets: dict[str, ImageSet], out: Path) -> str:
    lines = [f"{'role':<9}{'subjects':>9}{'images':>9}  {'size':<9}channels"]
    for role, images in sets.items():
        size = "x".join(map(str, images.size))
        lines.append(f"{role:<9}{len(set(images.subjects)):>9}{len(images):>9}  {size:<9}{', '.join(images.channels)}")
    for role, images in sets.items():
        lines += [f"{role}: {note}" for note in images.notes]
        if images.unread:
            lines.append(f"{role}: {len(images.unread)} files could not be used; set.json lists them with reasons")
    holdout = f" --holdout {out / 'holdout'}" if "holdout" in sets else ""
    return "\n".join(
        [*lines, "", f"Next: synthrelease audit --train {out / 'train'}{holdout} --synthetic FOLDER --out FOLDER"]
    )


def _document(sets: dict[str, ImageSet], out: Path) -> str:
    return json.dumps(
        {
            "out": str(out),
            "sets": {
                role: {
                    "subjects": len(set(images.subjects)),
                    "images": len(images),
                    "size": images.size,
                    "channels": images.channels,
                    "content": images.content,
                    "unread": [{"image_id": item.image_id, "reason": item.reason} for item in images.unread],
                    "notes": images.notes,
                }
                for role, images in sets.items()
            },
        },
        indent=1,
    )
