"""What lies on the reader's desk: the pairs in their order, and what everybody said so far.

The order and all counts treat planted pairs like alarms. Nothing here tells them apart until a reader has answered
every due pair; `Desk.results` is the only door to what they are.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import ValidationError

from synthrelease.decision import log, reading
from synthrelease.decision.folder import PAIRS, Evidence
from synthrelease.errors import DecisionError, IntegrityError
from synthrelease.release_records import Answer, Entry, PairAnswer, PairInfo, Reading

PAIR_ID = re.compile(r"[0-9a-f]{12}")
READER = "reader"  # role where none is named

Value = TypeVar("Value")


@dataclass(frozen=True)
class Said:
    """One reader's latest answer on one pair."""

    by: str
    role: str
    answer: Answer
    reason: str
    time: str


@dataclass(frozen=True)
class Standing:
    """Pairs in reading order and the log, both as they are on disk now."""

    pairs: tuple[PairInfo, ...]
    entries: tuple[Entry, ...]

    @cached_property
    def said(self) -> dict[str, dict[str, Said]]:
        """Pair id -> reader, as names are compared -> that reader's latest answer."""
        return _said(self.pairs, self.entries, {})

    def followed_by(self, entries: tuple[Entry, ...]) -> Standing:
        """Return the standing after more entries; known ones are not looked at again, or answers would cost more each.

        ``entries`` go on from these where `log.read` gave both; any others are all looked at.
        """
        later, known = Standing(self.pairs, entries), len(self.entries)
        if 0 < known <= len(entries) and entries[known - 1] is self.entries[-1]:
            vars(later)["said"] = _said(self.pairs, entries[known:], self.said)
        return later

    @cached_property
    def reading(self) -> Reading:
        """What was read, by everybody together."""
        return reading.summarise(self.pairs, self.entries)

    @cached_property
    def holding(self) -> dict[str, Answer]:
        """Pair id -> the answer that holds."""
        return reading.answers(self.pairs, self.entries)

    @cached_property
    def due(self) -> tuple[PairInfo, ...]:
        """The pairs that a reader has to answer."""
        return tuple(pair for pair in self.pairs if reading.is_due(pair))

    def find(self, pair_id: str) -> tuple[int, PairInfo] | None:
        """Return a pair and its place, counted from 0."""
        return next(((at, pair) for at, pair in enumerate(self.pairs) if pair.pair_id == pair_id), None)

    def by(self, reader: str) -> dict[str, Said]:
        """Return pair id -> what this reader answered."""
        name = reading.same_name(reader)
        return {pair_id: said[name] for pair_id, said in self.said.items() if name in said}

    def unread(self, reader: str) -> tuple[PairInfo, ...]:
        """Return the due pairs that this reader has not answered."""
        answered = self.by(reader)
        return tuple(pair for pair in self.due if pair.pair_id not in answered)

    def next_unread(self, reader: str, after: str = "") -> PairInfo | None:
        """Return the first due pair after this one that the reader has not answered, going round once."""
        unread = self.unread(reader)
        places = {pair.pair_id: place for place, pair in enumerate(self.pairs)}
        start = places.get(after, -1)
        return min(unread, key=lambda pair: (places[pair.pair_id] <= start, places[pair.pair_id]), default=None)

    def differing(self) -> tuple[PairInfo, ...]:
        """Return the pairs on which readers differ."""
        return tuple(p for p in self.pairs if len({said.answer for said in self.said.get(p.pair_id, {}).values()}) > 1)


class Desk:
    """The evidence folder as the page sees it; safe to use from several threads and beside other processes."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self._pairs = _Kept(evidence.folder / PAIRS / "index.json", lambda: in_reading_order(evidence))
        self._entries = _Kept(evidence.folder / log.NAME, lambda: log.read(evidence.folder))
        self._standing: Standing | None = None
        self._writing = threading.Lock()

    def standing(self) -> Standing:
        """Return pairs and answers as they are now; the files are read again only when they changed."""
        pairs, entries, last = self._pairs.get(), self._entries.get(), self._standing
        if last is None or last.pairs is not pairs:
            last = self._standing = Standing(pairs, entries)
        elif last.entries is not entries:
            last = self._standing = last.followed_by(entries)
        return last

    def answer(self, pair: PairInfo, answer: Answer, *, by: str, role: str, reason: str) -> None:
        """Put one answer into the log; it is on disk when this returns."""
        given = PairAnswer(
            pair_id=pair.pair_id, image_id=pair.image_id, answer=answer, planted=reading.is_planted(pair)
        )
        with self._writing:  # threads queue here, so that the log's lock across processes is rarely contended
            log.append(self.evidence.folder, "pair", by=by, role=role or READER, reason=reason, data=given.model_dump())


def _said(
    pairs: tuple[PairInfo, ...], entries: tuple[Entry, ...], before: dict[str, dict[str, Said]]
) -> dict[str, dict[str, Said]]:
    found = dict(before)
    for entry, given in reading.pair_entries(pairs, entries):
        said = Said(entry.by, entry.role, given.answer, entry.reason, entry.time)
        found[given.pair_id] = {**found.get(given.pair_id, {}), reading.same_name(entry.by): said}
    return found


def needs_reason(pair: PairInfo, answer: Answer) -> bool:
    """Return whether this answer must be explained.

    Among the due pairs all answers but `copy` are: asking only for those above alarm would tell planted strangers
    apart. An `unsure` is always explained, because it hands the pair to somebody else.
    """
    return answer == "unsure" or (answer == "not a copy" and reading.is_due(pair))


def in_reading_order(evidence: Evidence) -> tuple[PairInfo, ...]:
    """Return the pairs: alarms and planted ones in the audit's order, then suspects below alarm, then the closest.

    Raises:
        DecisionError: The audit kept no pairs.
        IntegrityError: The index is damaged or was edited.
    """
    index = evidence.folder / PAIRS / "index.json"
    if not index.is_file():
        raise DecisionError(
            f"{evidence.folder} holds no pairs to read: there is no {PAIRS}/{index.name}.",
            "Run the audit again with this version of synthrelease: finished steps are reused.",
        )
    try:
        pairs = evidence.pairs()
    except ValidationError as error:
        raise _damaged(f"{error.error_count()} of its values are not what the audit writes") from error
    names = [pair.pair_id for pair in pairs]
    if len(set(names)) < len(names) or not all(PAIR_ID.fullmatch(name) for name in names):
        raise _damaged("it names a pair twice, or in a way in which the audit never does")
    return tuple(sorted(pairs, key=lambda pair: 0 if reading.is_due(pair) else 2 if pair.kind == "closest" else 1))


def _damaged(why: str) -> IntegrityError:
    return IntegrityError(
        f"{PAIRS}/index.json is damaged or was edited: {why}.", "Restore it from a copy, or run the audit again."
    )


class _Kept(Generic[Value]):
    """A file's content, read again when the file changed."""

    def __init__(self, path: Path, load: Callable[[], Value]) -> None:
        self._path, self._load = path, load
        self._lock = threading.Lock()
        self._stamp: object = "never read"
        self._value: Value

    def get(self) -> Value:
        with self._lock:
            stamp = _stamp(self._path)  # before reading: a change meanwhile is seen next time
            if stamp != self._stamp:
                self._value = self._load()
                self._stamp = stamp
            return self._value


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
