"""What steps hand to each other. Plain frozen records: no behaviour, no NaN, one explanation per field.

The JSON Schema in ``docs/records.schema.json`` is generated from this file.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Verdict = Literal["pass", "review", "reject", "incomplete"]
PartName = Literal["patch", "tumour"]


class Record(BaseModel):
    """Base of all records: immutable, unknown fields refused, non-finite numbers refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Rate(Record):
    """A share with its 95 % interval and the count behind it."""

    value: float = Field(description="Point estimate, 0 to 1 (an excess may be negative)")
    low: float = Field(description="Lower end of the 95 % interval")
    high: float = Field(description="Upper end of the 95 % interval")
    count: int = Field(description="Images behind the number")
    flagged: int = Field(default=0, description="Images above the threshold")
    subjects: int | None = Field(default=None, description="Subjects behind the number, where known")
    method: str = Field(default="", description="How the interval was made")


class NearCopies(Record):
    """Near-copy rates at the flag threshold: synthetic, the holdout as yardstick, and their difference."""

    synthetic: Rate
    holdout: Rate | None = Field(description="Cross-fitted over holdout subjects; null without a holdout")
    excess: Rate | None = Field(description="Synthetic minus holdout; null without a holdout")


class Suspect(Record):
    """A synthetic image and the train image it resembles most."""

    image_id: str = Field(description="Synthetic image: path relative to its folder")
    train_image_id: str = Field(description="Most similar train image")
    train_subject: str = Field(description="Subject of that train image")
    score: float = Field(description="Aligned local correlation, at most 1; 1 is a verbatim copy")
    p_value: float | None = Field(
        default=None, description="Chance that a stranger scores as high; null without a holdout"
    )
    q_value: float | None = Field(
        default=None, description="Benjamini-Hochberg adjusted p over all synthetic images; ranks, never decides"
    )
    exact: bool = Field(default=False, description="Every pixel equals the train image's")
    above_alarm: bool = Field(default=False, description="Scores above every slice of every holdout subject")
    mirrored: bool = Field(default=False, description="Matched after left-right mirroring")
    holdout_image_id: str | None = Field(default=None, description="Most similar holdout image, for comparison")
    holdout_score: float | None = Field(default=None, description="Similarity to that holdout image")


class PartSuspect(Record):
    """A part of a synthetic image that resembles a part of a train image."""

    image_id: str
    part: PartName = Field(description="patch: a piece of foreground; tumour: the mask's bounding box")
    box: tuple[int, int, int, int] = Field(description="Top, left, bottom, right in the synthetic image, pixels")
    train_image_id: str
    train_subject: str
    score: float
    above_alarm: bool = Field(default=False, description="Above every such part of every holdout subject")


class Planted(Record):
    """Known copies of one kind that were hidden among the queries, and how many were caught."""

    transformation: str
    strength: str = Field(description="In words, with units")
    part: Literal["whole", "patch", "tumour"] = Field(default="whole", description="Which search was tested")
    required: bool = Field(default=True, description="Counts for the policy's power floor")
    held_out: bool = Field(default=False, description="Never used in training or tuning any step")
    planted: int
    caught: int = Field(description="Above the flag threshold, with the right source subject")
    low: float = Field(description="Clopper-Pearson 95 %")
    high: float
    caught_at_alarm: int = Field(description="Above the alarm threshold, with the right source subject")
    low_at_alarm: float
    high_at_alarm: float
    right_source: int = Field(description="Best match named the right train subject, at any score")


class Bound(Record):
    """What the audit can say about copies of one kind, with 95 % confidence."""

    kind: str
    part: Literal["whole", "patch", "tumour"] = "whole"
    required: bool = True
    power_low: float = Field(description="Lower 97.5 % bound of the share of such copies above alarm")
    at_most: float = Field(description="At most this share of the synthetic images are copies of this kind")
    residual_at_most: int = Field(description="After removing all alarms, at most this many such copies remain")


class Exposure(Record):
    """How strongly one train subject shows in the synthetic images."""

    subject: str
    images: int = Field(description="Train images of this subject")
    highest_score: float
    alarms: int = Field(description="Synthetic images above alarm whose best match is this subject")
    suspects: int
    share_of_hits: float = Field(description="Share of synthetic images whose best match is this subject")
    expected_share: float = Field(description="The same share among holdout images, each subject weighing the same")
    p_value: float | None = Field(default=None, description="Holm-adjusted over subjects: more hits than expected")


class MembershipAttack(Record):
    """Can somebody with the synthetic images tell train subjects from holdout subjects?"""

    features: str = Field(description="Extractor, never fitted on train")
    auc: float
    low: float
    high: float
    p_value: float = Field(description="Permutation of subject labels between train and holdout")
    null_low: float = Field(description="2.5 % quantile of the AUC under permutation")
    null_high: float = Field(description="97.5 % quantile of the AUC under permutation")
    control_auc: float | None = Field(
        description="The same attack with strangers' images in place of the synthetic ones; null if too few"
    )
    tpr_at_fpr_01: float | None = Field(description="Null: not resolvable with so few holdout subjects")
    tpr_at_fpr_001: float | None = Field(description="TPR at 0.1 % FPR; null: not resolvable")
    subjects_train: int
    subjects_holdout: int
    roc: tuple[tuple[float, float], ...] = Field(description="(false, true) positive rates, thinned for plotting")


class Comparison(Record):
    """A measure from the literature, for comparison only: it never decides."""

    name: str
    value: float | None = Field(description="Null when it cannot be computed; `note` says why")
    holdout_value: float | None = Field(default=None, description="The same with holdout in place of synthetic")
    unit: str = ""
    features: str = ""
    direction: str = Field(description="Which way points to copying")
    note: str = ""


class RepresentativeCheck(Record):
    """Does the holdout come from the same source as train? A classifier should not tell them apart."""

    auc: float
    p_value: float
    representative: bool
    features: str


class TransferCheck(Record):
    """How synthetic images differ from real ones in sharpness and noise, and what was done about it."""

    blur_sd: float = Field(description="Blur that brings real spectra to the synthetic ones, pixels at 128 px")
    noise_sd: float = Field(description="Noise that does, as a share of the intensity range")
    threshold_plain: float
    threshold_degraded: float | None
    transferable: bool = Field(description="False: the excess is significantly negative, strangers are no yardstick")


class MaskCheck(Record):
    """Are the synthetic tumour masks legal?"""

    images: int
    off_level_share: float = Field(description="Share of pixels that are no legal label value")
    off_level_share_real: float
    nesting_violations: float = Field(description="Share of masks with enhancing tumour outside any oedema or core")
    nesting_violations_real: float
    area_quantiles: tuple[float, float, float] = Field(description="25, 50, 75 % of tumour area, share of image")
    area_quantiles_real: tuple[float, float, float]
    area_p_value: float | None = Field(description="Kolmogorov-Smirnov against holdout, one value per subject")


class Distribution(Record):
    """Scores in bins, for the report's histogram. Densities weigh each holdout subject the same."""

    edges: tuple[float, ...]
    synthetic: tuple[float, ...]
    holdout: tuple[float, ...]
    planted: tuple[float, ...] = ()


class UnreadFile(Record):
    """A file that could not be used, and why."""

    role: Literal["train", "holdout", "synthetic"]
    image_id: str
    reason: str


class RoleInputs(Record):
    """One of the three folders as the audit saw it."""

    folder: str = Field(description="Name only; null path parts are never recorded")
    images: int
    subjects: int | None = Field(description="Null where subjects are unknown")
    size: tuple[int, int]
    channels: tuple[str, ...]
    dtype: str
    content: str = Field(description="SHA-256 over pixels and index")
    notes: tuple[str, ...] = ()


class Inputs(Record):
    """The three folders, and what was compared of them."""

    train: RoleInputs
    holdout: RoleInputs | None
    synthetic: RoleInputs
    channels: tuple[str, ...] = Field(description="Contrasts that were compared")
    scaling: str
    unread: tuple[UnreadFile, ...] = ()
    excluded: tuple[str, ...] = Field(default=(), description="Files left out because the user named them")


class ExtractorUsed(Record):
    """One way of turning images into numbers, exactly enough to tell it from every other."""

    name: str
    preprocessing: str = Field(description="Version of the preprocessing")
    weights_sha256: str | None = None
    fitted_on: Literal["nothing", "train"]
    width: int
    searched: bool = Field(default=True, description="Used to find candidates")


class MadeWith(Record):
    """Versions, settings and seed: what it takes to make the record again."""

    synthrelease: str
    python: str
    packages: dict[str, str]
    settings: dict[str, object]
    seed: int
    extractors: tuple[ExtractorUsed, ...]
    date: str = Field(description="UTC, ISO 8601")
    seconds: float


class Finding(Record):
    """One rule of the policy held against the evidence."""

    rule: str
    measure: str
    value: float | None
    limit: float
    side: Literal["at most", "at least"] = Field(default="at most", description="Which way the limit points")
    passed: bool
    outcome: Verdict = Field(description="What the rule says on failure; `pass` where it held")
    decides: bool = Field(default=True, description="False: shown as context, never part of the decision")
    detail: str = Field(default="", description="What the value rests on, e.g. the hardest kind of copy")
    reason: str
    source: str = ""


class AuditRecord(Record):
    """Everything one audit found: `evidence/audit.json`. Stays inside: it names train images and subjects."""

    schema_version: Literal[1] = 1
    verdict: Verdict
    findings: tuple[Finding, ...] = Field(description="One per rule of the built-in policy")
    calibrated: bool = Field(description="False without a holdout: nothing here has a yardstick")
    alpha: float
    threshold: float | None = Field(
        description="Flag: whole images scoring above it are suspects; null without a holdout"
    )
    alarm: float | None = Field(description="The highest score of any holdout image")
    part_thresholds: dict[str, float] = Field(default_factory=dict)
    part_alarms: dict[str, float] = Field(default_factory=dict)
    stranger_bound: float | None = Field(
        description="Chance that a new stranger has any slice above alarm is at most this, 95 % confidence"
    )
    near_copies: NearCopies
    suspects: tuple[Suspect, ...]
    alarms: tuple[Suspect, ...] = Field(description="Suspects above alarm: every one goes to a person")
    exact_copies: tuple[Suspect, ...]
    part_suspects: tuple[PartSuspect, ...]
    part_alarms_count: int = 0
    exposed_subjects: tuple[str, ...] = Field(description="Train subjects that any suspect resembles")
    exposure: tuple[Exposure, ...]
    closest: tuple[Suspect, ...] = Field(description="The 20 closest pairs, whatever their score")
    planted: tuple[Planted, ...]
    bounds: tuple[Bound, ...]
    membership: MembershipAttack | None
    representative: RepresentativeCheck | None
    transfer: TransferCheck | None
    masks: MaskCheck | None
    comparisons: tuple[Comparison, ...]
    distribution: Distribution | None
    not_tested: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    inputs: Inputs
    made_with: MadeWith


class NetworkSize(Record):
    """How large one network is."""

    parameters: int
    mapping: int | None = Field(default=None, description="Of these, in the mapping from z to w; null without one")


class TrainingPlan(Record):
    """Settings and network sizes of one generator at one resolution."""

    generator: str
    config: str
    resolution: int = Field(description="Height and width, pixels")
    channels: int
    settings: dict[str, object]
    networks: dict[str, NetworkSize] = Field(description="generator and discriminator, or denoiser")


CurveName = Literal["intensity", "spectrum", "tumour area", "tumour volume", "tumour place"]
AREA_BINS = 22
AREA_EDGES = tuple(2.0 ** (-12 + k / 2) for k in range(AREA_BINS + 1))
"""Of tumour areas, share of the image, half an octave each: edges taken from the images would tell the largest one."""
VOLUME_EDGES = tuple(2.0 ** (-7 + k) for k in range(19))
"""Of tumour volumes, ml, an octave each, from 0.008 ml to 2 litres; fixed for the same reason."""


class Curve(Record):
    """Real and synthetic images side by side: over one axis, or cell by cell of a square map. Stays inside."""

    name: CurveName
    view: str = ""
    at: tuple[float, ...] = Field(default=(), description="Positions on the axis; none for a map")
    real: tuple[float, ...]
    synthetic: tuple[float, ...]
    real_subjects: tuple[int, ...] = Field(
        default=(),
        description="Real subjects behind each real value, where equal contributions count fully and one that "
        "outweighs the others counts as one; none: not known",
    )


class PublicCurve(Record):
    """A curve as it may leave: a real value on which too few subjects stand is null."""

    name: CurveName
    view: str
    at: tuple[float, ...]
    real: tuple[float | None, ...] = Field(description="Shares are of what is told; empty: none is told")
    synthetic: tuple[float, ...]
