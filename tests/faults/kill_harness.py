"""Kills commands with SIGKILL at random moments, runs them again, and compares with a run that nobody killed.

    python tests/faults/kill_harness.py --kills 54 --seed 0 --out kills.json

Half of the kills come after a random share of the unbroken run's time, half before a random one of its acts on the
disk (opening a file to write, renaming, deleting), where half-written results would come from. After each kill nothing
under a final name may be half there; after the restart exit code and results must be those of the unbroken run.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # run as a script
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "report"))

from same import half_there, said
from verbs import Verb, environment, make_base, verbs

REVIEW = "review"
NAMES = ("prepare", "train", "sample", "measure", "segment", "audit", "decide", REVIEW, "package", "study")
PATIENCE = 900  # seconds after which a run counts as hung


@dataclass(frozen=True)
class Kill:
    """One kill, and what was wrong afterwards."""

    verb: str
    where: str
    """After which share of the time, or before which act on the disk."""
    killed: bool
    """Whether the process was still running."""
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Unbroken:
    """The run that nobody killed."""

    code: int
    seconds: float
    acts: int
    says: dict[str, Any]


class Harness:
    """Runs the verbs in one work folder, always under the same paths: some results name them."""

    def __init__(self, work: Path, names: Sequence[str]) -> None:
        self.work, self.run = work, work / "run"
        self.verbs = {name: verb for name, verb in verbs(work / "base", self.run).items() if name in names}
        self.base = make_base(work, self.verbs)
        self.known: dict[str, Unbroken] = {}

    def unbroken(self, name: str) -> Unbroken:
        """Return what the verb does when nobody kills it; it is run once."""
        if name not in self.known:
            self._fresh(self.verbs[name])
            begun = time.monotonic()
            code, error = self._ended(self._begun(self.verbs[name].words, FAULT_COUNT=str(self.work / "acts")))
            seconds = time.monotonic() - begun
            if code in (1, 2, 5) or (faults := half_there(self.run)):
                raise RuntimeError(f"{name} fails without a kill ({code}): {error or faults}")
            acts = int((self.work / "acts").read_text())
            self.known[name] = Unbroken(code, seconds, acts, said(self.run))
        return self.known[name]

    def kill(self, name: str, chance: random.Random) -> Kill:
        """Kill the verb once and look at what is left, then run it again and compare."""
        verb, known = self.verbs[name], self.unbroken(name)
        self._fresh(verb)
        if chance.random() < 0.5:
            act = chance.randint(1, known.acts)
            where = f"act {act} of {known.acts}"
            code, _ = self._ended(self._begun(verb.words, FAULT_AT=str(act)))
        else:
            share = chance.uniform(0.1, 1)
            where = f"{share:.0%} of {known.seconds:.1f} s"
            process = self._begun(verb.words)
            try:
                process.wait(share * known.seconds)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
            code, _ = self._ended(process)
        faults = [f"after the kill: {fault}" for fault in half_there(self.run)]
        faults += self._restarted(verb, known, code)
        return Kill(name, where, code == -signal.SIGKILL, tuple(faults))

    def _restarted(self, verb: Verb, known: Unbroken, killed: int) -> Iterator[str]:
        again = verb.again if killed == -signal.SIGKILL else ()
        if killed != -signal.SIGKILL and killed != known.code:
            yield f"it ended with {killed} instead of {known.code} although nobody killed it"
        if verb.again and not again:
            return  # it was finished: to run it again without --resume is refused
        code, error = self._ended(self._begun((*verb.words, *again)))
        if code != known.code:
            yield f"after the restart: exit code {code} instead of {known.code}: {error[-500:]}"
            return
        yield from (f"after the restart: {fault}" for fault in half_there(self.run))
        yield from differences(known.says, said(self.run))

    def _fresh(self, verb: Verb) -> None:
        shutil.rmtree(self.run, ignore_errors=True)
        self.run.mkdir()
        for name in verb.copies:
            source = self.base / name
            copy = shutil.copytree if source.is_dir() else shutil.copyfile
            copy(source, self.run / name)

    def _begun(self, words: Sequence[str], **told: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "synthrelease", *words],
            env=environment(self.work, FAULT_ROOT=str(self.run), **told),
            stdout=subprocess.DEVNULL,
            stderr=(self.work / "stderr").open("w"),
            text=True,
        )

    def _ended(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        code = process.wait(PATIENCE)
        error = (self.work / "stderr").read_text(errors="replace")
        if "Traceback" in error:
            raise RuntimeError(error)
        return code, error


def differences(one: dict[str, Any], other: dict[str, Any]) -> Iterator[str]:
    """Yield what two results do not share; progress logs are compared by their last word on each step."""
    for name in sorted(one.keys() | other.keys()):
        if name not in other:
            yield f"{name} is missing"
        elif name not in one:
            yield f"{name} is too much"
        elif _comparable(name, one[name]) != _comparable(name, other[name]):
            yield f"{name} differs"


def _comparable(name: str, content: Any) -> Any:
    """Return content to compare: means in scalars.jsonl are over the steps since the process began."""
    if name.endswith("scalars.jsonl"):
        return sorted({row["step"] for row in content})
    return content


def kills(work: Path, *, names: Sequence[str], count: int, seed: int) -> Iterator[Kill]:
    """Yield ``count`` kills, spread evenly over the verbs."""
    chance = random.Random(seed)
    harness = Harness(work, names)
    for number in range(count):
        name = names[number % len(names)]
        if name == REVIEW:
            from review_clients import killed_review

            where, faults = killed_review(work / "review", chance)
            yield Kill(name, where, True, faults)
        else:
            yield harness.kill(name, chance)


def table(found: Sequence[Kill]) -> str:
    """Return one line per verb."""
    lines = [f"{'verb':<10}{'kills':>6}{'on the disk':>13}{'ended before':>14}{'faults':>8}"]
    for name in dict.fromkeys(kill.verb for kill in found):
        mine = [kill for kill in found if kill.verb == name]
        acts, late = sum("act" in kill.where for kill in mine), sum(not kill.killed for kill in mine)
        lines.append(f"{name:<10}{len(mine):>6}{acts:>13}{late:>14}{sum(bool(kill.faults) for kill in mine):>8}")
    return "\n".join(lines)


def main() -> None:
    """Kill, print a table, write JSON; exit 1 where something was lost or half there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=54)
    parser.add_argument("--verbs", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="Folder for inputs and runs; default: a temporary one.")
    parser.add_argument("--out", type=Path, help="JSON with every kill.")
    given = parser.parse_args()
    found: list[Kill] = []
    with tempfile.TemporaryDirectory() as place:
        for kill in kills(given.work or Path(place), names=given.verbs, count=given.kills, seed=given.seed):
            found.append(kill)
            word = "; ".join(kill.faults) or "as unbroken"
            print(f"{len(found):>3} {kill.verb:<9}{kill.where:<22}{word}", flush=True)
            if given.out:
                given.out.write_text(json.dumps([asdict(one) for one in found], indent=1), encoding="utf-8")
    print("\n" + table(found))
    sys.exit(any(kill.faults for kill in found))


if __name__ == "__main__":
    main()
