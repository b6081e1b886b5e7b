"""Writes docs/measures.md from the metric table: `python docs/make_measures.py` (or `make docs`).

The table of corruptions is data, `docs/corruptions.csv`, made by `python benchmarks/corruptions.py --write FILE`.
"""

from __future__ import annotations

import csv
from pathlib import Path

from synthrelease.metrics.table import METRICS, Metric

PAGE, CORRUPTIONS = (Path(__file__).with_name(name) for name in ("measures.md", "corruptions.csv"))
HEAD = """# Measures

Generated from the metric table by `python docs/make_measures.py`; a test keeps it current.

`synthrelease measure --real DIR --synthetic DIR --out DIR` writes `quality.json` and a page for inside. Read any
number there with four things beside it:

- **its floor**: the same measure between two halves of the real patients, or, for a measure of one set, of as many
  real images. A generator cannot be asked to come nearer to real images than other real images do;
- **the value at the floor's count**: most measures fall or rise with the number of images, so only this one may be
  held against the floor;
- **its interval**: parts of the real patients and of the synthetic images are left out in turn (delete-a-group
  jackknife);
- **its extractor**: features of other networks, weights or preprocessing give other numbers, which cannot be
  compared.

What to keep in mind:

- FID is the name of one network with one file of weights. With anything else the number is called `fid_<extractor>`;
  Rad-FID is `fid_radimagenet-...`. Published Rad-FID numbers mix weights and preprocessings and cannot be compared
  with each other.
- The TorchScript file of the same network (`inception-2015-12-05.pt`) is read too, but no hash of it is published, and
  any program with 2,048 outputs has its shape. So its numbers are called `fid_inception`, with the reason beside them;
  the state dict of pytorch-fid or torch-fidelity, whose hash is known, gives `fid`.
- FID **improves** when a release holds verbatim copies of patients. No measure on this page can clear a release; see
  `synthrelease audit`.
- RadImageNet distances were found unreliable against expert judgement (Woodland et al. 2023, arXiv 2311.13717): give
  them beside others.
- The reference study (Akbar et al. 2024, Scientific Data) found that quality ranks of generators do not predict how
  useful their images are for training a segmenter.
- Two samples of one law are not at distance 0: with 2,048 features about 575 at 100 images, 332 at 400, 139 at 1,600.
- No classifier head of RadImageNet is published. Without one Rad-IS is "not computable"; `--head` takes your own, and
  `synthrelease weights fit-head` fits a declared surrogate, whose score is named `radis_surrogate_<extractor>`.

"""
CORRUPTED = """## What corruptions do

Fresh phantom slices (T1, features of the copy encoder) against other phantoms, clean and corrupted. The directions
carry over to patients, the sizes do not. Made by `python benchmarks/corruptions.py --write docs/corruptions.csv`.

"""


def page() -> str:
    """Return the whole page as Markdown."""
    return HEAD + "\n".join(_section(metric) for metric in METRICS.values()) + "\n" + CORRUPTED + _corruptions() + "\n"


def _section(metric: Metric) -> str:
    rows = (
        ("function", f"`{metric.name}({', '.join(metric.roles)})`"),
        ("unit", metric.unit),
        ("better", metric.better),
        ("what moves it", _moves(metric)),
        ("cannot see", metric.blind_to),
        ("source", metric.source),
    )
    table = "\n".join(f"| {name} | {text} |" for name, text in rows)
    return f"## {metric.title}\n\n{metric.meaning}\n\n| | |\n|---|---|\n{table}\n"


def _moves(metric: Metric) -> str:
    return f"Copying: {metric.copying}"


def _corruptions() -> str:
    with CORRUPTIONS.open(newline="", encoding="utf-8") as file:
        head, *rows = list(csv.reader(file))
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
