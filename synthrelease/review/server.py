"""Serves the review page on this computer alone, until the reader ends it."""

from __future__ import annotations

import logging
import threading
import time
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from waitress.server import create_server

from synthrelease.decision.folder import Evidence, open_evidence
from synthrelease.errors import SettingsError
from synthrelease.release_records import Reading
from synthrelease.review.app import LARGEST_REQUEST, make_app, name_problem
from synthrelease.review.desk import READER, Desk
from synthrelease.review.gate import LOOPBACK, Gate

THREADS = 8
LAST_PAGE = 0.7  # seconds in which the last page still reaches the browser


def serve(
    evidence: Evidence | Path,
    *,
    by: str = "",
    port: int = 0,
    open_browser: bool = True,
    say: Callable[[str], None] = print,
) -> Reading:
    """Show the pairs on a local web page until the reader ends it there, or Ctrl-C; return what has been read.

    Args:
        evidence: The audit whose pairs are read, or its folder.
        by: Name of the first reader; the page asks for it where it is empty.
        port: 0 lets the system choose a free one. The address is always 127.0.0.1.
        open_browser: Open the page in the default browser.
        say: Told the page's address.

    Raises:
        SettingsError: The port is taken, or the name is none.
        DecisionError: The audit kept no pairs.
        IntegrityError: The pairs or the log are damaged.
    """
    by = " ".join(by.split())
    if by and name_problem(by):
        raise SettingsError(f"This name cannot be used: {name_problem(by)}", "Give another one after --by.")
    opened = open_evidence(evidence) if isinstance(evidence, Path) else evidence
    desk, gate, finished = Desk(opened), Gate(by, READER if by else ""), threading.Event()
    desk.standing()  # damaged evidence is told here, before a page opens
    sockets: dict[Any, Any] = {}
    server = _bound(make_app(desk, gate, finish=finished.set), port, sockets)
    try:
        gate.port = server.effective_port
        address = gate.invite()
        say(f"Review page: {address}")
        say("The address works once, in one browser on this computer. It shows patients' images.")
        say("End with the button on the last page, or Ctrl-C. Every answer is kept at once.")
        if open_browser:
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        _run_until(finished, server, sockets)
    finally:
        server.task_dispatcher.shutdown()
        server.asyncore.close_all(sockets, ignore_all=True)
    return desk.standing().reading


def _bound(app: Any, port: int, sockets: dict[Any, Any]) -> Any:
    # One request more in the queue than threads is no news to a steward.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    try:
        return create_server(
            app,
            map=sockets,
            host=LOOPBACK,
            port=port,
            threads=THREADS,
            ident="",
            max_request_body_size=LARGEST_REQUEST,
            max_request_header_size=LARGEST_REQUEST,
            expose_tracebacks=False,
            clear_untrusted_proxy_headers=True,
        )
    except (OSError, OverflowError, ValueError) as error:
        raise SettingsError(
            f"Port {port} cannot be used: {getattr(error, 'strerror', None) or error}.",
            "Leave --port out, then a free one is chosen.",
        ) from error


def _run_until(finished: threading.Event, server: Any, sockets: dict[Any, Any]) -> None:
    try:
        while not finished.is_set():
            server.asyncore.loop(timeout=0.2, map=sockets, count=1)
        until = time.monotonic() + LAST_PAGE
        while time.monotonic() < until:
            server.asyncore.loop(timeout=0.05, map=sockets, count=1)
    except KeyboardInterrupt:
        return
