"""Subjects to train, holdout and test: by fractions and a seed, or by the user's own lists."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from synthrelease import seeds
from synthrelease.errors import SplitError

ROLES = ("train", "holdout", "test")


def by_fractions(
    subjects: Collection[str], fractions: tuple[float, float, float], seed: int
) -> dict[str, tuple[str, ...]]:
    """Return the subjects of each role, sorted; the same for any order of ``subjects``.

    A role whose fraction is 0 is empty; every other role gets at least one subject.

    Raises:
        SplitError: fewer subjects than roles to fill.
    """
    ordered = sorted(set(subjects))
    wanted = [role for role, fraction in zip(ROLES, fractions, strict=True) if fraction > 0]
    if len(ordered) < len(wanted):
        raise SplitError(
            f"{len(ordered)} subjects cannot fill {', '.join(wanted)}: each needs at least one.",
            "Add subjects, set a fraction to 0, or check how subjects are recognised (--subject-pattern).",
        )
    counts = _counts(len(ordered), fractions)
    shuffled = [ordered[i] for i in seeds.named(seed, "split").permutation(len(ordered))]
    split, start = {}, 0
    for role, count in zip(ROLES, counts, strict=True):
        split[role] = tuple(sorted(shuffled[start : start + count]))
        start += count
    return split


def _counts(total: int, fractions: tuple[float, float, float]) -> list[int]:
    """Return whole numbers that sum to ``total``: largest remainders, then at least one where wanted."""
    exact = [total * fraction / sum(fractions) for fraction in fractions]
    counts = [int(share) for share in exact]
    by_remainder = sorted(range(3), key=lambda i: (counts[i] - exact[i], i))
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    for i, fraction in enumerate(fractions):
        if fraction > 0 and counts[i] == 0:
            counts[counts.index(max(counts))] -= 1
            counts[i] = 1
    return counts


def by_lists(
    subjects: Collection[str], lists: Mapping[str, Path]
) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Return the subjects of each listed role, sorted, and the subjects in no list.

    A list is a text file with one subject per line; empty lines and lines that start with # do not count.

    Raises:
        SplitError: a subject in two lists, an unknown subject, an empty or unreadable list; all at once.
    """
    problems: list[str] = []
    split: dict[str, tuple[str, ...]] = {}
    owner: dict[str, str] = {}
    known = set(subjects)
    for role in ROLES:
        named = _read(lists[role], problems) if role in lists else []
        if role in lists and not named:
            problems.append(f"the {role} list {lists[role].name} names no subject")
        for subject in named:
            if subject not in known:
                problems.append(f"{subject!r} in the {role} list is not in the cohort")
            elif owner.setdefault(subject, role) != role:
                problems.append(f"{subject!r} is in the {owner[subject]} list and in the {role} list")
        split[role] = tuple(sorted(set(named)))
    if problems:
        more = f"; and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise SplitError(
            f"The lists of subjects cannot be used: {'; '.join(problems[:10])}{more}.",
            f"Each subject belongs in one list, spelled as in the cohort, e.g. {min(known, default='none')!r}.",
        )
    return split, tuple(sorted(known - owner.keys()))


def _read(path: Path, problems: list[str]) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{path} cannot be read ({error})")
        return []
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]
