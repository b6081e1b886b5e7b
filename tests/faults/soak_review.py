"""Reads with many clients at once on a real review server, and says whether a decision was lost or memory leaks.

python tests/faults/soak_review.py --clients 50 --seconds 300
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # run as a script
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "report"))

from review_clients import Server, evidence_with, lost, reading

PAIRS = 200
KIB_PER_ANSWER = 6.0  # the log itself is held in memory, some 3 KiB an answer: what is above would be a leak
FREE_KIB = 40_000  # pictures that are kept, threads' own memory


@dataclass(frozen=True)
class Soak:
    """What a soak found."""

    clients: int
    seconds: float
    answers: int
    refused: int
    lost: int
    median_ms: float
    p95_ms: float
    p99_ms: float
    slowest_ms: float
    last_fifth_median_ms: float
    memory_before_kib: int
    memory_after_kib: int
    memory_limit_kib: int

    @property
    def passed(self) -> bool:
        return not self.lost and not self.refused and self.memory_after_kib <= self.memory_limit_kib


def soak(work: Path, *, clients: int, seconds: float, pause: float, seed: int = 0) -> Soak:
    """Have ``clients`` readers answer for ``seconds``, each pausing ``pause`` seconds on average."""
    evidence = evidence_with(work / "evidence", PAIRS).folder
    server = Server(evidence, work / "cache")
    try:
        readers, stop = server.readers(clients), threading.Event()
        for number in range(min(PAIRS, 70)):  # every picture that is kept is drawn before memory is looked at
            readers[0].get(f"/picture/{number:012x}.png")
        before = server.memory
        threads = reading(readers, pairs=PAIRS, seed=seed, pause=pause, stop=stop)
        time.sleep(seconds)
        stop.set()
        for thread in threads:
            thread.join(120)
        after = server.memory
        readers[0].post("/finish")
        server.process.wait(120)
    finally:
        server.process.kill()
    took = sorted(one * 1000 for reader in readers for one in reader.seconds)
    last = [one * 1000 for reader in readers for one in reader.seconds[-max(1, len(reader.seconds) // 5) :]]
    return Soak(
        clients=clients,
        seconds=seconds,
        answers=len(took),
        refused=sum(reader.refused for reader in readers),
        lost=len(lost(readers, evidence)),
        median_ms=statistics.median(took),
        p95_ms=took[int(0.95 * len(took))],
        p99_ms=took[int(0.99 * len(took))],
        slowest_ms=took[-1],
        last_fifth_median_ms=statistics.median(last),
        memory_before_kib=before,
        memory_after_kib=after,
        memory_limit_kib=int(before + FREE_KIB + KIB_PER_ANSWER * len(took)),
    )


def main() -> None:
    """Soak, print what was found, exit 1 where a decision was lost, refused, or memory leaks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--pause", type=float, default=1.0, help="Seconds that a reader looks at a pair, on average.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        found = soak(Path(work), clients=given.clients, seconds=given.seconds, pause=given.pause)
    print(json.dumps({**asdict(found), "passed": found.passed}, indent=1))
    sys.exit(not found.passed)


if __name__ == "__main__":
    main()
