"""What readers said about the pairs, taken from the log: the answer that holds for each pair, and how well they read.

A reader's latest answer on a pair replaces that reader's earlier ones; all of them stay in the log. Where readers
differ, the cautious side holds: `copy` if any of them says so, else `unsure`, which counts as not read.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

from pydantic import ValidationError

from synthrelease.errors import IntegrityError
from synthrelease.release_records import Answer, Entry, PairAnswer, PairInfo, Reading

ByReader = dict[str, Answer]  # latest answer by reader's name, as `same_name` writes it


def summarise(pairs: Sequence[PairInfo], entries: Sequence[Entry]) -> Reading:
    """Return what was read and how the planted pairs were read.

    Planted pairs are judged by the answer that holds, as the real ones are, so they measure the readers together. A
    change that a reader makes to a planted pair after answering every due pair does not count: by then the page has
    shown the reader how they did.

    Raises:
        IntegrityError: An entry about a pair holds something else.
    """
    said = answers(pairs, entries)
    due = [pair.pair_id for pair in pairs if must_be_read(pair)]
    real = [said[pair.pair_id] for pair in pairs if not is_planted(pair) and pair.pair_id in said]
    first = _holding(by_reader(pairs, _before_results(pairs, entries)))
    copies = [first[p.pair_id] for p in pairs if p.kind == "planted copy" and p.pair_id in first]
    strangers = [first[p.pair_id] for p in pairs if p.kind == "planted stranger" and p.pair_id in first]
    return Reading(
        to_read=len(due),
        read=sum(said.get(pair_id, "unsure") != "unsure" for pair_id in due),
        copies=real.count("copy"),
        not_copies=real.count("not a copy"),
        unsure=real.count("unsure"),
        planted_copies=len(copies),
        planted_copies_recognised=copies.count("copy"),
        planted_strangers=len(strangers),
        planted_strangers_recognised=strangers.count("not a copy"),
        readers=len({name for said_of in by_reader(pairs, entries).values() for name in said_of}),
    )


def answers(pairs: Sequence[PairInfo], entries: Sequence[Entry]) -> dict[str, Answer]:
    """Return pair id -> the answer that holds, for every pair of ``pairs`` that somebody answered."""
    return _holding(by_reader(pairs, entries))


def by_reader(pairs: Sequence[PairInfo], entries: Sequence[Entry]) -> dict[str, ByReader]:
    """Return pair id -> reader -> that reader's latest answer. Answers on pairs of earlier audits are left out."""
    found: dict[str, ByReader] = {}
    for entry, given in pair_entries(pairs, entries):
        found.setdefault(given.pair_id, {})[same_name(entry.by)] = given.answer
    return found


def pair_entries(pairs: Sequence[PairInfo], entries: Sequence[Entry]) -> Iterator[tuple[Entry, PairAnswer]]:
    """Yield the log's entries about these pairs with their answers, oldest first."""
    images = {pair.pair_id: pair.image_id for pair in pairs}
    for entry in entries:
        if entry.action != "pair":
            continue
        try:
            given = PairAnswer.model_validate(entry.data)
        except ValidationError as error:
            raise IntegrityError(
                f"Entry {entry.number} of the decision log is about a pair, but holds no answer.",
                "Restore the evidence folder from a copy. What was decided after that entry cannot be relied on.",
            ) from error
        if images.get(given.pair_id) == given.image_id:
            yield entry, given


def must_be_read(pair: PairInfo) -> bool:
    """Return whether the pair is an alarm of the audit, which somebody must read."""
    return pair.kind in ("suspect", "part") and (pair.above_alarm or pair.exact)


def is_planted(pair: PairInfo) -> bool:
    """Return whether the pair was mixed in to measure the reader."""
    return pair.kind in ("planted copy", "planted stranger")


def is_due(pair: PairInfo) -> bool:
    """Return whether a reader has to answer the pair: alarms, and the planted pairs among them. Others are optional."""
    return must_be_read(pair) or is_planted(pair)


def same_name(name: str) -> str:
    """Return a name as names are compared: spaces, capitals and Unicode variants make no second person."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def _holding(said: dict[str, ByReader]) -> dict[str, Answer]:
    return {pair_id: _together(list(given.values())) for pair_id, given in said.items()}


def _together(given: list[Answer]) -> Answer:
    if len(set(given)) == 1:
        return given[0]
    return "copy" if "copy" in given else "unsure"


def _before_results(pairs: Sequence[PairInfo], entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries about pairs that each reader made until every due pair was answered by that reader."""
    due = {pair.pair_id for pair in pairs if is_due(pair)}
    done: dict[str, set[str]] = {}
    kept = []
    for entry, given in pair_entries(pairs, entries):
        answered = done.setdefault(same_name(entry.by), set())
        if not due <= answered:
            kept.append(entry)
        answered.add(given.pair_id)
    return kept
