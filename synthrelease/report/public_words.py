"""Fixed sentences of what leaves: card and public page say the same things in the same words."""

from __future__ import annotations

from typing import NamedTuple

from synthrelease.records import Verdict
from synthrelease.release_records import Decision, ReleaseModel

WHAT_THEY_ARE = (
    "These images were made by a generator that learnt from images of real patients. They are not images of patients, "
    "and they are no substitute for them where a patient's care depends on the result."
)
NO_PROOF = (
    "No test can prove that no patient can be recognised. The tests say what was looked for, and how many known copies "
    "were found when they were hidden among the images."
)
COPY_SCREENING = (
    "Copy screening compares images: it finds near copies of the kinds that were planted. It does not say what an "
    "attacker with other knowledge can infer."
)
NOT_TOLD = "Not told by the publisher."

INTENDED_USES = (
    "Developing and testing software, teaching, and research on methods, before access to real images is given.",
    "Training or pre-training models that are validated on images of real patients before anyone relies on them.",
)
REFUSED_USES = (
    "Training or choosing a model for diagnosis, prognosis or treatment without validation on images of real patients.",
    "Any attempt to recognise a patient, or to find out whether somebody's images were used for training.",
    "Any attempt to reconstruct training images, to invert or to rebuild the generator from these images.",
    "Linking these images with other data about people.",
    "Presenting these images as those of patients: in a publication, a record, a claim or an examination.",
    "Conclusions about how common a disease is or how it shows: the generator does not reproduce frequencies reliably.",
)
LIMITS = (
    "The images inherit the training cohort's limits: its scanners, its site, its selection of patients, its gaps.",
    "Rare findings may be missing, too common, or wrong in their anatomy; generators blur and invent detail.",
    "Models trained on synthetic images alone lose variety with each generation: do not train generators on these.",
    "Copy screening covers the kinds of copies listed with their power, and no others.",
)


class DecisionWords(NamedTuple):
    """What a decision is called, what it means, and the state whose colours and sign it has."""

    word: str
    meaning: str
    state: Verdict


DECISIONS: dict[Decision, DecisionWords] = {
    "APPROVE": DecisionWords("Approve", "No rule of the policy speaks against this release.", "pass"),
    "REVIEW": DecisionWords("Review", "A rule of the policy asks for a person's judgement.", "review"),
    "REJECT": DecisionWords("Reject", "A rule of the policy forbids this release.", "reject"),
    "INCOMPLETE": DecisionWords("Incomplete", "The evidence does not suffice to decide by the policy.", "incomplete"),
}
MODELS: dict[ReleaseModel, str] = {
    "controlled": "to named recipients under an agreement (controlled)",
    "registered": "to registered users who accept terms of use (registered)",
    "public": "to the world at large (public)",
}
GROUPS: dict[str, tuple[str, str]] = {  # heading, what the group means
    "blocks": (
        "Blocks release",
        "Findings that a release must not have: a rule is broken, or its evidence is missing.",
    ),
    "against": ("Argues against", "Findings that ask for a person's judgement, and context that points the same way."),
    "supports": ("Supports release", "Findings within their limits. Within the limit is no proof of harmlessness."),
    "unknown": ("Not measured", "Context that this evidence does not hold. It decides nothing."),
}
FORMATS = {
    "nifti": "NIfTI (.nii.gz) with fresh headers",
    "png": "PNG, 8 or 16 bit grey",
    "dicom": "DICOM, marked as synthetic data in (0008,001C)",
}
