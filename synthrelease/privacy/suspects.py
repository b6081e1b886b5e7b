"""From search results to named suspects: whole images, parts, exact copies, and the closest pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthrelease.image_set import ImageSet
from synthrelease.privacy import confirmation, screening
from synthrelease.privacy.calibration import Thresholds
from synthrelease.privacy.confirmation import SIZE, Matches, Prepared, confirm
from synthrelease.privacy.gallery import Frame, Screened, prepared_rows, prepared_set
from synthrelease.privacy.parts import PartMatches
from synthrelease.privacy.queries import of_set
from synthrelease.privacy.remembered import remembered
from synthrelease.privacy.roles import Roles
from synthrelease.records import PartName, PartSuspect, Suspect
from synthrelease.settings import AuditSettings

CLOSEST = 20
SHOWN = 60  # pairs for which the nearest holdout image is looked up, for people to compare; every suspect's is
MOST_SHOWN = 1000  # but not of more than this: nobody reads them all
EXACT_SCORE = 0.99  # below it no pair is compared pixel by pixel
EXACT_STEP = 1.5  # levels of the stored image: the largest difference in any pixel that rounding explains
FEWEST_LEVELS = 30  # an image that uses fewer is compared as if it used these
HOLDOUT_CANDIDATES = 6


@dataclass(frozen=True)
class Found:
    """Named findings, and the matches behind the pairs that a report shows."""

    suspects: tuple[Suspect, ...]
    alarms: tuple[Suspect, ...]
    exact: tuple[Suspect, ...]
    closest: tuple[Suspect, ...]
    parts: tuple[PartSuspect, ...]
    patch_alarms: int
    tumour_alarms: int
    whole: Matches
    patches: PartMatches
    tumours: PartMatches
    synthetic_rows: dict[str, int]  # image id -> row
    holdout_rows: dict[int, int]  # synthetic row -> most similar holdout row, for shown pairs


def collect(
    roles: Roles,
    found: Screened,
    strangers: Screened | None,
    limits: Thresholds | None,
    frame: Frame,
    settings: AuditSettings,
) -> Found:
    """Return everything that a person should look at, most similar first."""
    order = np.argsort(-found.whole.score, kind="stable")
    exact_rows = _exact_rows(roles, found.whole, order, frame)
    flag = limits.whole.flag if limits else np.inf
    shown = order[: max(SHOWN, min(MOST_SHOWN, int((found.whole.score > flag).sum())))]
    holdout = _nearest_of_shown(roles, shown, frame)
    p, q = _significance(roles, found, limits)

    synthetic_ids, train_ids = roles.synthetic.ids, roles.train.ids
    holdout_ids = [] if roles.holdout is None else roles.holdout.ids

    def suspect(row: int) -> Suspect:
        match = found.whole
        near = holdout.get(row)
        return Suspect(
            image_id=synthetic_ids[row],
            train_image_id=train_ids[match.index[row]],
            train_subject=str(roles.train.rows[match.index[row]].subject),
            score=float(match.score[row]),
            p_value=None if p is None else float(p[row]),
            q_value=None if q is None else float(q[row]),
            exact=row in exact_rows,
            above_alarm=limits is not None and bool(match.score[row] > limits.whole.alarm),
            mirrored=bool(match.mirrored[row]),
            holdout_image_id=None if near is None else holdout_ids[near[0]],
            holdout_score=None if near is None else near[1],
        )

    suspects = tuple(suspect(int(row)) for row in order if found.whole.score[row] > flag)
    patch, patch_alarms = _parts(roles, found.patch, limits, "patch", found.tumour_area)
    tumour, tumour_alarms = _parts(roles, found.tumour, limits, "tumour", found.tumour_area)
    return Found(
        suspects=suspects,
        alarms=tuple(s for s in suspects if s.above_alarm),
        exact=tuple(suspect(row) for row in sorted(exact_rows)),
        closest=tuple(suspect(int(row)) for row in order[:CLOSEST]),
        parts=tuple(sorted(patch + tumour, key=lambda part: (-part.above_alarm, -part.score, part.image_id))),
        patch_alarms=patch_alarms,
        tumour_alarms=tumour_alarms,
        whole=found.whole,
        patches=found.patch,
        tumours=found.tumour,
        synthetic_rows={name: row for row, name in enumerate(roles.synthetic.ids)},
        holdout_rows={row: near[0] for row, near in holdout.items()},
    )


def _significance(
    roles: Roles, found: Screened, limits: Thresholds | None
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    if limits is None or roles.holdout is None:
        return None, None
    p = screening.p_values(found.whole.score, limits.scores, roles.holdout.subjects)
    return p, screening.q_values(p)


def _exact_rows(roles: Roles, matches: Matches, order: NDArray[np.int64], frame: Frame) -> set[int]:
    """Return synthetic rows whose pixels equal their match's, up to the rounding of number formats."""
    rows = [int(row) for row in order if matches.score[row] > EXACT_SCORE and not matches.mirrored[row]]
    synthetic = of_set("exact", roles.synthetic, frame.channels, frame.size)
    train = of_set("exact", roles.train, frame.channels, frame.size)
    exact = set()
    for row in rows:
        source = int(matches.index[row])
        difference = synthetic.load(row, row + 1)[0] - train.load(source, source + 1)[0]
        levels = np.minimum(_levels(roles.synthetic, row, frame), _levels(roles.train, source, frame))
        if (np.abs(difference[0]).max((1, 2)) <= EXACT_STEP / levels).all():
            exact.add(row)
    return exact


def _levels(images: ImageSet, row: int, frame: Frame) -> NDArray[np.float64]:
    """Return how many steps of 8-bit rounding each contrast (c,) of an image spans: a dark slice spans few."""
    stored = images.read([row], frame.channels)[0]
    if stored.dtype != np.uint8:
        return np.full(len(stored), 255.0)
    spans: NDArray[np.float64] = stored.max((1, 2)).astype(np.float64) - stored.min((1, 2))
    return np.maximum(spans, FEWEST_LEVELS)


def _nearest_of_shown(roles: Roles, rows: NDArray[np.int64], frame: Frame) -> dict[int, tuple[int, float]]:
    """Return the most similar holdout image of the shown synthetic images: what a stranger looks like."""
    if roles.holdout is None or not len(rows):
        return {}
    holdout = roles.holdout

    def compute() -> list[tuple[int, float]]:
        queries = prepared_rows(roles.synthetic, frame, rows)
        matches = nearest_of(queries, prepared_set(holdout, frame, "holdout"))
        return [(int(index), float(score)) for index, score in zip(matches.index, matches.score, strict=True)]

    shaped = [confirmation.VERSION, roles.synthetic.content, holdout.content, frame.channels, frame.size, rows.tolist()]
    found = remembered(frame, "Nearest holdout images", shaped, list[tuple[int, float]], compute)
    return {int(row): near for row, near in zip(rows, found, strict=True)}


def nearest_of(queries: Prepared, holdout: Prepared, among: NDArray[np.int64] | None = None) -> Matches:
    """Return the most similar holdout image of each query, by correlation and then by confirmation.

    Args:
        queries: m images.
        holdout: The holdout images, which may be mapped from files: they are read a few hundred at a time.
        among: Rows of the holdout to choose from, in ascending order; None: all.
    """
    wanted = np.asarray(queries.images, dtype=np.float32)
    wanted = (wanted - wanted.mean((1, 2, 3), keepdims=True)).reshape(len(wanted), -1)
    among = np.arange(len(holdout)) if among is None else among
    rows, best = np.zeros((len(wanted), 0), np.int64), np.zeros((len(wanted), 0), np.float32)
    for start in range(0, len(among), 512):
        block = among[start : start + 512]
        best = np.concatenate([best, _likeness(wanted, holdout.images[block])], axis=1)
        rows = np.concatenate([rows, np.broadcast_to(block, (len(wanted), len(block)))], axis=1)
        order = np.argsort(-best, axis=1, kind="stable")[:, :HOLDOUT_CANDIDATES]
        best, rows = np.take_along_axis(best, order, 1), np.take_along_axis(rows, order, 1)
    return confirm(queries, holdout, rows)


def _likeness(wanted: NDArray[np.float32], images: NDArray[np.float16]) -> NDArray[np.float32]:
    """Return the correlation, up to a factor per row, of centred rows (m, d) with images (k, c, s, s): (m, k)."""
    flat = np.asarray(images, dtype=np.float32).reshape(len(images), -1)
    flat = flat - flat.mean(1, keepdims=True)
    found: NDArray[np.float32] = wanted @ (flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)).T
    return found


def _parts(
    roles: Roles, matches: PartMatches, limits: Thresholds | None, part: PartName, areas: NDArray[np.float64]
) -> tuple[list[PartSuspect], int]:
    if limits is None:
        return [], 0
    if part == "patch":
        flag = np.full(len(matches.score), limits.patch().flag)
        alarm = np.full(len(matches.score), limits.patch().alarm)
    else:
        flag, alarm = limits.tumour(areas, "flag"), limits.tumour(areas, "alarm")
    made = []
    for row in np.flatnonzero(matches.score > flag):
        source = int(matches.index[row])
        made.append(
            PartSuspect(
                image_id=roles.synthetic.ids[row],
                part=part,
                box=_box_in(roles.synthetic.size, matches.box[row]),
                train_image_id=roles.train.ids[source],
                train_subject=str(roles.train.rows[source].subject),
                score=float(matches.score[row]),
                above_alarm=bool(matches.score[row] > alarm[row]),
            )
        )
    return made, sum(part.above_alarm for part in made)


def _box_in(size: tuple[int, int], box: NDArray[np.float32]) -> tuple[int, int, int, int]:
    """Return a box of the square 64 px image (top, left, bottom, right) in the stored image's pixels, inside it."""
    side = max(size)
    padding = [(side - length) // 2 for length in size] * 2
    edges = [round(float(edge) * side / SIZE) - before for edge, before in zip(box, padding, strict=True)]
    top, left, bottom, right = (min(max(e, 0), length) for e, length in zip(edges, size * 2, strict=True))
    return top, left, bottom, right
