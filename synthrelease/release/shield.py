"""What is too small, too particular or too free in form to leave: the judgements behind the public record."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from synthrelease.records import AuditRecord, Bound, Planted, RoleInputs
from synthrelease.release_records import UtilityRecord

# Measures whose value may leave, by what it rests on. The value of any other measure stays inside.
COUNTS_OF_REAL = frozenset({"holdout_subjects", "train_subjects", "unread_files"})
ON_HOLDOUT = frozenset({"excess_low", "membership_above_null", "attack_auc"})
ON_TRAIN = frozenset({"membership_above_null", "attack_auc", "power_low", "at_most"})
ON_POWER = frozenset({"power_low", "at_most"})
ON_NOBODY = frozenset({
    *("calibrated", "representative", "transferable", "exact_copies", "alarms", "confirmed_copies", "unread_alarms"),
    *("attempts", "reader_sensitivity", "relative_dice"),
})  # fmt: skip
EXTREMES = frozenset({"calibrated_l2", "nearest_neighbour_distance_ratio", "whole_image_correlation"})
EXTREME_SHARE = 0.01  # these three are the most extreme hundredth: of under 1,000 images, a handful of single ones
TOLD_INSIDE = "The value is told inside only."

NAME = re.compile(r"[\w][\w .+()-]{0,79}", re.ASCII)  # names that the program gives: no path, no address, no quote
VERSION = re.compile(r"[\w.+!-]{1,60}", re.ASCII)
WORDS = re.compile(r"(?:[\w ,;:.%()+*^'-]|(?<=\d)/(?=\d)){0,400}", re.ASCII)
PREPROCESSING = re.compile(r"[\w][\w ,.()+*=/-]{0,199}", re.ASCII)  # a version with its parts between slashes
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Shield:
    """What is too small to tell in this evidence."""

    cell: int
    small_train: bool
    small_holdout: bool
    planted: tuple[Planted, ...]  # the kinds whose counts tell of nobody
    hides_kinds: bool  # there are others
    hides_power: bool  # a required kind is among the others
    small_test: bool  # the segmenter was scored on too few real patients

    @property
    def small(self) -> bool:
        return self.small_train or self.small_holdout

    def tells(self, bound: Bound) -> bool:
        """Say whether a bound may leave: only beside the planted copies that it rests on."""
        # A bound's kind is the planted row's name and strength (privacy/bounds.py).
        told = {(item.part, f"{item.transformation} {item.strength}".strip()) for item in self.planted}
        return (bound.part, bound.kind) in told


def shield_of(audit: AuditRecord, utility: UtilityRecord | None, cell: int) -> Shield:
    """Return what counts of fewer than ``cell`` real patients keep from leaving."""
    dice = None if utility is None else utility.relative_dice
    train, holdout = audit.inputs.train, audit.inputs.holdout
    telling = [item for item in audit.planted if _tells_of_few(item, audit.planted, cell)]
    return Shield(
        cell=cell,
        small_train=_is_small(train, cell),
        small_holdout=holdout is not None and _is_small(holdout, cell),
        planted=tuple(item for item in audit.planted if item not in telling),
        hides_kinds=bool(telling),
        hides_power=any(item.required for item in telling),
        small_test=dice is not None and (dice.count if dice.subjects is None else dice.subjects) < cell,
    )


def _is_small(role: RoleInputs, cell: int) -> bool:
    return min(role.images, role.images if role.subjects is None else role.subjects) < cell


def _tells_of_few(item: Planted, planted: Sequence[Planted], cell: int) -> bool:
    """Say whether a kind's count, by itself or by its difference from the largest, is one of fewer than ``cell``."""
    missing = max(other.planted for other in planted) - item.planted
    return item.planted < cell or 0 < missing < cell


def withholds(measure: str, shield: Shield) -> bool:
    """Say whether a policy's measure rests on too few real patients for its value to be told."""
    return (
        (measure in ON_HOLDOUT and shield.small_holdout)
        or (measure in ON_TRAIN and shield.small_train)
        or (measure in ON_POWER and shield.hides_power)
        or (measure == "relative_dice" and shield.small_test)
    )


def matching(pattern: re.Pattern[str], text: str) -> str:
    """Return text of the form that the program itself writes, and nothing for any other."""
    return text if pattern.fullmatch(text) else ""
