"""The review page: which address shows what. Every page works without scripts; one small script adds keys."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from flask import Flask, Response, abort, g, redirect, render_template, request, send_from_directory, url_for
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from synthrelease.decision import reading
from synthrelease.errors import SynthreleaseError
from synthrelease.release_records import Answer, PairInfo
from synthrelease.report import formats, words
from synthrelease.report.pages import PACKAGE, templates_folder
from synthrelease.review import pictures
from synthrelease.review.desk import READER, Desk, Said, Standing, needs_reason
from synthrelease.review.gate import HEADERS, Gate, Session, same_secret

LARGEST_REQUEST = 16 * 1024  # bytes; the longest form is a reason
LONGEST_NAME, LONGEST_REASON = 80, 1000  # characters
OPEN_TO_ALL = {"enter", "style", "script", "icon"}  # hold nothing of the evidence
ANSWERS: tuple[Answer, ...] = get_args(Answer)
MOST_SUGGESTED = 8  # of the reader's own earlier reasons

Page = str | AnyResponse | tuple[str, int]


class _Pages(Flask):
    """Flask whose templates escape everything, whatever their file is called, and write out invisible characters."""

    jinja_options = {  # noqa: RUF012 - Flask's own way of setting it
        "autoescape": True,
        "trim_blocks": True,
        "lstrip_blocks": True,
        "finalize": lambda value: formats.shown(value) if type(value) is str else value,
    }


def make_app(desk: Desk, gate: Gate, *, finish: Callable[[], None]) -> Flask:
    """Return the page as a WSGI application.

    Args:
        desk: The pairs and the log.
        gate: Who may come in; its port must be set before the first request.
        finish: Called when the reader ends the review.
    """
    app = _Pages("synthrelease.review", static_folder=None, template_folder=str(_templates()))
    app.config.update(MAX_CONTENT_LENGTH=LARGEST_REQUEST, MAX_FORM_MEMORY_SIZE=LARGEST_REQUEST, MAX_FORM_PARTS=20)
    app.jinja_env.filters.update(score=formats.score)
    app.jinja_env.globals.update(answers=ANSWERS, parts=words.PARTS, is_due=reading.is_due)
    _guard(app, gate)
    _add_doors(app, gate)
    _add_pages(app, desk, gate, finish)
    _add_pair(app, desk)
    return app


def _templates() -> Path:
    return templates_folder(PACKAGE) / "review"


def _guard(app: Flask, gate: Gate) -> None:
    @app.before_request
    def check() -> None:
        """Refuse what does not come from a reader's own page; the order is from cheap to telling."""
        complaint = gate.complaint_about_place(request.host)
        if complaint:
            abort(403, complaint)
        if request.endpoint in OPEN_TO_ALL:
            return
        session = gate.session(request.cookies.get(gate.cookie, ""))
        if session is None:
            abort(403, "This page opens with the address that the terminal shows, in one browser.")
        complaint = gate.complaint_about_origin(request.method, request.host, dict(request.headers))
        if complaint:
            abort(403, complaint)
        if request.method == "POST" and not same_secret(request.form.get("form_token", ""), session.form_token):
            abort(403, "The form is not from this session. Open the page again and send it once more.")
        g.session = session

    @app.after_request
    def harden(response: Response) -> Response:
        response.headers.update(HEADERS)
        return response

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> tuple[str, int]:
        code = error.code or 500
        text = "Something went wrong that the program did not foresee." if code >= 500 else str(error.description)
        return render_template("refused.html.j2", code=code, problem=text, remedy=""), code

    @app.errorhandler(SynthreleaseError)
    def explained(error: SynthreleaseError) -> tuple[str, int]:
        return render_template("refused.html.j2", code=409, problem=error.problem, remedy=error.remedy), 409

    @app.context_processor
    def always() -> dict[str, object]:
        return {"session": g.get("session")}


def _add_doors(app: Flask, gate: Gate) -> None:
    @app.get("/open")
    def enter() -> Page:
        if request.method == "HEAD":  # a preview must not use the token up
            abort(405)
        cookie = gate.admit(request.args.get("token", ""))
        if cookie is None:
            if gate.session(request.cookies.get(gate.cookie, "")):
                return redirect(url_for("start"), 303)  # the reader's own browser, going back in its history
            abort(403, "This address was used already, or is not complete. Each address lets one browser in, once.")
        response = redirect(url_for("start"), 303)
        response.set_cookie(gate.cookie, cookie, httponly=True, samesite="Strict")
        return response

    @app.get("/favicon.ico")
    def icon() -> Page:
        return Response(status=204)  # browsers ask for one

    @app.get("/review.css")
    def style() -> Page:
        return send_from_directory(_templates(), "review.css", mimetype="text/css")

    @app.get("/keys.js")
    def script() -> Page:
        return send_from_directory(_templates(), "keys.js", mimetype="text/javascript")


def _add_pages(app: Flask, desk: Desk, gate: Gate, finish: Callable[[], None]) -> None:
    @app.get("/")
    def start() -> Page:
        return _start(desk)

    @app.post("/reader")
    def reader() -> Page:
        name, role = _line("name"), _line("role") or READER
        problem = name_problem(name) or name_problem(role)
        if problem:
            return _start(desk, problem=problem), 400
        session = _session()
        session.reader, session.role = name, role
        return redirect(url_for("read"), 303)

    @app.post("/invite")
    def invite() -> Page:
        return _start(desk, invitation=gate.invite())

    @app.post("/keys")
    def keys() -> Page:
        session = _session()
        session.keys = not session.keys
        return redirect(url_for("start"), 303)

    @app.get("/read")
    def read() -> Page:
        following = desk.standing().next_unread(_session().reader)
        if not _session().reader:
            return redirect(url_for("start"), 303)
        return redirect(url_for("pair", pair_id=following.pair_id) if following else url_for("summary"), 303)

    @app.get("/summary")
    def summary() -> Page:
        standing, reader = desk.standing(), _session().reader
        if not reader:
            return redirect(url_for("start"), 303)
        finished = not standing.unread(reader)
        return render_template(
            "summary.html.j2",
            standing=standing,
            mine=standing.by(reader),
            finished=finished,
            # Nothing that tells planted pairs apart goes into the template before the reader is through.
            results=standing.reading if finished else None,
            rows=[_Row(standing, at, reader, finished) for at in range(len(standing.pairs))],
            evidence=shlex.quote(str(desk.evidence.folder)),
        )

    @app.post("/finish")
    def end() -> Page:
        finish()
        return render_template("finished.html.j2")


def _add_pair(app: Flask, desk: Desk) -> None:
    @app.get("/pair/<pair_id>")
    def pair(pair_id: str) -> Page:
        if not _session().reader:
            return redirect(url_for("start"), 303)
        standing = desk.standing()
        at, _ = _found(standing, pair_id)
        return _pair_page(standing, at)

    @app.post("/pair/<pair_id>")
    def answer(pair_id: str) -> Page:
        session = _session()
        if not session.reader:
            return redirect(url_for("start"), 303)
        standing = desk.standing()
        at, shown = _found(standing, pair_id)
        given = next((known for known in ANSWERS if known == request.form.get("answer")), None)
        reason = _line("reason")
        problem = _answer_problem(shown, given, reason)
        if problem or given is None:
            return _pair_page(standing, at, problem=problem, given=given or "", reason=reason), 400
        before = standing.by(session.reader).get(shown.pair_id)
        if before is None or (before.answer, before.reason) != (given, reason):  # saving twice says nothing new
            desk.answer(shown, given, by=session.reader, role=session.role, reason=reason)
        return redirect(_after(desk.standing(), shown, session.reader), 303)

    @app.get("/picture/<pair_id>.png")
    def picture(pair_id: str) -> Page:
        _, shown = _found(desk.standing(), pair_id)
        return Response(pictures.picture(desk.evidence, shown), mimetype="image/png")


def _after(standing: Standing, shown: PairInfo, reader: str) -> str:
    """Return where to go after an answer: due pairs first, then the next optional one, then the summary."""
    following = standing.next_unread(reader, shown.pair_id)
    if following is None and not reading.is_due(shown):
        mine, (at, _) = standing.by(reader), _found(standing, shown.pair_id)
        following = next((pair for pair in standing.pairs[at:] if pair.pair_id not in mine), None)
    return url_for("pair", pair_id=following.pair_id) if following else url_for("summary")


def _start(desk: Desk, *, problem: str = "", invitation: str = "") -> str:
    standing = desk.standing()
    reader = _session().reader
    return render_template(
        "start.html.j2",
        standing=standing,
        read=len(standing.due) - len(standing.unread(reader)) if reader else 0,
        problem=problem,
        invitation=invitation,
        name=_line("name"),
        role=_line("role"),
        longest=LONGEST_NAME,
    )


def _pair_page(standing: Standing, at: int, *, problem: str = "", given: str = "", reason: str = "") -> str:
    shown, reader = standing.pairs[at], _session().reader
    mine = standing.by(reader)
    before = mine.get(shown.pair_id)
    others = [s for name, s in standing.said.get(shown.pair_id, {}).items() if name != reading.same_name(reader)]
    return render_template(
        "pair.html.j2",
        pair=shown,
        at=at,
        standing=standing,
        read=len(standing.due) - len(standing.unread(reader)),
        before=before,
        opened=None if standing.unread(reader) else shown,  # names and scores wait until the reader is through
        others=others if before else (),  # shown afterwards, so that nobody is led by them
        given=given or (before.answer if before else ""),
        reason=reason or (before.reason if before and not problem else ""),
        reasons={answer: needs_reason(shown, answer) for answer in ANSWERS},
        suggested=_earlier_reasons(mine),
        problem=problem,
        longest=LONGEST_REASON,
    )


class _Row:
    """One pair in the summary; what it is stays closed until its reader is through."""

    def __init__(self, standing: Standing, at: int, reader: str, finished: bool) -> None:
        pair = standing.pairs[at]
        said = standing.said.get(pair.pair_id, {})
        self.at, self.pair_id, self.due = at, pair.pair_id, reading.is_due(pair)
        self.mine = said.get(reading.same_name(reader))
        self.said = tuple(said.values()) if self.mine else ()
        self.differ = len({item.answer for item in self.said}) > 1
        self.opened = pair if finished else None
        self.holding = standing.holding.get(pair.pair_id, "") if self.mine else ""


def name_problem(name: str) -> str:
    """Return why this cannot be a reader's name or role in the log; empty if it can."""
    if not name:
        return "Please give your name: it goes into the log with every answer."
    if len(name) > LONGEST_NAME:
        return f"Names and roles have at most {LONGEST_NAME} characters."
    if formats.shown(name) != name:
        return "Names and roles hold visible characters only."
    return ""


def _answer_problem(pair: PairInfo, given: Answer | None, reason: str) -> str:
    if given is None:
        return "Please choose one of the three answers."
    if len(reason) > LONGEST_REASON:
        return f"A reason has at most {LONGEST_REASON} characters."
    if needs_reason(pair, given) and not reason:
        return f"Please give a reason for \u201c{given}\u201d: what did you see that speaks for it?"
    return ""


def _earlier_reasons(mine: dict[str, Said]) -> list[str]:
    latest = sorted((said for said in mine.values() if said.reason), key=lambda said: said.time, reverse=True)
    return list(dict.fromkeys(said.reason for said in latest))[:MOST_SUGGESTED]


def _found(standing: Standing, pair_id: str) -> tuple[int, PairInfo]:
    found = standing.find(pair_id)  # only what the index lists: an address never becomes a path
    if found is None:
        abort(404, "There is no such pair here. If the audit was run again, go back to the start.")
    return found


def _session() -> Session:
    session: Session = g.session
    return session


def _line(name: str) -> str:
    """Return a field of the form as one line."""
    return " ".join(request.form.get(name, "").split())
