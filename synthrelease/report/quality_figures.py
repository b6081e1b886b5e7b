"""Figures of a quality record: intensities, spectra, tumour areas and places, each with its finding in words."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from synthrelease.records import Curve
from synthrelease.report import formats
from synthrelease.report.figures import BLUE, GREY, Picture
from synthrelease.report.figures import _canvas as canvas
from synthrelease.report.figures import _picture as picture

AXES = {  # name: horizontal axis, vertical axis, caption
    "intensity": ("intensity of foreground pixels (1 = brightest)", "share of pixels", "Intensities"),
    "spectrum": ("spatial frequency (cycles per image)", "log10 of mean power", "Power spectrum"),
    "tumour area": ("tumour area (share of the image)", "share of slices with tumour", "Tumour areas"),
    "tumour place": ("", "", "Where tumours lie"),
}


def figures_of(curves: Iterable[Curve], *, as_png: bool = False) -> tuple[tuple[str, Picture, Curve], ...]:
    """Return caption, figure and numbers of every curve, in the record's order."""
    return tuple((_caption(curve), _figure(curve, as_png), curve) for curve in curves)


def _caption(curve: Curve) -> str:
    caption = AXES[curve.name][2]
    return f"{caption}, {formats.shown(curve.view)}." if curve.view else f"{caption}."


def _figure(curve: Curve, as_png: bool) -> Picture:
    if curve.name == "tumour place":
        return _map(curve, as_png)
    with canvas(2.8) as (figure, axes):
        axes.plot(curve.at, curve.real, color=GREY, lw=3.2, label="real")
        axes.plot(curve.at, curve.synthetic, color=BLUE, lw=1.8, ls=(0, (5, 2)), label="synthetic")
        axes.set_xlabel(AXES[curve.name][0])
        axes.set_ylabel(AXES[curve.name][1])
        axes.legend(loc="best")
        return picture(figure, _finding(curve), as_png=as_png)


def _map(curve: Curve, as_png: bool) -> Picture:
    side = round(len(curve.real) ** 0.5)
    highest = max(*curve.real, *curve.synthetic, 1e-9)
    with canvas(3.0) as (figure, axes):
        axes.remove()
        for place, (title, values) in enumerate((("real", curve.real), ("synthetic", curve.synthetic)), start=1):
            part = figure.add_subplot(1, 2, place)
            part.imshow(np.reshape(values, (side, side)), cmap="cividis", vmin=0, vmax=highest)
            part.set(title=title, xticks=[], yticks=[])
            part.grid(visible=False)
        return picture(figure, _finding(curve), as_png=as_png)


def _finding(curve: Curve) -> str:
    real, made = np.array(curve.real), np.array(curve.synthetic)
    if curve.name == "tumour place":
        return (
            f"Real and synthetic tumours share {formats.percent(float(np.minimum(real, made).sum()))} of their place."
        )
    if curve.name == "spectrum":
        far = int(np.abs(made - real).argmax())
        word = "more" if made[far] > real[far] else "less"
        return (
            f"Synthetic images differ most at {formats.number(curve.at[far])} cycles per image: "
            f"{formats.number(float(10 ** abs(made[far] - real[far])))} times {word} power than real ones."
        )
    apart = formats.percent(float(np.abs(real - made).sum() / 2))
    return f"{apart} of the synthetic share would have to move for the two distributions to be equal."
