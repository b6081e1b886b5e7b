"""What an audit can state: at most so many copies of one kind, given how many planted ones it caught.

Two things are uncertain: how often the audit catches a copy of this kind (power), and how many it would have met in
another draw (count). Each may be wrong with the same small chance, so the bound is wrong with at most twice that
chance. See `step_error` for how kinds and repeated attempts share it. No exchangeability is needed: false alarms among
strangers only make the bound wider.
"""

from __future__ import annotations

from scipy.stats import binom

from synthrelease.metrics.intervals import clopper_pearson_lower, clopper_pearson_upper
from synthrelease.records import Bound, Planted

DELTA = 0.05


def step_error(kinds: int = 1, attempt: int = 1, delta: float = DELTA) -> float:
    """Return the chance of error left to each of the two one-sided bounds behind one statement.

    It is delta / (t (t + 1)), shared evenly by the kinds (Bonferroni). At the first attempt with one kind this is
    0.025, the 97.5 % of the formulas below, and 95 % for the pair. At attempt t each is 0.05 / (t (t + 1)): what is
    said at the first attempt holds with 95 %, at the second with 98.3 %, at the third with 99.2 %, and all of it
    together, however often a release is audited again, with at least 1 - 2 delta = 90 %.

    Args:
        kinds: kinds of copies that are stated together; at least 1.
        attempt: 1 for the first audit of a release, 2 after suspects were removed once, ...
        delta: twice the error of one bound at the first attempt.
    """
    if kinds < 1 or attempt < 1 or not 0 < delta < 1:
        raise ValueError(f"kinds and attempt start at 1 and delta lies in (0, 1): {kinds}, {attempt}, {delta}")
    return delta / (attempt * (attempt + 1)) / kinds


def power_low(caught: int, planted: int, error: float = 0.025) -> float:
    """Return the lower bound of the share of such copies that the audit catches (17 of 17: 0.80, 72 of 72: 0.95)."""
    return clopper_pearson_lower(caught, planted, 1 - error)


def at_most(alarms: int, images: int, power: float, error: float = 0.025) -> float:
    """Return c_U, the largest share of the images that can be copies of a kind caught at least with this power.

    c_U = min(1, CP_upper(alarms, images; 1 - error) / power). With power 0 it is 1: nothing is known.

    Args:
        alarms: images above alarm, whatever they are.
        images: synthetic images audited.
        power: lower bound from `power_low`.
        error: chance that the count's bound is wrong.
    """
    if power <= 0 or images == 0:
        return 1.0
    return min(1.0, clopper_pearson_upper(alarms, images, 1 - error) / power)


def residual_at_most(alarms: int, images: int, power: float, error: float = 0.025) -> int:
    """Return R_U, the most copies of a kind that can remain once every alarm is removed.

    R_U = C_U - alarms with C_U = max{C: P(Binomial(C, power) <= alarms) >= error}, at most `images`. A count of zero
    after removal says nothing, because removal made it zero; what was caught before does.

    Args:
        alarms: images above alarm before they were removed.
        images: synthetic images audited, alarms included.
        power: lower bound from `power_low`; with 0 all remaining images may be copies.
        error: chance that the count's bound is wrong.
    """
    if power <= 0:
        return images - alarms
    # P(Binomial(C, power) <= alarms) falls with C: bisect for the last C at which it is still at least `error`.
    low, high = alarms, images
    while low < high:
        middle = (low + high + 1) // 2
        if binom.cdf(alarms, middle, power) >= error:
            low = middle
        else:
            high = middle - 1
    return int(low - alarms)


def bounds(
    planted: tuple[Planted, ...], *, alarms: dict[str, int], images: int, attempt: int = 1, delta: float = DELTA
) -> tuple[Bound, ...]:
    """Return one statement per kind and part, each with its own power; kinds are never pooled.

    `power_low` of each is the plain 97.5 % bound that the policy's floor is held against; `at_most` and
    `residual_at_most` use the stricter level of `step_error`, so that they hold for all required kinds at once.

    Args:
        planted: power rows; those of one part that are required share the error.
        alarms: images above alarm per part ("whole", "patch", "tumour"); a part that is missing here was not searched.
        images: synthetic images audited.
        attempt: which audit of this release this is.
        delta: see `step_error`.
    """
    made = []
    required = {part: sum(row.required and row.part == part for row in planted) for part in alarms}
    for row in planted:
        if row.part not in alarms:
            continue
        error = step_error(max(required[row.part], 1), attempt, delta)
        power = power_low(row.caught_at_alarm, row.planted, error)
        made.append(
            Bound(
                kind=f"{row.transformation} {row.strength}".strip(),
                part=row.part,
                required=row.required,
                power_low=power_low(row.caught_at_alarm, row.planted),
                at_most=at_most(alarms[row.part], images, power, error),
                residual_at_most=residual_at_most(alarms[row.part], images, power, error),
            )
        )
    return tuple(made)
