"""Errors that a person can act on: each says what is wrong and what to do about it."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the shell is told; the meaning is the same for every command."""

    DONE = 0
    FIXABLE = 1
    USAGE = 2
    REVIEW_OR_INCOMPLETE = 3
    REJECTED = 4
    INTEGRITY = 5
    INTERRUPTED = 130


class SynthreleaseError(Exception):
    """A problem that the user can fix, with its remedy."""

    exit_code: ExitCode = ExitCode.FIXABLE

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.problem}\n{self.remedy}" if self.remedy else self.problem


class SettingsError(SynthreleaseError):
    """An option is unknown, out of range or contradicts another."""


class ScanError(SynthreleaseError):
    """Images or their folder cannot be used as they are."""


class SplitError(SynthreleaseError):
    """Subjects cannot be divided as asked, or one subject plays two roles."""


class WeightsError(SynthreleaseError):
    """A weights file is not what it was said to be."""


class StoreError(SynthreleaseError):
    """A result cannot be written, or what is on disk is damaged."""


class ClusterError(SynthreleaseError):
    """A cluster cannot be reached, or lost work more often than it could be given out again."""


class GeneratorError(SynthreleaseError):
    """A generator cannot be trained or used as asked, or its training went wrong."""


class SegmentationError(SynthreleaseError):
    """A segmenter cannot be trained or scored as asked, or its training went wrong."""


class AuditError(SynthreleaseError):
    """The audit cannot run, or a step was given what it must refuse."""


class DecisionError(SynthreleaseError):
    """A decision, approval or package cannot be made from this evidence."""


class RejectedError(SynthreleaseError):
    """The decision is REJECT, and nobody can override it."""

    exit_code = ExitCode.REJECTED


class IntegrityError(SynthreleaseError):
    """What is on disk is not what was recorded or signed."""

    exit_code = ExitCode.INTEGRITY


class NotApprovedError(SynthreleaseError):
    """There is no approval in force."""

    exit_code = ExitCode.REVIEW_OR_INCOMPLETE


class LeakError(SynthreleaseError):
    """A package would have held something that must not leave; there is no package."""
