"""Usefulness as a section: relative Dice, and Dice of every training set and region as a figure and as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from synthrelease.release_records import Measurement, UtilityRecord
from synthrelease.report import formats
from synthrelease.report.figures import BLUE, GREY, INK, RED, Picture
from synthrelease.report.figures import _canvas as canvas
from synthrelease.report.figures import _picture as picture

ARMS = {
    "real": "trained on real images",
    "synthetic": "trained on synthetic images",
    "both": "trained on synthetic and real images",
    "chance": "by one fixed mask for everybody",
}
_LOOKS = {"real": ("D", GREY), "synthetic": ("o", BLUE), "both": ("s", RED), "chance": ("x", INK)}


@dataclass(frozen=True)
class Score:
    """Dice of one region after training on one kind of images."""

    region: str
    arm: str
    found: Measurement


@dataclass(frozen=True)
class UtilitySection:
    """Everything that the section shows."""

    record: UtilityRecord
    figure: Picture | None


def utility_section(record: UtilityRecord | None, *, public: bool = False) -> UtilitySection | None:
    """Return the section for the inside edition, or for the public one, which holds no vector graphics.

    Args:
        record: None, or nothing in it: there is no section.
        public: Pixels instead of SVG.
    """
    if record is None or (record.relative_dice is None and not record.measurements):
        return None
    scores = tuple(score for item in record.measurements if (score := _score(item)) is not None)
    return UtilitySection(record, utility_figure(scores, as_png=public))


def _score(item: Measurement) -> Score | None:
    kind, _, rest = item.name.partition("_")
    region, _, arm = rest.rpartition("_")
    return Score(region, arm, item) if kind == "dice" and region and arm in ARMS else None


def utility_figure(scores: Sequence[Score], *, as_png: bool = False) -> Picture | None:
    """Return Dice per region with intervals, one mark for each training set; None where no Dice is known."""
    known = [score for score in scores if score.found.value is not None]
    if not known:
        return None
    regions = list(dict.fromkeys(score.region for score in known))
    arms = [arm for arm in ARMS if any(score.arm == arm for score in known)]
    step = 0.6 / len(arms)
    with canvas(1.2 + (0.15 + 0.16 * len(arms)) * len(regions)) as (figure, axes):
        for score in known:
            row = regions.index(score.region) + step * (arms.index(score.arm) - (len(arms) - 1) / 2)
            marker, colour = _LOOKS[score.arm]
            low, high = score.found.low, score.found.high
            if low is not None and high is not None:
                axes.plot([low, high], [row, row], color=colour, lw=1.8, solid_capstyle="butt")
            axes.plot([score.found.value or 0.0], [row], marker, color=colour, ms=6.5)
        for arm in arms:
            marker, colour = _LOOKS[arm]
            axes.plot([], [], marker, color=colour, label=ARMS[arm])
        axes.set_yticks(range(len(regions)), [formats.shown(region).replace("$", r"\$") for region in regions])
        axes.set_ylim(len(regions) - 0.45, -0.55)
        axes.set_xlim(0, 1)
        axes.set_xlabel("Dice on real test subjects, 95 % interval")
        figure.legend(loc="outside upper left", ncols=2, fontsize=9.5)
        return picture(figure, _finding(known, arms), as_png=as_png)


def _finding(known: Sequence[Score], arms: Sequence[str]) -> str:
    means = {score.arm: score.found.value for score in known if score.region == "mean"}
    said = [f"{formats.number(means[arm])} {ARMS[arm]}" for arm in arms if means.get(arm) is not None]
    return f"Mean Dice: {', '.join(said)}." if said else "Dice per region and training set."
