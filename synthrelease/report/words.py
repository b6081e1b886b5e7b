"""Fixed sentences of the report, in the words of the person who decides on a release."""

from __future__ import annotations

from typing import NamedTuple

from synthrelease.records import Verdict

NO_PROOF = (
    "The tests alone cannot prove that no patient can be recognised. They say what was looked for, "
    "and how many known copies were found when they were hidden among the images."
)
COMPARISON_ONLY = "Comparison only, never decides."


class VerdictWords(NamedTuple):
    """What the verdict band says."""

    word: str
    headline: str
    next_steps: tuple[str, ...]


VERDICTS: dict[Verdict, VerdictWords] = {
    "pass": VerdictWords(
        "Pass",
        "No rule of the policy speaks against a release.",
        (
            "Look at the closest pairs below with your own eyes.",
            "Read what was not tested, and decide whether that matters for these patients and recipients.",
            "A person decides on the release and signs for it; this report is evidence, not permission.",
        ),
    ),
    "review": VerdictWords(
        "Review",
        "A person must look at these images before anyone decides.",
        (
            "Look at every pair above the alarm line below, beside the patient's own image.",
            "Note for each pair: copy (remove it), not a copy (write down why), or unsure (ask a second reader).",
            "After removing images, audit the remainder again as a further attempt: attempts are counted.",
        ),
    ),
    "reject": VerdictWords(
        "Reject",
        "Do not release these images: train patients show in them.",
        (
            "Keep the images inside. Look at the pairs below to see which patients are concerned.",
            "Find the cause: too few training subjects, too long a training, or real images in the wrong folder.",
            "Train or sample again, then audit again as a further attempt: attempts are counted.",
        ),
    ),
    "incomplete": VerdictWords(
        "Incomplete",
        "The evidence does not suffice to decide, in either direction.",
        (
            "Put right what the evidence table marks as incomplete, then run the audit again.",
            "Do not release on the strength of this report: missing evidence never counts as good evidence.",
        ),
    ),
}

STATES: dict[Verdict, str] = {
    "pass": "Within the limit",
    "review": "Review",
    "reject": "Reject",
    "incomplete": "Incomplete",
}

PARTS = {"whole": "whole image", "patch": "patch", "tumour": "tumour"}
PART_LINES = {
    "patch": "patch",
    "tumour": "tumour of any size",
    "tumour_small": "small tumour (box below the strangers' median area)",
    "tumour_large": "large tumour (box of the strangers' median area or more)",
}
ROLES = {"train": "Train", "holdout": "Holdout", "synthetic": "Synthetic"}
PAIR_KINDS = {"suspect": "Suspect", "closest": "Among the closest", "part": "Part of an image"}

GLOSSARY: tuple[tuple[str, str], ...] = (
    ("subject", "One patient: the unit of splitting, of the intervals and of privacy."),
    ("train", "Real images that the generator saw."),
    (
        "holdout",
        "Real images of other subjects from the same source, that no generator saw: the audit's yardstick.",
    ),
    ("stranger", "A subject whom the generator never saw, such as every holdout subject."),
    ("synthetic", "What a generator made."),
    (
        "score",
        "Likeness of two images after one is laid upon the other: correlation of small neighbourhoods, "
        "inside the head only. 1 is a verbatim copy; unrelated patients score far lower.",
    ),
    ("near copy", "A synthetic image closer to a train image than strangers come, at the calibrated flag line."),
    ("suspect", "A synthetic image flagged as a near copy, with the train image that it resembles."),
    ("flag line", "The score that only a small share (alpha) of strangers' images exceed. Above it: a suspect."),
    ("alarm line", "The highest score of any image of any holdout subject. Above it: a person must look."),
    (
        "excess",
        "Near-copy rate of the synthetic images minus that of strangers. It can argue against a release, never for it: "
        "a handful of copies among thousands of images does not move it.",
    ),
    (
        "planted copy",
        "A known copy of a train image, transformed and hidden among the queries to measure what the audit can find.",
    ),
    ("power", "Share of planted copies that were caught, with the right source subject."),
    (
        "held-out kind",
        "A kind of planted copy that no step of the audit was tuned on: the fairest measure of power.",
    ),
    ("contrast", "One kind of MRI picture of the same slice, such as T1 or FLAIR; one channel of an image."),
    (
        "95 % interval",
        "The range that holds the true value in 95 of 100 repetitions of the same study with other subjects.",
    ),
    ("p-value", "How often chance alone, without any copying, gives a value at least as striking. Small is striking."),
    ("q-value", "A p-value corrected for the number of images looked at. It ranks suspects; it never decides."),
    (
        "membership attack",
        "An attempt to tell, from the synthetic images alone, who was in train. "
        "AUC 0.5 is guessing, 1 is certainty; the control shows what the same attack finds where nothing can leak.",
    ),
    (
        "AUC",
        "Area under the curve: chance that a random train subject looks more like a member than a random stranger.",
    ),
    ("TPR, FPR", "True positive rate: share of members recognised. False positive rate: share of strangers accused."),
    ("extractor", "What turns an image into numbers for the search. Candidates that it finds are confirmed on pixels."),
    ("policy", "Rules: a measure, a limit, what follows from exceeding it, and the reason with its source."),
    ("evidence", "What stays inside, such as this report. Release: what may leave."),
)
