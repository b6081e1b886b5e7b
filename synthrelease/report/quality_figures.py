"""Figures of a quality record: intensities, spectra, tumour areas and places, each with its finding in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
from matplotlib.ticker import FuncFormatter, NullFormatter
from numpy.typing import NDArray

from synthrelease.records import Curve, PublicCurve
from synthrelease.release_records import Measurement
from synthrelease.report import formats
from synthrelease.report.figures import BLUE, GREY, INK, Picture
from synthrelease.report.figures import _canvas as canvas
from synthrelease.report.figures import _picture as picture

AXES = {  # name: horizontal axis, vertical axis, caption
    "intensity": ("intensity of foreground pixels (1 = brightest)", "share of pixels", "Intensities"),
    "spectrum": ("spatial frequency (cycles per image)", "log10 of mean power", "Power spectrum"),
    "tumour area": ("tumour area (share of the image)", "share of slices with tumour", "Tumour areas"),
    "tumour volume": ("tumour volume (ml)", "share of subjects with tumour", "Tumour volumes"),
    "tumour place": ("", "", "Where tumours lie"),
}
LOGARITHMIC = frozenset({"tumour area", "tumour volume"})
LONGEST_NAME = 44
AnyCurve = Curve | PublicCurve
Kind = TypeVar("Kind", Curve, PublicCurve)


def figures_of(curves: Iterable[Kind], *, as_png: bool = False) -> tuple[tuple[str, Picture, Kind], ...]:
    """Return caption, figure and numbers of every curve, in the record's order; values that are not told stay blank."""
    return tuple((_caption(curve), _figure(curve, as_png), curve) for curve in curves)


def floors_figure(rows: Sequence[Measurement], *, as_png: bool = False) -> Picture | None:
    """Return measures as multiples of their floors, on a logarithmic axis with a line at 1; None without any.

    Args:
        rows: Measurements of one kind of features. Those without a floor above 0, or with a value of 0 or less, are
            left out: they have no place on this axis.
        as_png: Pixels instead of SVG.
    """
    shown = [(item, near, floor) for item in rows if (near := item.matched) and (floor := item.floor) and _drawn(item)]
    if not shown:
        return None
    with canvas(1.15 + 0.3 * len(shown)) as (figure, axes):
        for row, (item, near, floor) in enumerate(shown):
            if item.low is not None and item.high is not None and item.low > 0:
                axes.plot([item.low / floor, item.high / floor], [row, row], color=GREY, lw=3)
            if item.value is not None and item.value > 0:
                axes.plot([item.value / floor], [row], "D", color=GREY, ms=6, mfc="white")
            axes.plot([near / floor], [row], "o", color=BLUE, ms=6.5)
        axes.plot([], [], "o", color=BLUE, ms=6.5, label="on as many images as the floor")
        axes.plot([], [], "D-", color=GREY, mfc="white", lw=3, label="on all images, 95 % interval")
        axes.axvline(1, color=INK, ls=(0, (5, 2)), lw=1.4, label="floor: two halves of the real patients")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        views = {item.view for item, _, _ in shown}
        names = [_row_name(item, ending=f" ({item.view})" if len(views) == 1 else "") for item, _, _ in shown]
        axes.set_yticks(range(len(shown)), names, fontsize=9.5)
        axes.set_ylim(len(shown) - 0.45, -0.55)
        axes.set_xlabel("times the floor (logarithmic)")
        figure.legend(loc="outside upper left", ncols=2, fontsize=9.5)
        return picture(figure, _floors_finding([(item, near / floor) for item, near, floor in shown]), as_png=as_png)


def _drawn(item: Measurement) -> bool:
    return item.matched is not None and item.matched > 0 and item.floor is not None and item.floor > 0


def _row_name(item: Measurement, ending: str) -> str:
    """Return a measure's name without the ending that all names of the figure share, cut where it would crowd it."""
    name = formats.shown(item.name.removesuffix(ending)).replace("$", r"\$")
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def _floors_finding(shown: Sequence[tuple[Measurement, float]]) -> str:
    item, times = max(shown, key=lambda one: abs(np.log(one[1])))
    within = sum(0.8 <= times <= 1.25 for _, times in shown)
    return (
        f"{within} of {formats.counted(len(shown), 'measure')} within a quarter of the floor; farthest from it: "
        f"{formats.shown(item.name)}, {formats.number(times)} times."
    )


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
        if curve.name in LOGARITHMIC:
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
