"""What deciding, reading pairs, approving and publishing hand to each other: plain frozen records, as in records.py.

Records named `Public...` are the allow-list of design section 7: a field that is not there cannot leave.
"""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from synthrelease.records import Comparison, Curve, Finding, Planted, PublicCurve, Rate, Record

Decision = Literal["APPROVE", "REVIEW", "REJECT", "INCOMPLETE"]
ReleaseModel = Literal["controlled", "registered", "public"]
Answer = Literal["copy", "not a copy", "unsure"]
Action = Literal["audit", "decide", "pair", "remove", "approve", "reject", "withdraw"]
Role = Literal["train", "holdout", "synthetic"]


# --- beside audit.json in the evidence folder ------------------------------------------------------------------------


class Source(Record):
    """Where one role's images lay when they were audited. Stays inside: it holds a path."""

    path: str = Field(description="Absolute path of the folder or file")
    content: str = Field(description="SHA-256 over pixels and index, as the audit saw them")


class Sources(Record):
    """`sources.json`: how to open the audited folders again."""

    train: Source
    holdout: Source | None
    synthetic: Source
    subject_pattern: str | None = None
    exclude: tuple[str, ...] = ()
    weights: dict[str, str] = Field(default_factory=dict, description="Weights file per extractor, absolute path")
    removed: tuple[str, ...] = Field(default=(), description="Synthetic images taken out by decide --remove-suspects")


class Identities(Record):
    """`identities.json`: names of real images and patients, which the leak gate looks for. Stays inside."""

    subjects: tuple[str, ...] = Field(description="Of train and holdout")
    images: tuple[str, ...] = Field(description="Image ids and file names of train and holdout, unread ones included")
    paths: tuple[str, ...] = Field(description="Folders of all three roles")


class PairInfo(Record):
    """One entry of `pairs/index.json`; its pixels are in `pairs/<pair_id>.npz`."""

    pair_id: str = Field(description="12 hex characters; says nothing about what the pair is")
    kind: Literal["suspect", "part", "closest", "planted copy", "planted stranger"] = Field(
        description="planted: mixed in to measure the reader; the reader must not see this before answering"
    )
    image_id: str = Field(description="Synthetic image; for planted pairs the image that was transformed")
    train_image_id: str
    train_subject: str
    holdout_image_id: str | None = None
    part: Literal["whole", "patch", "tumour"] = "whole"
    box: tuple[int, int, int, int] | None = Field(default=None, description="Of a part; top, left, bottom, right")
    score: float
    holdout_score: float | None = None
    exact: bool = False
    above_alarm: bool = False
    mirrored: bool = False
    channels: tuple[str, ...]


class Removal(Record):
    """What `decide --remove-suspects` took out, and what may remain."""

    attempt: int = Field(description="The audit whose suspects were removed")
    images: tuple[str, ...]
    kept_after_reading: int = Field(description="Suspects kept because a person found them to be no copies")
    residual_at_most: int = Field(description="Most copies of any one required kind that may remain, 95 % confidence")


class Entry(Record):
    """One line of `decisions.jsonl`: append-only, each holding the hash of the line before."""

    number: int = Field(ge=1)
    time: str = Field(description="UTC, ISO 8601")
    action: Action
    by: str = Field(default="", description="Person; empty for the program's own entries")
    role: str = ""
    reason: str = ""
    data: dict[str, object] = Field(default_factory=dict)
    previous: str = Field(description="`sha256` of the line before; 64 zeros in the first")
    sha256: str = Field(description="Over this entry without this field, as canonical JSON")


class PairAnswer(Record):
    """What a reader said about one pair; `data` of a "pair" entry of the log."""

    pair_id: str
    image_id: str
    answer: Answer
    planted: bool = False


class Reading(Record):
    """What people said about pairs, and how well they read the planted ones."""

    to_read: int = Field(description="Alarms of the audit: pairs that somebody must read")
    read: int = Field(description="Of these, answered with `copy` or `not a copy` by the latest answer")
    copies: int
    not_copies: int
    unsure: int
    planted_copies: int = Field(default=0, description="Known copies that were mixed in and answered")
    planted_copies_recognised: int = 0
    planted_strangers: int = 0
    planted_strangers_recognised: int = 0
    readers: int = 0


# --- quality.json and utility.json -----------------------------------------------------------------------------------


class Measurement(Record):
    """One number with what a reader needs to trust it."""

    name: str = Field(description="As in docs/measures.md, e.g. fid_radimagenet-resnet50")
    value: float | None = Field(description="Null when it could not be computed; `note` says why")
    low: float | None = None
    high: float | None = None
    count: int | None = Field(default=None, description="Synthetic images behind the number")
    floor: float | None = Field(default=None, description="The same between two halves of the real subjects")
    extractor: str = ""
    unit: str = ""
    note: str = ""
    metric: str = Field(default="", description="Line of the metric table that explains it")
    view: str = Field(default="", description="Contrast, or three contrasts as colours")
    matched: float | None = Field(default=None, description="The value on as many images as the floor's")
    floor_count: int | None = Field(default=None, description="Images on each side of `floor` and `matched`")
    real_count: int | None = Field(default=None, description="Real images behind the number")
    weights_sha256: str | None = None
    preprocessing: str = Field(default="", description="Everything between stored pixels and features")


class QualityRecord(Record):
    """`quality.json`: how much the synthetic images look like the real ones."""

    schema_version: Literal[1] = 1
    measurements: tuple[Measurement, ...]
    synthetic: str = Field(default="", description="Content hash of the synthetic images that were measured")
    curves: tuple[Curve, ...] = ()
    made_with: dict[str, str] = Field(default_factory=dict, description="Inputs, seed, version, date; stays inside")


class UtilityRecord(Record):
    """`utility.json`: what a segmenter learns from the synthetic images."""

    schema_version: Literal[1] = 1
    relative_dice: Rate | None = Field(description="Mean Dice trained on synthetic over mean Dice trained on real")
    measurements: tuple[Measurement, ...] = ()
    segmenter: str = ""
    seeds: int = 1
    synthetic: str = Field(default="", description="Content hash of the synthetic images that were used")


# --- decision ---------------------------------------------------------------------------------------------------------


class Question(Record):
    """What data-protection guidance asks, which tests speak to it, and what they found."""

    question: str
    asks: str
    source: str
    tests: tuple[str, ...] = Field(description="Names of the tests that speak to it; empty: not tested")
    result: str = Field(description="'not tested' where nothing speaks to it")


class DecisionRecord(Record):
    """`decision.json`: the policy held against the evidence, one finding per rule."""

    schema_version: Literal[1] = 1
    decision: Decision
    policy: str
    policy_version: int
    policy_sha256: str
    release_model: ReleaseModel
    approvers_needed: int
    minimum_cell: int
    findings: tuple[Finding, ...]
    questions: tuple[Question, ...]
    reading: Reading
    attempts: int = Field(description="Audits of different images in this evidence folder: every regeneration counts")
    removals: tuple[Removal, ...] = ()
    generator_authors: tuple[str, ...] = ()
    quality: QualityRecord | None = None
    utility: UtilityRecord | None = None
    binding: str = Field(description="Over evidence, readings, policy and image list; an approval holds for this alone")
    date: str


class Approval(Record):
    """One person's approval in force."""

    by: str
    role: str
    reason: str
    conditions: tuple[str, ...] = ()
    review_by: str | None = Field(default=None, description="Date (ISO 8601) after which the approval lapses")
    date: str
    override_of: Literal["REVIEW", "INCOMPLETE"] | None = Field(
        default=None, description="The decision that this approval overrides, with `reason`"
    )


# --- what leaves ------------------------------------------------------------------------------------------------------


class PublicCohort(Record):
    """A real cohort as it may be told: counts under the minimum cell are words."""

    subjects: str = Field(description="A number, or 'fewer than 10'")
    images: str


class PublicRate(Record):
    """A share without the counts of real images behind it where these are small."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, from_attributes=True)

    value: float = Field(description="Point estimate, 0 to 1 (an excess may be negative)")
    low: float
    high: float
    count: int = Field(description="Images behind the number")
    flagged: int | None = Field(default=None, description="Images above the line; null where that count is withheld")
    method: str = ""


class PublicMembership(Record):
    """The membership attack without its points."""

    auc: float
    low: float
    high: float
    null_low: float
    null_high: float
    control_auc: float | None
    tpr_at_fpr_01: float | None


class PublicExtractor(Record):
    """How images became numbers."""

    name: str
    preprocessing: str
    weights_sha256: str | None
    fitted_on: Literal["nothing", "train"]


class PublicBound(Record):
    """With 95 % confidence at most this share of the images are copies of this kind."""

    kind: str
    part: Literal["whole", "patch", "tumour"]
    required: bool
    power_low: float
    at_most: float


class ReleaseOptions(Record):
    """What the person who packages says about the release; printed on card, report and metadata."""

    title: str
    creators: tuple[str, ...]
    licence: str = Field(description="SPDX expression")
    description: str = ""
    contact: str = Field(default="", description="Where to ask for withdrawal")
    generator: str = Field(default="", description="Generator and its settings, in words")
    intended_uses: str = ""
    version: str = "1.0.0"
    image_format: Literal["nifti", "png", "dicom"] = "nifti"


class PublicImages(Record):
    """The released images in numbers."""

    count: int
    files: int
    height: int
    width: int
    channels: tuple[str, ...]
    dtype: str
    voxel_size: tuple[float, float, float]
    volumes: int = Field(default=0, description="Images that are stacks of slices; the others are single slices")


class PublicRecord(Record):
    """`report/record.json`: everything that a package says about its release; card and report are views of it."""

    schema_version: Literal[1] = 1
    options: ReleaseOptions
    images: PublicImages
    train: PublicCohort
    holdout: PublicCohort | None
    decision: Decision
    policy: str
    policy_version: int
    policy_sha256: str
    release_model: ReleaseModel
    findings: tuple[Finding, ...]
    questions: tuple[Question, ...]
    reading: Reading
    attempts: int
    removed_images: int
    residual_at_most: int | None
    approvals: tuple[Approval, ...]
    near_copies_synthetic: PublicRate
    near_copies_holdout: PublicRate | None
    excess: PublicRate | None
    stranger_bound: float | None
    planted: tuple[Planted, ...]
    bounds: tuple[PublicBound, ...]
    membership: PublicMembership | None
    comparisons: tuple[Comparison, ...]
    quality: QualityRecord | None
    utility: UtilityRecord | None
    curves: tuple[PublicCurve, ...] = ()
    off_level_share: float | None = Field(description="Share of mask pixels off the legal labels")
    extractors: tuple[PublicExtractor, ...]
    alpha: float
    seed: int
    scaling: str
    not_tested: tuple[str, ...]
    evidence_sha256: str = Field(description="Binding of the private evidence that this package rests on")
    synthrelease: str
    packages: dict[str, str]
    date: str


# --- packages ---------------------------------------------------------------------------------------------------------


class KeyInfo(Record):
    """A signing key as it may be shown: its public half, and where the private one lies."""

    path: str
    key_id: str = Field(description="Names the public key in envelopes; 64 hex characters")
    public_key: str = Field(description="PEM")
    made: bool = Field(default=False, description="True when this run made the key")


class PackageInfo(Record):
    """A finished package. Stays inside: it holds paths."""

    path: str
    title: str
    version: str
    decision: Decision
    overridden: bool = Field(description="The decision was REVIEW or INCOMPLETE, and people approved all the same")
    date: str
    images: int = Field(description="Synthetic images (slices) in the package")
    files: int = Field(description="Files that the manifest lists")
    bytes: int = Field(description="Their size together")
    manifest_sha256: str
    key: KeyInfo
    unchanged: bool = Field(default=False, description="The same package was there already; nothing was written")


class PackageProblem(Record):
    """Something in a package that must not be as it is."""

    code: str = Field(description="Stable name of the kind of problem, e.g. changed-file")
    path: str = Field(description="Within the package; a dot for the package itself")
    text: str


Signer = Literal["verified", "unverified", "failed"]


class Verification(Record):
    """What checking a package found."""

    path: str
    intact: bool = Field(description="No problem was found")
    signer: Signer = Field(
        description="verified: signed by the key given; unverified: by the enclosed key, which proves no name"
    )
    key_id: str = ""
    problems: tuple[PackageProblem, ...] = ()
    files: int = 0
    bytes: int = 0
    images: int = 0
    title: str = ""
    version: str = ""
    decision: str = ""
    overridden: bool = Field(default=False, description="People approved although the decision was another")
    date: str = ""
