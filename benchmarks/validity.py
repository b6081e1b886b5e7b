"""Does the audit hold what it says, where the truth is known? Simulated cohorts; prints the tables of docs/validity.md.

python benchmarks/validity.py            # everything, minutes on one core
python benchmarks/validity.py --runs 50  # a quick look
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kstest, norm

from synthrelease.errors import SynthreleaseError
from synthrelease.privacy import bounds, leaks, membership
from synthrelease.privacy.exposure import exposure
from synthrelease.privacy.screening import calibrate, near_copies
from synthrelease.records import NearCopies

Array = NDArray[np.float64]
Names = NDArray[np.str_]

SYNTHETIC_DESIGNS = ("10 clusters, unknown", "40 clusters, unknown", "10 clusters, known", "2000 independent")


@dataclass(frozen=True)
class Law:
    """How strangers' scores are distributed: a subject's slices are alike."""

    likeness: float = 0.6  # correlation between two slices of one subject
    tails: float = 0.0  # degrees of freedom of Student's t for the subject's part; 0 is normal
    images: tuple[int, int] = (5, 20)  # slices of a subject, least and most

    def scores(self, subjects: int, random: np.random.Generator) -> tuple[Array, Names]:
        """Return clustered scores around 0.72, as strangers have on real brain MRI, and their subjects."""
        count = random.integers(self.images[0], self.images[1] + 1, subjects)
        part = random.standard_t(self.tails, subjects) if self.tails else random.normal(size=subjects)
        noise = random.normal(size=count.sum())
        z = np.repeat(np.sqrt(self.likeness) * part, count) + np.sqrt(1 - self.likeness) * noise
        return np.minimum(0.72 + 0.04 * z, 0.98), np.repeat([f"s{i:04d}" for i in range(subjects)], count)


def near_copies_of_cohort(
    law: Law, subjects: int, design: str, random: np.random.Generator, copies: float = 0.0, draws: int = 1000
) -> NearCopies:
    """Return the near-copy record of one cohort whose synthetic images follow the strangers' law but for `copies`."""
    holdout, holdout_subjects = law.scores(subjects, random)
    if design == "2000 independent":
        synthetic, names = Law(law.likeness, law.tails, (1, 1)).scores(2000, random)
    else:
        synthetic, names = law.scores(int(design.split()[0]), random)
    copied = random.permutation(len(synthetic))[: round(copies * len(synthetic))]
    synthetic[copied] = random.uniform(0.985, 1.0, len(copied))
    known = names if design == "10 clusters, known" else None
    return counted(holdout, holdout_subjects, synthetic, known, draws, random)


def counted(
    holdout: Array, subjects: Names, synthetic: Array, known: Names | None, draws: int, random: np.random.Generator
) -> NearCopies:
    """Return the near-copy record at alpha = 1 %; `known` are the synthetic subjects, None where unknown."""
    return near_copies(
        holdout_scores=holdout,
        holdout_subjects=subjects,
        synthetic_scores=synthetic,
        synthetic_subjects=known,
        alpha=0.01,
        draws=draws,
        random=random,
    )


def excess_of_null_cohorts(runs: int, subjects: int, law: Law, design: str) -> tuple[float, float, float]:
    """Return the shares of null cohorts with an excess above 0, with an interval over 0, and with a bootstrap."""
    found = [near_copies_of_cohort(law, subjects, design, np.random.default_rng([1, subjects, r])) for r in range(runs)]
    excess = [one.excess for one in found if one.excess is not None]
    above = np.mean([one.low > 0 for one in excess])
    covers = np.mean([one.low <= 0 <= one.high for one in excess])
    return float(above), float(covers), float(np.mean(["bootstrap" in one.method for one in excess]))


def excess_of_copies(run: int, subjects: int, copies: float) -> tuple[bool, bool]:
    """Return whether the excess's lower bound is above 0, and whether the interval covers the true excess."""
    found = near_copies_of_cohort(
        Law(), subjects, SYNTHETIC_DESIGNS[3], np.random.default_rng([8, subjects, run]), copies, draws=500
    ).excess
    assert found is not None
    # The holdout is drawn first, so the same seed gives its threshold again; strangers above it follow the normal law.
    flag = calibrate(*Law().scores(subjects, np.random.default_rng([8, subjects, run])), 0.01).flag
    truth = copies * norm.cdf((flag - 0.72) / 0.04)
    return found.low > 0, found.low <= truth <= found.high


def clustered_features(subjects: int, name: str, random: np.random.Generator, width: int = 64) -> tuple[Array, Names]:
    """Return features (n, width) with a decaying spectrum, 5 to 20 images a subject, and their subjects."""
    count = random.integers(5, 21, subjects)
    spectrum = 1 / np.sqrt(1 + np.arange(width) / 4)
    middle = random.normal(size=(subjects, width))
    features = (np.repeat(middle, count, axis=0) + 0.6 * random.normal(size=(count.sum(), width))) * spectrum
    return features, np.repeat([f"{name}{i:03d}" for i in range(subjects)], count)


def null_membership(run: int, *, whitened: bool = False, permutations: int = 199) -> tuple[float, float]:
    """Return AUC and p of an attack where the generator saw neither role; `whitened` on train alone, as refused."""
    random = np.random.default_rng([2, run])
    train, train_subjects = clustered_features(44, "t", random)
    holdout, holdout_subjects = clustered_features(16, "h", random)
    synthetic, _ = clustered_features(30, "g", random)
    if whitened:
        middle = train.mean(axis=0)
        _, values, axes = np.linalg.svd(train - middle, full_matrices=False)
        whiten = axes.T / values * np.sqrt(len(train))
        train, holdout, synthetic = ((part - middle) @ whiten for part in (train, holdout, synthetic))
    found = membership.attack(
        train_features=train,
        train_subjects=train_subjects,
        holdout_features=holdout,
        holdout_subjects=holdout_subjects,
        synthetic_features=synthetic,
        control_features=None,
        # What a careless caller would say; the true answer, "train", is refused.
        fitted_on="nothing",
        features_name="simulated",
        permutations=permutations,
        bootstrap=100,
        random=random,
    )
    return found.auc, found.p_value


def five_copies_raise_alarms(runs: int, subjects: int) -> tuple[int, float]:
    """Return the fewest alarms of any run with five copies in 2,000 images, and how often the excess sees them."""
    fewest, seen = 2000, 0
    for run in range(runs):
        random = np.random.default_rng([3, subjects, run])
        holdout, holdout_subjects = Law().scores(subjects, random)
        synthetic, _ = Law(images=(1, 1)).scores(1995, random)
        synthetic = np.concatenate([synthetic, np.ones(5)])
        alarm = calibrate(holdout, holdout_subjects, 0.01).alarm
        fewest = min(fewest, int((synthetic > alarm).sum()))
        found = counted(holdout, holdout_subjects, synthetic, None, 200, random)
        seen += found.excess is not None and found.excess.low > 0
    return fewest, seen / runs


@dataclass(frozen=True)
class BoundRun:
    """One run of proof (d): is the truth below what the audit states?"""

    share_covered: bool
    residual_covered: bool
    share_covered_jointly: bool
    residual_covered_jointly: bool
    power_low: float


# How far a copy's score falls short of 1, per kind: median, and spread of its logarithm.
KINDS = {"blur": (0.05, 0.5), "elastic": (0.12, 0.5), "strong elastic": (0.25, 0.4)}
# What the synthetic texture does: to strangers' scores, and to the shortfall of copies (a factor).
TEXTURES = {"as real": (0.0, 1.0), "smooth": (0.02, 1.3), "noisy": (-0.06, 1.8)}


def bound_run(
    run: int, kind: str, texture: str, copies: float, *, degraded: bool = True, images: int = 2000
) -> BoundRun:
    """Return whether c_U and R_U cover the truth in one audit of a synthetic set with a share of copies of one kind.

    Holdout and planted queries are `degraded` to the synthetic texture, and the worse of the plain and the degraded
    threshold is used. Each kind is planted in 36 train subjects; three kinds are required. With 300 holdout subjects
    there are next to no false alarms, which would only help the bounds.
    """
    random = np.random.default_rng([4, run, list(KINDS).index(kind), list(TEXTURES).index(texture), int(copies * 1e4)])
    shift, factor = TEXTURES[texture]
    strangers, subjects = Law().scores(300, random)
    alarm = calibrate(strangers, subjects, 0.01).alarm + max(0.0, shift if degraded else 0.0)
    planted = _copy_scores(kind, 36, factor if degraded else 1.0, random)
    caught = int((planted > alarm).sum())
    images = 2000
    count = round(copies * images)
    true_copies = _copy_scores(kind, count, factor, random)
    others = Law(images=(1, 1)).scores(images - count, random)[0] + shift
    alarms = int((true_copies > alarm).sum() + (others > alarm).sum())
    remaining = int((true_copies <= alarm).sum())
    covered: list[bool] = []
    for error in (bounds.step_error(), bounds.step_error(kinds=3)):
        power = bounds.power_low(caught, 36, error)
        covered.append(bounds.at_most(alarms, images, power, error) >= copies)
        covered.append(bounds.residual_at_most(alarms, images, power, error) >= remaining)
    return BoundRun(covered[0], covered[1], covered[2], covered[3], bounds.power_low(caught, 36))


def _copy_scores(kind: str, count: int, factor: float, random: np.random.Generator) -> Array:
    median, spread = KINDS[kind]
    return 1 - median * factor * np.exp(spread * random.normal(size=count))


def site_check(run: int, offset: float, permutations: int = 199) -> tuple[float, bool]:
    """Return p and verdict of the representativeness check when holdout features are offset, in their own spreads."""
    random = np.random.default_rng([5, run])
    train, train_subjects = clustered_features(44, "t", random)
    holdout, holdout_subjects = clustered_features(16, "h", random)
    found = leaks.representative(
        train_features=train,
        train_subjects=train_subjects,
        holdout_features=holdout + offset * train.std(axis=0),
        holdout_subjects=holdout_subjects,
        features_name="simulated",
        random=random,
        permutations=permutations,
    )
    return found.p_value, found.representative


def shared_patient_is_refused(run: int) -> bool:
    """Return whether one of 16 holdout patients who is also in train, renamed and with slices turned, is refused."""
    random = np.random.default_rng([6, run])
    scores, subjects = Law().scores(16, random)
    theirs = subjects == "s0003"
    scores[theirs] = 1 - 0.02 * np.exp(0.4 * random.normal(size=theirs.sum()))
    ids = [f"{name}/{i}" for i, name in enumerate(subjects)]
    found = leaks.near_duplicates(
        holdout_ids=ids,
        holdout_subjects=subjects,
        best_train_ids=["t07/3"] * len(ids),
        best_train_subjects=["t07"] * len(ids),
        scores=scores,
    )
    try:
        leaks.refuse_shared_images(found)
    except SynthreleaseError:
        return {one.holdout_subject for one in found} == {"s0003"}
    return False


def falsely_exposed(run: int, holdout: int, typical: float) -> bool:
    """Return whether the exposure test names any subject although synthetic images hit like strangers do."""
    random = np.random.default_rng([7, run, holdout, int(typical)])
    names = np.array([f"t{i:03d}" for i in range(44)])
    images = random.integers(5, 21, len(names))
    chance = random.dirichlet(typical * images / images.sum())
    count = random.integers(5, 21, holdout)
    own, other = random.choice(names, holdout, p=chance), random.choice(names, count.sum(), p=chance)
    rows = exposure(
        train_subjects=np.repeat(names, images),
        synthetic_best=random.choice(names, 2000, p=chance),
        synthetic_scores=np.full(2000, 0.7),
        holdout_best=np.where(random.random(count.sum()) < 0.7, np.repeat(own, count), other),
        holdout_subjects=np.repeat(np.arange(holdout).astype(str), count),
        flag=0.9,
        alarm=0.9,
    )
    return any(row.p_value is not None and row.p_value <= 0.05 for row in rows)


def print_excess(runs: int) -> None:
    print(f"\n(a) Excess of null cohorts, {runs} per row")
    print("| S | scores | synthetic | lower bound > 0 | interval covers 0 | by bootstrap |\n|---|---|---|---|---|---|")
    laws = {"likeness 0.3": Law(0.3), "likeness 0.6": Law(), "likeness 0.9": Law(0.9), "heavy tails": Law(0.6, 4.0)}
    for subjects in (10, 16, 60):
        for name, law in laws.items():
            for design in SYNTHETIC_DESIGNS:
                above, covers, bootstrap = excess_of_null_cohorts(runs, subjects, law, design)
                print(f"| {subjects} | {name} | {design} | {above:.1%} | {covers:.1%} | {bootstrap:.0%} |", flush=True)


def print_excess_of_copies(runs: int) -> None:
    print(
        f"\nExcess with copies among 2,000 independent images, {runs} runs: lower bound above 0 (interval covers truth)"
    )
    print("| S | 2 % copies | 5 % | 10 % | 30 % |\n|---|---|---|---|---|")
    for subjects in (10, 16, 60, 300):
        cells = []
        for copies in (0.02, 0.05, 0.1, 0.3):
            above, covers = np.mean([excess_of_copies(run, subjects, copies) for run in range(runs)], axis=0)
            cells.append(f"{above:.0%} ({covers:.0%})")
        print(f"| {subjects} | {' | '.join(cells)} |", flush=True)


def print_membership(runs: int) -> None:
    print(
        f"\n(b) Null membership, {runs} splits\n| features | mean AUC | p < 0.05 | uniform p (KS) |\n|---|---|---|---|"
    )
    for whitened in (False, True):
        auc, p = np.array([null_membership(run, whitened=whitened) for run in range(runs)]).T
        name = "whitened on train (refused)" if whitened else "fitted on nothing"
        print(
            f"| {name} | {auc.mean():.3f} | {(p < 0.05).mean():.1%} | {kstest(p, 'uniform').pvalue:.2g} |", flush=True
        )


def print_copies(runs: int) -> None:
    print(f"\n(c) Five verbatim copies in 2,000, {runs} runs\n| S | fewest alarms | excess sees them |\n|---|---|---|")
    for subjects in (1, 5, 16, 60):
        fewest, seen = five_copies_raise_alarms(runs, subjects)
        print(f"| {subjects} | {fewest} | {seen:.0%} |", flush=True)


def print_bounds(runs: int) -> None:
    print(f"\n(d) Bounds against the truth, {runs} runs a row; one kind (three kinds jointly)")
    print("| texture | copies | kind | mean power_low | c_U covers | R_U covers |\n|---|---|---|---|---|---|")
    cases = [(t, c, k, True) for t in TEXTURES for c in (0.0, 0.01) for k in KINDS] + [
        ("noisy", 0.01, "elastic", False)
    ]
    for texture, copies, kind, degraded in cases:
        found = [bound_run(run, kind, texture, copies, degraded=degraded) for run in range(runs)]
        share, residual, share_all, residual_all, power = np.array([list(vars(one).values()) for one in found]).mean(0)
        name = texture if degraded else f"{texture}, queries not degraded (wrong)"
        cells = f"{power:.2f} | {share:.1%} ({share_all:.1%}) | {residual:.1%} ({residual_all:.1%})"
        print(f"| {name} | {copies:.0%} | {kind} | {cells} |", flush=True)


def print_leaks(runs: int) -> None:
    print(f"\n(e) Inputs that must not pass, {runs} runs\n| case | refused | p uniform (KS) |\n|---|---|---|")
    refused = np.mean([shared_patient_is_refused(run) for run in range(runs)])
    print(f"| patient in train and holdout, renamed | {refused:.1%} | |")
    for offset in (0.0, 0.25, 0.5, 1.0):
        p, fair = np.array([site_check(run, offset) for run in range(runs)]).T
        name = "same source" if offset == 0 else f"other site, every feature moved by {offset} sd"
        print(f"| {name} | {1 - fair.mean():.1%} | {kstest(p, 'uniform').pvalue:.2g} |", flush=True)


def print_exposure(runs: int) -> None:
    print(f"\nExposure: any train subject named although synthetic images hit like strangers, {runs} runs")
    print("| S | typical heads: many | some | few |\n|---|---|---|---|")
    for holdout in (5, 16, 60):
        shares = [np.mean([falsely_exposed(run, holdout, typical) for run in range(runs)]) for typical in (3, 20, 200)]
        print(f"| {holdout} | {' | '.join(f'{share:.1%}' for share in shares)} |", flush=True)


def main() -> None:
    """Print every table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=0, help="runs per row; 0: as many as design asks for")
    runs = parser.parse_args().runs
    started = time.monotonic()
    print_excess(runs or 500)
    print_bounds(runs or 300)
    for table in (print_excess_of_copies, print_membership, print_copies, print_leaks, print_exposure):
        table(runs or 200)
    print(f"\n{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
