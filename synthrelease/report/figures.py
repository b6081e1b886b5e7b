"""Figures as SVG: the same record gives the same bytes, and each says its finding in words."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from synthrelease.records import AuditRecord, MembershipAttack, Planted
from synthrelease.report import formats, words

# Okabe and Ito's palette: told apart by readers with any colour vision. Shape or dash repeats each distinction.
BLUE, ORANGE, RED, GREY, INK = "#0072B2", "#E69F00", "#B3261E", "#8A94A0", "#1D2733"
WIDTH = 7.2  # inches
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "synthrelease",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E3E7EB",
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Picture:
    """An image for the page: its data address, its size in CSS pixels, and the finding in words."""

    address: str
    width: int
    height: int
    finding: str


def score_histogram(record: AuditRecord) -> Picture | None:
    """Return how near synthetic and holdout images come to train, with both lines; None without a distribution."""
    bins = record.distribution
    if bins is None:
        return None
    with _canvas(3.9) as (figure, axes):
        series = (bins.holdout, bins.synthetic, bins.planted)
        positive = [value for values in series for value in values if value > 0]
        floor = min(positive, default=1.0) / 2
        axes.stairs(bins.holdout, bins.edges, baseline=floor, fill=True, color="#C9D0D8", label="holdout (strangers)")
        axes.stairs(_above(bins.synthetic, floor), bins.edges, baseline=floor, color=BLUE, lw=2.2, label="synthetic")
        if bins.planted:
            planted = _above(bins.planted, floor)
            axes.stairs(planted, bins.edges, baseline=floor, color=ORANGE, lw=1.8, ls=(0, (2, 1)), label="planted")
        axes.set_yscale("log")
        axes.set_ylim(floor, max(positive, default=1.0) * 6)
        axes.set_xlim(bins.edges[0], bins.edges[-1])
        _line(axes, record.threshold, "flag", (0, (5, 2)))
        _line(axes, record.alarm, "alarm", "-")
        axes.set_xlabel("score: likeness to the most similar train image (1 = verbatim copy)")
        axes.set_ylabel("density (log scale)")
        axes.legend(loc="upper center", bbox_to_anchor=(0.45, 1.17), ncols=3)
        return _picture(figure, _histogram_finding(record))


def power_figure(planted: Sequence[Planted], floor: float | None, *, as_png: bool = False) -> Picture | None:
    """Return the share of planted copies caught per kind, at flag and at alarm, with intervals; None without any.

    Args:
        planted: One row per kind.
        floor: Least share that the policy wants; drawn as a line.
        as_png: Pixels at twice the screen's density instead of SVG: what leaves holds no vector graphics.
    """
    if not planted:
        return None
    with _canvas(1.3 + 0.42 * len(planted)) as (figure, axes):
        for row, item in enumerate(planted):
            at_flag = (item.caught / item.planted, item.low, item.high)
            at_alarm = (item.caught_at_alarm / item.planted, item.low_at_alarm, item.high_at_alarm)
            _dot(axes, row - 0.14, at_flag, "o", BLUE)
            _dot(axes, row + 0.14, at_alarm, "s", RED)
        axes.plot([], [], "o-", color=BLUE, label="at the flag line")
        axes.plot([], [], "s-", color=RED, mfc="white", label="at the alarm line")
        if floor is not None:
            axes.axvline(floor, color=INK, ls=(0, (5, 2)), lw=1.2, label="policy floor")
        axes.set_yticks(range(len(planted)), [_kind_label(item) for item in planted])
        axes.set_ylim(len(planted) - 0.4, -0.6)
        axes.set_xlim(-0.02, 1.02)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.0f} %"))
        axes.set_xlabel("caught, with 95 % interval")
        figure.legend(loc="outside upper right", ncols=3)
        return _picture(figure, _power_finding(planted), as_png=as_png)


def roc_figure(attack: MembershipAttack) -> Picture | None:
    """Return the attack's trade-off on logarithmic axes, beside guessing; None without points."""
    points = [(x, y) for x, y in attack.roc if x > 0 and y > 0]
    if not points:
        return None
    with _canvas(4.6, width=5.4) as (figure, axes):
        least = min(min(x for x, _ in points), min(y for _, y in points)) / 1.5
        axes.plot([least, 1], [least, 1], color=GREY, ls=(0, (5, 2)), lw=1.6, label="guessing")
        axes.plot(*zip(*points, strict=True), color=BLUE, lw=2.2, drawstyle="steps-post", label="attack")
        axes.set(xscale="log", yscale="log", xlim=(least, 1.05), ylim=(least, 1.05))
        axes.set_xlabel("strangers accused (false positive rate)")
        axes.set_ylabel("members recognised (true positive rate)")
        axes.legend(loc="upper left")
        return _picture(figure, _roc_finding(attack))


@contextmanager
def _canvas(height: float, width: float = WIDTH) -> Iterator[tuple[Figure, Axes]]:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.add_subplot()


def _picture(figure: Figure, finding: str, *, as_png: bool = False) -> Picture:
    file = io.BytesIO()
    if as_png:
        figure.savefig(file, format="png", dpi=192, metadata={"Software": None}, facecolor="white")
    else:
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None}, facecolor="white")
    width, height = figure.get_size_inches()
    kind = "png" if as_png else "svg+xml"
    address = f"data:image/{kind};base64," + base64.b64encode(file.getvalue()).decode()
    return Picture(address, round(96 * width), round(96 * height), finding)


def _above(densities: Sequence[float], floor: float) -> list[float]:
    """Return densities with empty bins on the floor, so that a logarithmic axis can draw their outline."""
    return [max(value, floor) for value in densities]


def _line(axes: Axes, at: float | None, name: str, dash: Any) -> None:
    if at is None:
        return
    axes.axvline(at, color=RED if name == "alarm" else INK, ls=dash, lw=1.6)
    beside = {"flag": ("right", -4), "alarm": ("left", 4)}[name]
    axes.annotate(
        f"{name} {formats.score(at)}",
        (at, 0.985),
        xycoords=("data", "axes fraction"),
        xytext=(beside[1], 0),
        textcoords="offset points",
        ha=beside[0],
        va="top",
        fontsize=10,
        color=RED if name == "alarm" else INK,
    )


def _dot(axes: Axes, row: float, share: tuple[float, float, float], marker: str, colour: str) -> None:
    value, low, high = share
    axes.plot([low, high], [row, row], color=colour, lw=1.8, solid_capstyle="butt")
    axes.plot([value], [row], marker, color=colour, mfc="white" if marker == "s" else colour, ms=6, mew=1.6)


def _kind_label(item: Planted) -> str:
    name = formats.shown(item.transformation)
    name = name if len(name) <= 24 else name[:23] + "…"
    notes = [] if item.part == "whole" else [words.PARTS[item.part]]
    notes += ["held out"] if item.held_out else []
    # A dollar sign would start mathematics in matplotlib.
    return (f"{name} ({', '.join(notes)})" if notes else name).replace("$", r"\$")


def _histogram_finding(record: AuditRecord) -> str:
    near, found = record.near_copies.synthetic, len(record.alarms)
    if record.threshold is None:
        return "Scores of the synthetic images. Without a holdout there is no line to hold them against."
    above = f"{formats.count(near.flagged)} of {formats.counted(near.count, 'synthetic image')} above the flag line"
    return (
        f"Scores of synthetic images against those of strangers: {above} at {formats.score(record.threshold)}, "
        f"{formats.count(found)} above the alarm line at {formats.score(record.alarm)}."
    )


def _power_finding(planted: Sequence[Planted]) -> str:
    worst = min(planted, key=lambda item: item.caught_at_alarm / item.planted)
    return (
        f"Planted copies caught, for {formats.counted(len(planted), 'kind')}. Hardest at the alarm line: "
        f"{formats.shown(worst.transformation)} ({words.PARTS[worst.part]}), "
        f"{worst.caught_at_alarm} of {worst.planted} caught."
    )


def _roc_finding(attack: MembershipAttack) -> str:
    inside = attack.null_low <= attack.auc <= attack.null_high
    return (
        f"Membership attack: AUC {formats.score(attack.auc)}, "
        f"{'within' if inside else 'outside'} what chance alone gives "
        f"({formats.span(attack.null_low, attack.null_high)})."
    )
