"""The pairs that people read: every alarm and suspect, the closest others, and known pairs that measure the reader."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthrelease import seeds, store
from synthrelease.image_set import ImageSet
from synthrelease.privacy import confirmation, planted
from synthrelease.privacy.audit import Audit
from synthrelease.privacy.confirmation import onto
from synthrelease.privacy.gallery import Screened, prepared_set
from synthrelease.privacy.pictures import Picture, image_of, part_picture, picture
from synthrelease.privacy.queries import Degradation
from synthrelease.privacy.suspects import nearest_of
from synthrelease.privacy.transformations import KINDS
from synthrelease.records import PartSuspect, Suspect
from synthrelease.release_records import PairInfo

Image = NDArray[np.float32]

VERSION = "readers-1"

MOST_BELOW_ALARM = 200  # suspects kept for readers beside every alarm
PLANTED_SHARE, FEWEST_PLANTED, MOST_PLANTED = 0.1, 3, 20  # known copies among the pairs to read


@dataclass(frozen=True)
class PairToRead:
    """One pair with its pixels: images (c, s, s) in [0, 1]."""

    info: PairInfo
    synthetic: Image
    train: Image
    holdout: Image | None

    def images(self) -> dict[str, Image]:
        """Return the images by role."""
        known = {"synthetic": self.synthetic, "train": self.train, "holdout": self.holdout}
        return {role: image for role, image in known.items() if image is not None}


def pairs_to_read(audit: Audit) -> Iterator[PairToRead]:
    """Yield the pairs in no order: `reading_order` gives the one in which they are read."""
    record = audit.record
    alarmed = [s for s in record.suspects if s.above_alarm or s.exact]
    if not record.calibrated:
        alarmed = list(record.exact_copies)
    below = [s for s in record.suspects if not (s.above_alarm or s.exact)][:MOST_BELOW_ALARM]
    parts = [p for p in record.part_suspects if p.above_alarm]
    parts += [p for p in record.part_suspects if not p.above_alarm][:MOST_BELOW_ALARM]
    shown = {s.image_id for s in (*alarmed, *below)}
    for suspect in (*alarmed, *below):
        yield _pair(picture(audit, suspect, "suspect"), suspect)
    for part in parts:
        yield _part(part_picture(audit, part), part)
    for suspect in record.closest:
        if suspect.image_id not in shown:
            yield _pair(picture(audit, suspect, "closest"), suspect)
    to_read = len(alarmed) + sum(part.above_alarm for part in parts)
    if to_read:
        count = min(max(math.ceil(PLANTED_SHARE * to_read), FEWEST_PLANTED), MOST_PLANTED)
        yield from _planted_copies(audit, count)
        yield from _planted_strangers(audit, count)


def reading_order(pairs: list[PairInfo], seed: int) -> list[PairInfo]:
    """Return alarms and planted pairs mixed, then suspects below alarm, then the closest others."""
    random = seeds.named(seed, "reading order")
    drawn = dict(zip(sorted(p.pair_id for p in pairs), random.permutation(len(pairs)), strict=True))

    def place(pair: PairInfo) -> tuple[int, int]:
        first = pair.above_alarm or pair.exact or pair.kind.startswith("planted")
        return 0 if first else 2 if pair.kind == "closest" else 1, int(drawn[pair.pair_id])

    return sorted(pairs, key=place)


def _pair(shown: Picture, suspect: Suspect) -> PairToRead:
    info = PairInfo(
        pair_id=_name(shown["kind"], suspect.image_id, suspect.train_image_id),
        kind="closest" if shown["kind"] == "closest" else "suspect",
        image_id=suspect.image_id,
        train_image_id=suspect.train_image_id,
        train_subject=suspect.train_subject,
        holdout_image_id=suspect.holdout_image_id,
        score=suspect.score,
        holdout_score=suspect.holdout_score,
        exact=suspect.exact,
        above_alarm=suspect.above_alarm,
        mirrored=suspect.mirrored,
        channels=shown["channels"],
    )
    return PairToRead(info, shown["synthetic"], shown["train"], shown["holdout"])


def _part(shown: Picture, part: PartSuspect) -> PairToRead:
    info = PairInfo(
        pair_id=_name("part", part.image_id, part.train_image_id, part.part),
        kind="part",
        image_id=part.image_id,
        train_image_id=part.train_image_id,
        train_subject=part.train_subject,
        part=part.part,
        box=part.box,
        score=part.score,
        above_alarm=part.above_alarm,
        mirrored=shown["suspect"].mirrored,
        channels=shown["channels"],
    )
    return PairToRead(info, shown["synthetic"], shown["train"], None)


def _planted_copies(audit: Audit, count: int) -> Iterator[PairToRead]:
    """Yield known copies of required kinds, each beside its own source, as suspects are shown."""
    roles, frame, settings = audit.roles, audit.frame, audit.settings
    if roles.holdout is None:
        return
    plan = planted.plan_whole(roles.train.subjects, settings.planted_subjects, settings.seed)
    required = {kind.name for kind in KINDS if kind.required and kind.name != "identity"}
    usable = np.flatnonzero([name in required for name in plan.names])
    chosen = seeds.named(settings.seed, "planted for readers").permutation(usable)[:count]
    queries = planted.whole_queries(plan, roles.train, frame.channels, frame.size, settings.seed, Degradation())
    for number in map(int, chosen):
        source = int(plan.sources[number])
        made = queries.load(number, number + 1)[0][0]
        matches = confirmation.confirm(
            confirmation.prepare(made[None]),
            prepared_set(roles.train, frame).take(np.array([source])),
            np.zeros((1, 1), np.int64),
        )
        train = onto(image_of(audit, "train", source), matches.maps[0], bool(matches.mirrored[0]))
        names = roles.train.ids[source], str(roles.train.rows[source].subject)
        yield _known(
            audit,
            "planted copy",
            f"{plan.names[number]} of {names[0]}",
            made,
            train,
            names,
            (float(matches.score[0]), bool(matches.mirrored[0])),
        )


def _planted_strangers(audit: Audit, count: int) -> Iterator[PairToRead]:
    """Yield the holdout images nearest to train, one per subject: alike, and yet no copies."""
    holdout, found = audit.roles.holdout, audit.strangers
    if holdout is None or found is None:
        return
    for row in _best_of_subjects(holdout, found, count):
        match, index = found.whole, int(found.whole.index[row])
        train = onto(image_of(audit, "train", index), match.maps[row], bool(match.mirrored[row]))
        names = audit.roles.train.ids[index], str(audit.roles.train.rows[index].subject)
        seen = image_of(audit, "holdout", row)
        yield _known(
            audit,
            "planted stranger",
            holdout.ids[row],
            seen,
            train,
            names,
            (float(match.score[row]), bool(match.mirrored[row])),
            own=str(holdout.rows[row].subject),
        )


def _best_of_subjects(holdout: ImageSet, found: Screened, count: int) -> list[int]:
    order = np.argsort(-found.whole.score, kind="stable")
    first: dict[str, int] = {}
    for row in map(int, order):
        if found.whole.index[row] >= 0:
            first.setdefault(str(holdout.rows[row].subject), row)
    return list(first.values())[:count]


def _known(
    audit: Audit,
    kind: str,
    image_id: str,
    seen: Image,
    train: Image,
    names: tuple[str, str],
    match: tuple[float, bool],
    own: str = "",
) -> PairToRead:
    """Return a pair whose truth is known; it looks like any other, so it gets a nearest holdout image as well."""
    holdout = audit.roles.holdout
    assert holdout is not None
    others = np.flatnonzero(holdout.subjects != own)
    shown, name, score = None, None, None
    if len(others):
        near = nearest_of(confirmation.prepare(seen[None]), prepared_set(holdout, audit.frame, "holdout"), others)
        row = int(near.index[0])
        shown, name, score = image_of(audit, "holdout", row), holdout.ids[row], float(near.score[0])
    info = PairInfo(
        pair_id=_name(kind, image_id, names[0]),
        kind="planted copy" if kind == "planted copy" else "planted stranger",
        image_id=image_id,
        train_image_id=names[0],
        train_subject=names[1],
        holdout_image_id=name,
        score=match[0],
        holdout_score=score,
        above_alarm=True,  # so that the page treats it like the pairs among which it hides
        mirrored=match[1],
        channels=audit.frame.channels,
    )
    return PairToRead(info, seen, train, shown)


def _name(*parts: str) -> str:
    return store.digest(["pair", *parts])[:12]
