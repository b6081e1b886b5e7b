"""The running server, spoken to as an attacker with curl would: raw requests, wrong ports, and a kill in between."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
from review_helpers import DUE, make_evidence, pair_id

from synthrelease.decision import log
from synthrelease.decision.folder import Evidence
from synthrelease.errors import DecisionError, SettingsError
from synthrelease.release_records import Reading
from synthrelease.review import server
from synthrelease.review.server import serve

SOON = 20.0  # seconds; far more than needed


class Running:
    """A server in a thread, as `serve` runs it."""

    def __init__(self, evidence: Evidence, by: str) -> None:
        self.told: list[str] = []
        self.found: list[Reading] = []
        self._thread = threading.Thread(
            target=lambda: self.found.append(serve(evidence, by=by, open_browser=False, say=self.told.append))
        )
        self._thread.start()
        wait_for(lambda: len(self.told) >= 3)
        self.address = urlsplit(self.told[0].split()[-1])
        self.cookie = ""

    def ask(self, method: str, path: str, body: str = "", **headers: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.address.port, timeout=SOON)
        known = {"Cookie": self.cookie, "Host": self.address.netloc}
        if method == "POST":
            known |= {
                "Origin": f"http://{self.address.netloc}",
                "Content-Type": "application/x-www-form-urlencoded",
            }
        connection.request(method, path, body or None, {**known, **headers})
        answered = connection.getresponse()
        answered.text = answered.read().decode("utf-8", "replace")  # type: ignore[attr-defined]
        connection.close()
        return answered

    def enter(self) -> None:
        answered = self.ask("GET", f"{self.address.path}?{self.address.query}")
        self.cookie = (answered.headers["Set-Cookie"] or "").partition(";")[0]

    def form(self, path: str, **fields: str) -> http.client.HTTPResponse:
        token = re.search(r'name="form_token" value="([^"]+)"', self.ask("GET", "/").text)  # type: ignore[attr-defined]
        return self.ask("POST", path, urlencode({"form_token": token.group(1) if token else "", **fields}))

    def end(self) -> Reading:
        if self._thread.is_alive():
            if not self.cookie:
                self.enter()
            self.form("/finish")
        self._thread.join(SOON)
        assert not self._thread.is_alive()
        return self.found[0]


def wait_for(condition) -> None:
    until = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def _no_lingering(monkeypatch):
    monkeypatch.setattr(server, "LAST_PAGE", 0.1)  # no browser fetches the style of the last page here


@pytest.fixture
def evidence(tmp_path) -> Evidence:
    return make_evidence(tmp_path)


@pytest.fixture
def running(evidence) -> Iterator[Running]:
    found = Running(evidence, by="Ada Reader")
    yield found
    found.end()


def test_a_review_from_the_address_to_the_end(evidence, running):
    running.enter()
    for name in DUE:
        answered = running.form(f"/pair/{pair_id(name)}", answer="copy")
        assert answered.status == 303
    last = running.form("/finish")

    found = running.end()

    assert "Review ended" in last.text
    assert (found.to_read, found.read, found.copies, found.planted_copies_recognised) == (3, 3, 3, 2)
    assert (found.planted_strangers, found.planted_strangers_recognised) == (1, 0)
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", running.address.port), timeout=1)


def test_it_listens_on_this_computer_alone(running):
    assert running.address.hostname == "127.0.0.1"
    others = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {"127.0.0.1"}
    for address in [*others, "127.0.0.2"]:
        with pytest.raises(OSError):
            socket.create_connection((address, running.address.port), timeout=1)


def test_the_server_tells_nothing_about_itself(running):
    for path in ("/", "/nothing", "/open?token=x"):
        answered = running.ask("GET", path)
        assert answered.status == 403
        assert answered.headers["Server"] is None
        assert answered.headers["Via"] is None
        assert "waitress" not in str(answered.headers).lower()


def test_a_token_that_was_used_opens_nothing_to_curl(running):
    running.enter()
    running.cookie, cookie = "", running.cookie
    assert running.ask("GET", f"/open?{running.address.query}").status == 403
    running.cookie = cookie


def test_another_host_header_is_refused(running):
    running.enter()
    for host in ("evil.example", f"evil.example:{running.address.port}", "127.0.0.1"):
        assert running.ask("GET", "/summary", Host=host).status == 403
    assert running.ask("GET", f"http://evil.example:{running.address.port}/summary", Host="evil.example").status == 403
    assert running.ask("GET", "/summary", **{"X-Forwarded-Host": "evil.example"}).status == 200
    assert running.ask("GET", "/summary", **{"X-Forwarded-Host": running.address.netloc, "Host": "evil"}).status == 403


def test_a_large_body_is_refused_before_it_is_read(evidence, running):
    running.enter()
    head = f"POST /pair/{pair_id('suspect a')} HTTP/1.1\r\nHost: {running.address.netloc}\r\n"
    head += f"Cookie: {running.cookie}\r\nContent-Length: 100000\r\n\r\n"
    answered = raw(running, head.encode() + b"x" * 100_000)

    assert not answered or b" 413 " in answered.split(b"\r\n", 1)[0]
    assert running.ask("GET", "/").status == 200
    assert not log.read(evidence.folder)


def raw(running: Running, text: bytes) -> bytes:
    """Send these bytes and return what came back; nothing if the server cut the connection."""
    with socket.create_connection(("127.0.0.1", running.address.port), timeout=SOON) as connection:
        try:
            connection.sendall(text)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))
        except OSError:
            return b""


@pytest.mark.parametrize(
    "line",
    [
        b"GET /../../../../etc/passwd HTTP/1.1",
        b"GET /picture/..%2f..%2f..%2fetc%2fpasswd HTTP/1.1",
        b"GET //evil.example/ HTTP/1.1",
        b"GET /pair/%2e%2e%2f%00 HTTP/1.1",
        b"GET / HTTP/9.9",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET /" + b"a" * 30_000 + b" HTTP/1.1",
        b"POST / HTTP/1.1\r\nContent-Length: -5",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5",
    ],
    ids=lambda line: line[:50].decode("latin-1").encode("unicode_escape").decode(),
)
def test_broken_requests_are_refused_and_the_server_goes_on(running, line):
    answered = raw(running, line + b"\r\nHost: " + running.address.netloc.encode() + b"\r\nConnection: close\r\n\r\n")

    assert b"root:" not in answered
    assert b" 200 " not in answered.split(b"\r\n", 1)[0]
    assert b"evil.example" not in answered
    assert running.ask("GET", "/").status == 403


def test_a_taken_port_is_an_error_with_a_remedy(evidence, running):
    with pytest.raises(SettingsError, match=f"Port {running.address.port} cannot be used"):
        serve(evidence, port=running.address.port, open_browser=False, say=lambda text: None)


def test_a_name_that_the_log_could_not_show_is_refused(evidence):
    with pytest.raises(SettingsError, match="visible characters"):
        serve(evidence, by="Ada\u202e", open_browser=False, say=lambda text: None)


def test_a_folder_without_an_audit_is_refused(tmp_path):
    with pytest.raises(DecisionError, match="holds no audit"):
        serve(tmp_path / "nothing", open_browser=False, say=lambda text: None)


def test_the_browser_is_opened_only_when_wanted(evidence, monkeypatch):
    opened: list[str] = []
    monkeypatch.setattr(server.webbrowser, "open", opened.append)
    monkeypatch.setattr(server, "_run_until", lambda *_: wait_for(lambda: opened))

    serve(evidence, say=lambda text: None)

    assert opened
    assert opened[0].startswith("http://127.0.0.1:")


# --- stopped from outside ---------------------------------------------------------------------------------------------

PROGRAM = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a run in the background would ignore it
from pathlib import Path
from synthrelease.review.server import serve
found = serve(Path(sys.argv[1]), by="Ada Reader", open_browser=False, say=lambda text: print(text, flush=True))
print(found.model_dump_json(), flush=True)
"""


class Program(Running):
    """The server as a program of its own, which can be stopped as programs are."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-c", PROGRAM, str(folder)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        assert self.process.stdout
        self.address = urlsplit(self.process.stdout.readline().split()[-1])
        self.cookie = ""
        self.enter()

    def stop(self, with_signal: int) -> tuple[str, str]:
        self.process.send_signal(with_signal)
        return self.process.communicate(timeout=SOON)


def test_a_server_killed_in_the_middle_goes_on_after_a_restart(evidence):
    first = Program(evidence.folder)
    first.form(f"/pair/{pair_id('suspect a')}", answer="copy", reason="same fold")
    first.form(f"/pair/{pair_id('copy a')}", answer="copy")
    first.stop(signal.SIGKILL)
    with (evidence.folder / log.NAME).open("ab") as file:
        file.write(b'{"number": 3, "half a line')  # what a power cut may leave

    second = Program(evidence.folder)
    assert second.ask("GET", "/read").headers["Location"].endswith(pair_id("suspect b"))
    second.form(f"/pair/{pair_id('suspect b')}", answer="copy")
    told, complaints = second.stop(signal.SIGINT)

    assert Reading.model_validate_json(told.splitlines()[-1]).read == 2
    assert second.process.returncode == 0
    assert "Ada" not in complaints
    assert [entry.data["pair_id"] for entry in log.read(evidence.folder)] == [
        pair_id(name) for name in ("suspect a", "copy a", "suspect b")
    ]
