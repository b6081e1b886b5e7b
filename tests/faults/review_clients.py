"""Readers who use the review page of a real server process over the loopback, and remember what it acknowledged."""

from __future__ import annotations

import http.client
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from review_helpers import make_evidence, pair_info

from synthrelease.decision import log
from synthrelease.decision.folder import Evidence

ROOT = Path(__file__).resolve().parents[2]
ANSWERS = ("copy", "not a copy", "unsure")
KINDS = ("suspect a", "copy a", "suspect b", "stranger a", "part a", "closest a")


def evidence_with(folder: Path, pairs: int) -> Evidence:
    """Write an evidence folder with so many pairs, small pictures, and return it."""
    infos = [
        pair_info(KINDS[number % len(KINDS)], pair_id=f"{number:012x}", image_id=f"made/{number}.png")
        for number in range(pairs)
    ]
    return make_evidence(folder, infos, side=16)


class Server:
    """`synthrelease review` in a process of its own."""

    def __init__(self, evidence: Path, cache: Path) -> None:
        command = [sys.executable, "-m", "synthrelease", "review", str(evidence), "--no-browser", "--json"]
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        env = {**os.environ, "PYTHONPATH": path, "SYNTHRELEASE_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
        )
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        if "Review page: " not in line:
            self.process.kill()
            raise RuntimeError(line + self.process.stderr.read())
        self.address = urlsplit(line.split()[-1])
        self._said = threading.Thread(target=self.process.stderr.read, daemon=True)  # a full pipe would stop it
        self._said.start()

    @property
    def memory(self) -> int:
        """KiB of the process in memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1])  # type: ignore[index]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(20)

    def readers(self, count: int) -> list[Reader]:
        """Return readers who have come in, each by an address of their own."""
        first = Reader(self, f"Reader {0:03d}", f"{self.address.path}?{self.address.query}")
        rest = []
        for number in range(1, count):
            page = first.post("/invite")[1]
            rest.append(Reader(self, f"Reader {number:03d}", re.search(r"/open\?token=[\w-]+", page)[0]))  # type: ignore[index]
        return [first, *rest]


@dataclass
class Reader:
    """One browser with one reader's name."""

    server: Server
    name: str
    door: str
    acknowledged: list[tuple[str, str, str]] = field(default_factory=list)  # pair, answer, reason
    seconds: list[float] = field(default_factory=list)  # of each answer
    refused: int = 0

    def __post_init__(self) -> None:
        self._line = http.client.HTTPConnection("127.0.0.1", self.server.address.port, timeout=60)
        self._cookie = self._token = ""
        _, _, headers = self._ask("GET", self.door)
        self._cookie = headers["Set-Cookie"].split(";")[0]
        self._token = re.search(r'name="form_token" value="([^"]+)"', self.get("/")[1])[1]  # type: ignore[index]
        assert self.post("/reader", name=self.name, role="radiologist")[0] == 303

    def _ask(self, method: str, path: str, body: str | None = None) -> tuple[int, str, http.client.HTTPMessage]:
        place = self.server.address.netloc
        headers = {"Cookie": self._cookie, "Host": place}
        if body is not None:
            headers |= {"Origin": f"http://{place}", "Content-Type": "application/x-www-form-urlencoded"}
        self._line.request(method, path, body, headers)
        answered = self._line.getresponse()
        return answered.status, answered.read().decode("utf-8", "replace"), answered.headers

    def get(self, path: str) -> tuple[int, str]:
        return self._ask("GET", path)[:2]

    def post(self, path: str, **fields: str) -> tuple[int, str]:
        return self._ask("POST", path, urlencode({"form_token": self._token, **fields}))[:2]

    def answer(self, pair: str, answer: str, reason: str) -> None:
        """Send an answer; it counts as acknowledged when the page goes on to the next pair."""
        begun = time.perf_counter()
        status, _ = self.post(f"/pair/{pair}", answer=answer, reason=reason)
        if status == 303:
            self.seconds.append(time.perf_counter() - begun)
            self.acknowledged.append((pair, answer, reason))
        else:
            self.refused += 1

    def read_until(self, stop: threading.Event, pairs: int, chance: random.Random, pause: float) -> None:
        """Answer pairs at random until told to stop, or until the server is gone."""
        number = 0
        while not stop.is_set():
            number += 1
            pair, answer = f"{chance.randrange(pairs):012x}", chance.choice(ANSWERS)
            try:
                self.answer(pair, answer, f"reason {number}")
            except (OSError, http.client.HTTPException):
                return
            stop.wait(chance.uniform(0, 2 * pause))


def reading(
    readers: Sequence[Reader], *, pairs: int, seed: int, pause: float, stop: threading.Event
) -> list[threading.Thread]:
    """Have all readers read at once, each in a thread, and return the threads."""
    threads = [
        threading.Thread(target=reader.read_until, args=(stop, pairs, random.Random(f"{seed} {number}"), pause))
        for number, reader in enumerate(readers)
    ]
    for thread in threads:
        thread.start()
    return threads


def lost(readers: Sequence[Reader], evidence: Path) -> list[str]:
    """Return what was acknowledged to a reader and is not in the log, and what the log holds twice."""
    kept = [
        (entry.by, entry.data["pair_id"], entry.data["answer"], entry.reason)
        for entry in log.read(evidence)
        if entry.action == "pair"
    ]
    known = set(kept)
    gone = [
        f"{reader.name}: {said}"
        for reader in readers
        for said in reader.acknowledged
        if (reader.name, *said) not in known
    ]
    return gone + ([f"{len(kept) - len(known)} entries are there twice"] if len(known) < len(kept) else [])


def killed_review(work: Path, chance: random.Random) -> tuple[str, tuple[str, ...]]:
    """Kill the server while four readers answer; start it again; return when it was and what was lost."""
    shutil.rmtree(work, ignore_errors=True)
    pairs = 24
    evidence = evidence_with(work / "evidence", pairs).folder
    server = Server(evidence, work / "cache")
    readers, stop, faults = server.readers(4), threading.Event(), []
    seconds = chance.uniform(0.05, 3)
    threads = reading(readers, pairs=pairs, seed=chance.randrange(10**6), pause=0, stop=stop)
    time.sleep(seconds)
    server.kill()
    stop.set()
    for thread in threads:
        thread.join(60)
    said = sum(len(reader.acknowledged) for reader in readers)
    faults += [f"lost: {one}" for one in lost(readers, evidence)]
    again = Server(evidence, work / "cache")
    reader = again.readers(1)[0]
    reader.name = readers[0].name  # the first one of each server is Reader 000
    for number in range(pairs):
        reader.answer(f"{number:012x}", "not a copy", "read again")
    if len(reader.acknowledged) != pairs:
        faults.append(f"after the restart: {reader.refused} answers were refused")
    faults += [f"lost after the restart: {one}" for one in lost([*readers, reader], evidence)]
    reader.post("/finish")
    code = again.process.wait(60)
    if code not in (0, 3):
        faults.append(f"after the restart: exit code {code}")
    return f"{seconds:.1f} s, {said} answers", tuple(faults)
