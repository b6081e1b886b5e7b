"""What a whole study hands to its report: frozen records, as in records.py. They stay inside: they name data sets."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from synthrelease.records import Rate, Record
from synthrelease.release_records import Decision, Measurement

TrainedOn = Literal["real", "synthetic", "both"]
REAL = "real"  # where a generator's name is asked of a training on real images alone


class Interval(Record):
    """A number with its 95 % interval; all null where nothing is known."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


class RegionScores(Record):
    """Scores of one region of the tumour over test subjects and seeds."""

    region: str = Field(description="A label, or a union of labels: NCR, ED, ET, WT, TC")
    dice: Interval
    hausdorff: Interval = Field(description="Greatest symmetric surface distance, mm")
    hausdorff_95: Interval = Field(description="95 % of surface points are nearer, mm")
    note: str = Field(default="", description="How many regions were missed or empty")


class FixedMask(Record):
    """Scores of one mask laid on every test slice: where the train subjects' tumours usually lie."""

    dice: dict[str, Interval] = Field(description="Per region; `mean` is over labels")
    relative_dice: Interval = Field(description="Its mean Dice over that of training on all real subjects")


class Usefulness(Record):
    """A segmenter trained on one training set, over all its seeds."""

    data: str = Field(description="Name of the data set in study.toml")
    generator: str = Field(description="Name in study.toml; `real` for training on real images alone")
    segmenter: str = Field(description="Name in study.toml, e.g. unet")
    augmented: bool
    train_on: TrainedOn
    real_fraction: float = Field(default=1.0, description="Share of the real train subjects that was used")
    real_subjects: int | None = Field(default=None, description="Real train subjects used; null for synthetic alone")
    test_subjects: int
    seeds: tuple[int, ...] = Field(description="Trainings that finished")
    seeds_planned: int
    regions: tuple[RegionScores, ...] = Field(description="Each label, then unions of labels; first `mean` of labels")
    relative_dice: Interval | None = Field(
        default=None, description="Mean Dice over that of training on all real subjects alone; null for real itself"
    )
    fixed_mask: FixedMask | None = Field(
        default=None,
        description="What needs no image at all, beside training on all real subjects; null for other training sets",
    )


class Generated(Record):
    """What was found about one generator's images on one data set."""

    data: str
    generator: str
    images: int | None = Field(default=None, description="Synthetic images")
    quality: tuple[Measurement, ...] = ()
    near_copies: Rate | None = Field(default=None, description="Share of synthetic images flagged as near copies")
    near_copies_holdout: Rate | None = Field(default=None, description="The same among holdout images: the yardstick")
    above_alarm: int | None = None
    verdict: str | None = Field(default=None, description="Of the audit")
    decision: Decision | None = Field(default=None, description="Of the release policy")
    policy: str = ""


class Ranking(Record):
    """Generators in the order of one measure, 1 = best; equal values share the mean of their ranks."""

    measure: str = Field(description="A quality measure's name, or dice, hausdorff, hausdorff_95, near_copies")
    data: str
    segmenter: str = Field(default="", description="Empty for measures that need none")
    augmented: bool | None = None
    train_on: TrainedOn | None = None
    higher_is_better: bool
    ranks: dict[str, float] = Field(description="Generator to rank")
    low: dict[str, float] = Field(default_factory=dict, description="95 % interval of each rank over test subjects")
    high: dict[str, float] = Field(default_factory=dict)
    published: dict[str, int] = Field(default_factory=dict, description="Ranks of the reference study for its year")
    published_year: str = ""
    published_source: str = Field(default="", description="Where these ranks were published, and what is not known")


class Association(Record):
    """How two measures of the same generators go together."""

    measure: str = Field(description="Quality measure, oriented so that more is better")
    against: str = Field(description="What it should foretell, e.g. relative Dice of unet")
    count: int = Field(description="Pairs of data set and generator")
    spearman: Interval
    spearman_p: float | None = Field(default=None, description="Of no association, by permutation")
    kendall: Interval
    kendall_p: float | None = None
    points: tuple[tuple[str, float, float], ...] = Field(default=(), description="Label, measure, usefulness")
    note: str = ""


class SweepPoint(Record):
    """One number of real subjects."""

    real_subjects: int
    real_fraction: float
    dice: Interval


class Sweep(Record):
    """Mean Dice against the number of real train subjects, alone or with synthetic images."""

    data: str
    generator: str = Field(description="`real`: without synthetic images")
    segmenter: str
    augmented: bool
    points: tuple[SweepPoint, ...] = Field(description="Ascending in real subjects; 0 is synthetic alone")
    knee: int | None = Field(default=None, description="Real subjects after which more help little; null: none seen")


class Unfinished(Record):
    """A job of the grid without a result."""

    job: str
    state: Literal["failed", "waiting", "running", "blocked"]
    reason: str = ""


class StudyRecord(Record):
    """Everything that the study report shows."""

    schema_version: int = 1
    name: str
    jobs: int
    finished: int
    unfinished: tuple[Unfinished, ...] = ()
    usefulness: tuple[Usefulness, ...] = ()
    generated: tuple[Generated, ...] = ()
    rankings: tuple[Ranking, ...] = ()
    associations: tuple[Association, ...] = ()
    sweeps: tuple[Sweep, ...] = ()
    made_with: dict[str, str] = Field(default_factory=dict)
    small: tuple[str, ...] = Field(default=(), description="What is too small to be trusted, in words")
