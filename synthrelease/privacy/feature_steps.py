"""The steps that work on features fitted on nothing: membership, representativeness, the literature's measures."""

from __future__ import annotations

from dataclasses import asdict

from synthrelease import seeds
from synthrelease.errors import AuditError
from synthrelease.features.interface import Extractor
from synthrelease.privacy import leaks, membership
from synthrelease.privacy.comparisons import Roles as ComparedRoles
from synthrelease.privacy.comparisons import compare
from synthrelease.privacy.gallery import Frame, features_for
from synthrelease.privacy.remembered import remembered
from synthrelease.privacy.roles import Roles
from synthrelease.records import Comparison, MembershipAttack, Record, RepresentativeCheck
from synthrelease.settings import AuditSettings

VERSION = 1


class _Attacked(Record):
    attack: MembershipAttack | None
    note: str


class _Checked(Record):
    check: RepresentativeCheck | None
    note: str


class _Compared(Record):
    rows: tuple[Comparison, ...]


class FeatureSteps:
    """Train, holdout and synthetic images in one unfitted extractor's features."""

    def __init__(self, roles: Roles, unfitted: Extractor, frame: Frame, settings: AuditSettings) -> None:
        if unfitted.info.fitted_on != "nothing":
            raise AuditError(
                f"{unfitted.info.name} was fitted on train: membership and comparisons would be wrong.",
                "Use an extractor that was fitted on nothing.",
            )
        self.roles, self.unfitted, self.frame, self.settings = roles, unfitted, frame, settings
        self.tables = {name: features_for(images, unfitted, frame) for name, images in roles.named()}

    def membership(self) -> tuple[MembershipAttack | None, str]:
        """Return the membership attack, or why there is none."""
        holdout = self.roles.holdout
        if holdout is None:
            return None, "Membership was not attacked: that needs a holdout."

        def attacked() -> _Attacked:
            try:
                attack = membership.attack(
                    train_features=self.tables["train"],
                    train_subjects=self.roles.train.subjects,
                    holdout_features=self.tables["holdout"],
                    holdout_subjects=holdout.subjects,
                    synthetic_features=self.tables["synthetic"],
                    control_features=None,
                    fitted_on=self.unfitted.info.fitted_on,
                    features_name=self.unfitted.info.name,
                    permutations=self.settings.permutations,
                    bootstrap=self.settings.bootstrap,
                    random=seeds.named(self.settings.seed, "membership"),
                )
            except AuditError as error:
                return _Attacked(attack=None, note=f"Membership was not attacked: {error.problem}")
            return _Attacked(attack=attack, note="")

        found = remembered(self.frame, "Attacking membership", self._key(), _Attacked, attacked)
        return found.attack, found.note

    def representative(self) -> tuple[RepresentativeCheck | None, str]:
        """Return whether the holdout represents train, or why that was not tested."""
        holdout = self.roles.holdout
        if holdout is None:
            return None, ""

        def checked() -> _Checked:
            try:
                check = leaks.representative(
                    train_features=self.tables["train"],
                    train_subjects=self.roles.train.subjects,
                    holdout_features=self.tables["holdout"],
                    holdout_subjects=holdout.subjects,
                    features_name=self.unfitted.info.name,
                    random=seeds.named(self.settings.seed, "representative"),
                    permutations=self.settings.permutations,
                )
            except AuditError as error:
                return _Checked(
                    check=None, note=f"Whether the holdout represents train was not tested: {error.problem}"
                )
            return _Checked(check=check, note="")

        found = remembered(self.frame, "Telling holdout from train", self._key(), _Checked, checked)
        return found.check, found.note

    def comparisons(self) -> tuple[Comparison, ...]:
        """Return the literature's measures."""

        def compared() -> _Compared:
            random = seeds.named(self.settings.seed, "rows")
            roles = ComparedRoles.of(self.unfitted.info.name, self.roles, self.tables, self.frame, random)
            return _Compared(rows=compare(roles, self.settings.seed))

        return remembered(self.frame, "Comparing with the literature", self._key(), _Compared, compared).rows

    def _key(self) -> object:
        settings = self.settings
        contents = [images.content for _, images in self.roles.named()]
        draws = [settings.seed, settings.permutations, settings.bootstrap]
        return [VERSION, contents, asdict(self.unfitted.info), self.frame.channels, self.frame.size, draws]
