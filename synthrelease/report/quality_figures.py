"""Figures of a quality record: intensities, spectra, tumour areas and places, each with its finding in words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from synthrelease.records import Curve, PublicCurve
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
AnyCurve = Curve | PublicCurve
Kind = TypeVar("Kind", Curve, PublicCurve)


def figures_of(curves: Iterable[Kind], *, as_png: bool = False) -> tuple[tuple[str, Picture, Kind], ...]:
    """Return caption, figure and numbers of every curve, in the record's order; values that are not told stay blank."""
    return tuple((_caption(curve), _figure(curve, as_png), curve) for curve in curves)


def _caption(curve: AnyCurve) -> str:
    caption = AXES[curve.name][2]
    return f"{caption}, {formats.shown(curve.view)}." if curve.view else f"{caption}."


def _figure(curve: AnyCurve, as_png: bool) -> Picture:
    if curve.name == "tumour place":
        return _map(curve, as_png)
    with canvas(2.8) as (figure, axes):
        if curve.real:
            axes.plot(curve.at, _values(curve.real), color=GREY, lw=3.2, label="real")
        axes.plot(curve.at, curve.synthetic, color=BLUE, lw=1.8, ls=(0, (5, 2)), label="synthetic")
        axes.set_xlabel(AXES[curve.name][0])
        axes.set_ylabel(AXES[curve.name][1])
        if curve.name == "tumour area":
            axes.set_xscale("log")
        axes.legend(loc="best")
        return picture(figure, _finding(curve), as_png=as_png)


def _map(curve: AnyCurve, as_png: bool) -> Picture:
    side = round(len(curve.synthetic) ** 0.5)
    maps = {"real": _values(curve.real), "synthetic": _values(curve.synthetic)}
    highest = max(1e-9, *(float(np.nanmax(values)) for values in maps.values() if len(values)))
    with canvas(3.0) as (figure, axes):
        axes.remove()
        for place, (title, values) in enumerate(maps.items(), start=1):
            part = figure.add_subplot(1, 2, place)
            if len(values):
                part.imshow(np.reshape(values, (side, side)), cmap="cividis", vmin=0, vmax=highest)
            else:
                part.text(0.5, 0.5, "not told", ha="center", va="center")
            part.set(title=title, xticks=[], yticks=[])
            part.grid(visible=False)
        return picture(figure, _finding(curve), as_png=as_png)


def _values(values: Iterable[float | None]) -> NDArray[Any]:
    """Return values with gaps where they are not told."""
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _finding(curve: AnyCurve) -> str:
    real, made = _values(curve.real), np.array(curve.synthetic)
    told = ~np.isnan(real)
    if not told.any():
        return "Synthetic images alone: too few patients stand behind every real value."
    blank = "" if told.all() else " Real values with too few patients behind them are left blank."
    return _difference(curve, real[told], made[told], told) + blank


def _difference(curve: AnyCurve, real: NDArray[Any], made: NDArray[Any], told: NDArray[np.bool_]) -> str:
    """Say how far two curves are apart where both are told; shares are made to sum to 1 there."""
    if curve.name == "spectrum":
        far = int(np.abs(made - real).argmax())
        word = "more" if made[far] > real[far] else "less"
        return (
            f"Synthetic images differ most at {formats.number(np.array(curve.at)[told][far])} cycles per image: "
            f"{formats.number(float(10 ** abs(made[far] - real[far])))} times {word} power than real ones."
        )
    real, made = (values / values.sum() if values.sum() > 0 else values for values in (real, made))
    if curve.name == "tumour place":
        shared = formats.percent(float(np.minimum(real, made).sum()))
        return f"Real and synthetic tumours share {shared} of their place."
    apart = formats.percent(float(np.abs(real - made).sum() / 2))
    return f"{apart} of the synthetic share would have to move for the two distributions to be equal."
