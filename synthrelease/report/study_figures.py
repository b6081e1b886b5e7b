"""Figures of a study: quality against usefulness against near copies, relative Dice, and the real-image sweep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from synthrelease.report import formats
from synthrelease.report.figures import BLUE, GREY, INK, ORANGE, RED, STYLE, WIDTH, Picture
from synthrelease.report.figures import _canvas as canvas
from synthrelease.report.figures import _picture as picture
from synthrelease.report.study_words import ARMS, Spot, augmentation, measure_name
from synthrelease.study_records import Interval, Sweep, SweepPoint, Usefulness

# A generator keeps its place in these lists through the whole page; the shape repeats what the colour says.
SHAPES, COLOURS = "osD^vP", (BLUE, ORANGE, RED, "#007A5E", "#9B4F8E", INK)
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (2, 1.5)), (0, (7, 2, 2, 2)), (0, (1, 1)), (0, (9, 3)))
LEAST_AREA, AREA_OF_ALL = 40.0, 2600.0  # of a dot, in square points: without near copies, and where all are copies
LONGEST_NAME = 22


def tradeoff_figure(spots: Sequence[Spot], measure: str, higher_is_better: bool | None) -> Picture | None:
    """Return quality against relative Dice, one panel for each data set and segmenter; None without a dot.

    Args:
        spots: One dot each; its area grows with the near-copy rate, which also stands beside it.
        measure: The quality measure on the horizontal axis.
        higher_is_better: Of that measure; None: not known.
    """
    if not spots:
        return None
    panels = list(dict.fromkeys((spot.data, spot.segmenter) for spot in spots))
    across = min(2, len(panels))
    down = -(-len(panels) // across)
    names = list(dict.fromkeys(spot.generator for spot in spots))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH if across > 1 else 5.4, 0.4 + 3.3 * down), layout="constrained")
        for place, (data, segmenter) in enumerate(panels, start=1):
            axes = figure.add_subplot(down, across, place)
            mine = [spot for spot in spots if (spot.data, spot.segmenter) == (data, segmenter)]
            for spot in mine:
                _bubble(axes, spot, names.index(spot.generator))
            _name_dots(axes, mine)
            axes.axhline(1, color=INK, ls=(0, (5, 2)), lw=1.2)
            axes.set_title(_label(f"{data}, {segmenter}"), fontsize=11)
            axes.margins(x=0.12, y=0.15)
        figure.supxlabel(_label(_axis(measure, higher_is_better)), fontsize=11)
        figure.supylabel("relative Dice, synthetic alone", fontsize=11)
        return picture(figure, _tradeoff_finding(spots, measure, higher_is_better))


def _bubble(axes: Axes, spot: Spot, place: int) -> None:
    colour, shape = _look(place)
    if spot.relative.low is not None and spot.relative.high is not None:
        axes.plot([spot.quality] * 2, [spot.relative.low, spot.relative.high], color=colour, lw=1.4)
    area = LEAST_AREA + AREA_OF_ALL * (spot.near_copies or 0.0)
    face = "white" if spot.near_copies is None else colour
    axes.scatter([spot.quality], [spot.value], s=area, marker=shape, color=face, edgecolors=colour, alpha=0.9, zorder=3)


def _name_dots(axes: Axes, spots: Sequence[Spot]) -> None:
    """Write each dot's name and near-copy rate in a column beside the panel, so that no two lie upon each other."""
    ordered = sorted(spots, key=lambda spot: spot.value)
    for place, spot in enumerate(ordered):
        copies = "not audited" if spot.near_copies is None else formats.percent(spot.near_copies)
        axes.annotate(
            f"{_label(spot.generator, LONGEST_NAME)} {copies}",
            (spot.quality, spot.value),
            xytext=(1.03, (place + 0.5) / len(ordered)),
            textcoords="axes fraction",
            arrowprops={"arrowstyle": "-", "color": GREY, "lw": 0.6, "shrinkB": 4},
            fontsize=8.5,
            va="center",
        )


def relative_figure(items: Sequence[Usefulness], fixed_masks: Sequence[Interval] = ()) -> Picture | None:
    """Return relative Dice per generator with intervals, a line at 1 and one at a fixed mask's; None without any.

    Args:
        items: Of one data set and one segmenter: every generator, training set and augmentation.
        fixed_masks: Relative Dice of one fixed mask, one for each augmentation of the real training.
    """
    shown = [item for item in items if item.relative_dice is not None and item.relative_dice.value is not None]
    if not shown:
        return None
    names = list(dict.fromkeys(item.generator for item in shown))
    kinds = sorted(
        {(item.train_on, item.augmented) for item in shown}, key=lambda kind: (kind[0] != "synthetic", kind[1])
    )
    step = 0.7 / max(len(kinds), 1)
    with canvas(1.3 + (0.15 + 0.17 * len(kinds)) * len(names)) as (figure, axes):
        for item in shown:
            place = kinds.index((item.train_on, item.augmented))
            row = names.index(item.generator) + step * (place - (len(kinds) - 1) / 2)
            _mark(axes, row, item.relative_dice, item)
        for arm, augmented in kinds:
            style = _mark_style(arm, augmented=augmented)
            axes.plot([], [], linestyle="-", label=f"{ARMS[arm]}, {augmentation(augmented)}", **style)
        axes.axvline(1, color=INK, ls=(0, (5, 2)), lw=1.4, label="as useful as real images")
        floors = [fixed.value for fixed in fixed_masks if fixed.value is not None]
        for place, value in enumerate(floors):
            label = "one fixed mask, no image looked at" if place == 0 else None
            axes.axvline(value, color=GREY, ls=(0, (1, 1.5)), lw=1.6, label=label)
        axes.set_yticks(range(len(names)), [_label(name) for name in names])
        axes.set_ylim(len(names) - 0.45, -0.55)
        axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
        axes.set_xlabel("relative Dice (1 = trained on all real subjects), 95 % interval")
        figure.legend(loc="outside upper left", ncols=2, fontsize=9.5)
        return picture(figure, _relative_finding(shown, floors))


def _mark(axes: Axes, row: float, at: Interval | None, item: Usefulness) -> None:
    if at is None or at.value is None:
        return
    style = _mark_style(item.train_on, augmented=item.augmented)
    if at.low is not None and at.high is not None:
        axes.plot([at.low, at.high], [row, row], color=style["color"], lw=1.8, solid_capstyle="butt")
    axes.plot([at.value], [row], linestyle="none", **style)


def _mark_style(arm: str, *, augmented: bool) -> dict[str, Any]:
    colour = BLUE if arm == "synthetic" else RED
    shape = "o" if arm == "synthetic" else "s"
    return {"marker": shape, "color": colour, "mfc": colour if augmented else "white", "ms": 6.5, "mew": 1.6}


def sweep_figure(sweeps: Sequence[Sweep]) -> Picture | None:
    """Return mean Dice against real train subjects, one line for each generator, knees marked; None without points.

    Args:
        sweeps: Of one data set, segmenter and augmentation.
    """
    shown = [(sweep, _known(sweep)) for sweep in sweeps if _known(sweep)]
    if not shown:
        return None
    with canvas(3.6) as (figure, axes):
        for place, (sweep, points) in enumerate(shown):
            colour, shape = (GREY, "X") if sweep.generator == "real" else _look(place)
            across = [point.real_subjects for point in points]
            up = [point.dice.value or 0.0 for point in points]
            name = "real alone" if sweep.generator == "real" else f"with {_label(sweep.generator)}"
            dash = DASHES[place % len(DASHES)]
            axes.plot(across, up, marker=shape, color=colour, ls=dash, lw=2, ms=6.5, label=name)
            for point in points:
                low, high = point.dice.low, point.dice.high
                if low is not None and high is not None:
                    axes.plot([point.real_subjects] * 2, [low, high], color=colour, lw=1.1, alpha=0.8)
            if sweep.knee is not None:
                height = up[across.index(sweep.knee)]
                axes.plot([sweep.knee], [height], "o", mfc="none", mec=colour, mew=1.8, ms=15)
        if any(sweep.knee is not None for sweep, _ in shown):
            axes.plot([], [], "o", mfc="none", mec=INK, mew=1.6, ms=12, label="knee")
        axes.set_xlabel("real train subjects")
        axes.set_ylabel("mean Dice on real test subjects")
        axes.legend(loc="lower right", fontsize=9.5)
        return picture(figure, " ".join(_sweep_finding(sweep, points) for sweep, points in shown))


def _known(sweep: Sweep) -> list[SweepPoint]:
    return [point for point in sweep.points if point.dice.value is not None]


def _look(place: int) -> tuple[str, str]:
    return COLOURS[place % len(COLOURS)], SHAPES[place % len(SHAPES)]


def _label(text: str, longest: int = 2 * LONGEST_NAME) -> str:
    """Return a name short enough for a figure; a dollar sign would start mathematics in matplotlib."""
    text = formats.shown(text)
    text = text if len(text) <= longest else text[: longest - 1] + "…"
    return text.replace("$", r"\$")


def _axis(measure: str, higher: bool | None) -> str:
    name = measure_name(measure)
    return name if higher is None else f"{name} ({'higher' if higher else 'lower'} is better)"


def _tradeoff_finding(spots: Sequence[Spot], measure: str, higher: bool | None) -> str:
    best = max(spots, key=lambda spot: spot.value)
    audited = [spot for spot in spots if spot.near_copies is not None]
    said = (
        f"{measure_name(measure)} across, relative Dice of training on synthetic images alone upwards, near-copy rate "
        f"as the dot's area and beside its name. Most useful: {_who(best)} with relative Dice "
        f"{formats.score(best.value)}"
    )
    if higher is not None:
        finest = (max if higher else min)(spots, key=lambda spot: spot.quality)
        end = f"{'highest' if higher else 'lowest'} {measure_name(measure)}"
        said += f"; {end}: {_who(finest)} with {formats.number(finest.quality)}"
    if audited:
        worst = max(audited, key=lambda spot: spot.near_copies or 0.0)
        said += f"; most near copies: {_who(worst)} with {formats.percent(worst.near_copies)}"
    return said + "."


def _who(spot: Spot) -> str:
    return f"{formats.shown(spot.generator)} on {formats.shown(spot.data)} ({formats.shown(spot.segmenter)})"


def _relative_finding(items: Sequence[Usefulness], floors: Sequence[float]) -> str:
    said = []
    for arm in dict.fromkeys(item.train_on for item in items):
        of_arm = [item for item in items if item.train_on == arm]
        values = [(item.relative_dice.value or 0.0, item.generator) for item in of_arm if item.relative_dice]
        word = ARMS[arm][0].upper() + ARMS[arm][1:]
        if len(values) == 1:
            said.append(f"{word}: {formats.shown(values[0][1])} reaches {formats.score(values[0][0])}.")
            continue
        ends = (f"{formats.score(value)} ({formats.shown(name)})" for value, name in (min(values), max(values)))
        said.append(f"{word}: from {' to '.join(ends)}.")
    if floors:
        said.append(f"One fixed mask: {' and '.join(formats.score(value) for value in dict.fromkeys(floors))}.")
    return " ".join(said)


def _sweep_finding(sweep: Sweep, points: Sequence[SweepPoint]) -> str:
    name = "Real alone" if sweep.generator == "real" else f"With {formats.shown(sweep.generator)}"
    first, last = points[0], points[-1]
    way = (
        f"{name}: Dice {formats.score(first.dice.value)} with {formats.counted(first.real_subjects, 'real subject')}, "
        f"{formats.score(last.dice.value)} with {last.real_subjects}"
    )
    if sweep.knee is None:
        return f"{way}; no knee seen."
    return f"{way}; beyond {formats.counted(sweep.knee, 'real subject')} more help little."
