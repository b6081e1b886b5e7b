"""The review page against those who must not come in: other users, other web pages, and hostile words."""

from __future__ import annotations

import html
import re

import pytest
from review_helpers import DUE, HOST, KINDS, ORIGIN, PORT, Browser, browser, make_evidence, outsider, pair_id, pair_info

from synthrelease.decision import log
from synthrelease.decision.folder import Evidence
from synthrelease.review.gate import Gate

PATHS = ("/", "/read", "/summary", f"/pair/{pair_id('suspect a')}", f"/picture/{pair_id('suspect a')}.png", "/nothing")
FORMS = ("/reader", "/invite", "/keys", "/finish", f"/pair/{pair_id('suspect a')}")
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u202egnp.exe{{ 7*7 }}\n</form>"


@pytest.fixture
def evidence(tmp_path) -> Evidence:
    return make_evidence(tmp_path)


@pytest.fixture
def ada(evidence) -> Browser:
    return browser(evidence)


# --- coming in --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
def test_without_the_terminals_address_nothing_is_shown(evidence, path):
    refused = outsider(evidence).get(path)

    assert refused.status_code == 403
    assert "synthrelease review" in refused.text
    assert pair_id("suspect a") not in refused.text


@pytest.mark.parametrize("path", FORMS)
def test_without_a_session_no_form_is_taken(evidence, path):
    nobody = outsider(evidence)

    assert nobody.post(path, answer="copy", name="Eve").status_code == 403
    assert not nobody.ended
    assert not log.read(evidence.folder)


@pytest.mark.parametrize("token", ["", "x", "0" * 43, "%00", "\u20ac" * 20, "../" * 9])
def test_a_guessed_token_opens_nothing(evidence, token):
    nobody = outsider(evidence)
    nobody.gate.invite()

    refused = nobody.get(f"/open?token={token}")

    assert refused.status_code == 403
    assert "Set-Cookie" not in refused.headers


def test_a_token_works_once_and_the_second_use_says_what_to_do(evidence):
    ada = outsider(evidence)
    address = ada.gate.invite().removeprefix(ORIGIN)
    eve = Browser(ada.desk, ada.gate)

    assert ada.get(address).status_code == 303
    refused = eve.get(address)

    assert refused.status_code == 403
    assert "Set-Cookie" not in refused.headers
    assert "used already" in refused.text
    assert "start <code>synthrelease review</code> again" in refused.text
    assert eve.get("/").status_code == 403
    assert ada.get(address).headers["Location"] == "/"  # her own browser may go back


def test_a_preview_does_not_use_the_token_up(evidence):
    ada = outsider(evidence)
    address = ada.gate.invite().removeprefix(ORIGIN)

    assert ada.client.head(address, base_url=ORIGIN).status_code == 405
    assert ada.get(address).status_code == 303


def test_two_browsers_racing_for_one_token_do_not_both_get_in(evidence):
    from concurrent.futures import ThreadPoolExecutor

    gate = Gate()
    gate.port = PORT
    token = gate.invite().partition("token=")[2]

    with ThreadPoolExecutor(16) as pool:
        cookies = list(pool.map(gate.admit, [token] * 64))

    assert len([cookie for cookie in cookies if cookie]) == 1


def test_the_cookie_is_kept_from_scripts_and_other_sites(evidence):
    nobody = outsider(evidence)
    cookie = nobody.get(nobody.gate.invite().removeprefix(ORIGIN)).headers["Set-Cookie"]

    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Domain" not in cookie


def test_another_programs_cookie_opens_nothing(evidence):
    other = browser(evidence)
    cookie = other.client.get_cookie(other.gate.cookie, domain="127.0.0.1")
    assert cookie
    fresh = outsider(evidence)
    fresh.client.set_cookie(fresh.gate.cookie, cookie.value, domain="127.0.0.1")

    assert fresh.get("/").status_code == 403


# --- other web pages in the steward's browser -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["evil.example", f"evil.example:{PORT}", "127.0.0.1", "127.0.0.1:80", "localhost:1", f"[::1]:{PORT}", ""]
)
@pytest.mark.parametrize("path", ["/", "/review.css", "/open?token=x"])
def test_under_another_host_nothing_is_shown(ada, host, path):
    """DNS rebinding: a hostile name that points to 127.0.0.1."""
    assert ada.client.get(path, base_url=ORIGIN, headers={"Host": host}).status_code == 403


def test_the_name_localhost_leads_to_the_same_page(evidence):
    nobody = outsider(evidence)
    assert nobody.client.get("/review.css", base_url=f"http://localhost:{PORT}").status_code == 200


def test_before_the_port_is_known_nobody_comes_in(evidence):
    nobody = outsider(evidence)
    nobody.gate.port = 0
    assert nobody.client.get("/review.css", base_url="http://127.0.0.1:0").status_code == 403


@pytest.mark.parametrize(
    "origin", [None, "null", "http://evil.example", "http://127.0.0.1", f"https://{HOST}", ORIGIN + "0"]
)
@pytest.mark.parametrize("path", FORMS)
def test_a_form_from_another_page_is_refused(evidence, ada, origin, path):
    headers = {} if origin is None else {"Origin": origin}
    data = {**ada.form_token(), "answer": "copy", "name": "Eve"}

    assert ada.client.post(path, base_url=ORIGIN, headers=headers, data=data).status_code == 403
    assert not log.read(evidence.folder)
    assert not ada.ended


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_request_that_the_browser_says_comes_from_elsewhere_is_refused(ada, site):
    assert ada.get("/summary", **{"Sec-Fetch-Site": site}).status_code == 403
    assert ada.get("/summary", **{"Sec-Fetch-Site": "same-origin"}).status_code == 200


@pytest.mark.parametrize("token", ["", "x", "\u20ac"])
@pytest.mark.parametrize("path", FORMS)
def test_a_form_without_its_token_is_refused(evidence, ada, token, path):
    data = {"form_token": token, "answer": "copy", "name": "Eve"}

    assert ada.client.post(path, base_url=ORIGIN, headers={"Origin": ORIGIN}, data=data).status_code == 403
    assert not log.read(evidence.folder)
    assert not ada.ended


def test_the_form_token_of_one_session_is_worth_nothing_in_another(evidence, ada):
    ben = Browser(ada.desk, ada.gate).enter("Ben")

    assert ben.post("/finish", **ada.form_token()).status_code == 403
    assert ben.post("/finish").status_code == 200


@pytest.mark.parametrize("path", [*PATHS, "/review.css", "/keys.js", "/open?token=x", "/favicon.ico"])
def test_every_answer_carries_the_strict_headers(ada, path):
    headers = ada.get(path).headers

    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy == {
        "default-src": "'none'",
        "img-src": "'self'",
        "style-src": "'self'",
        "script-src": "'self'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
    }
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["X-Frame-Options"] == "DENY"
    assert "Access-Control-Allow-Origin" not in headers


# --- odd requests -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/picture/../../audit.json",
        "/picture/..%2f..%2faudit.png",
        "/picture/%2e%2e/index.png",
        "/picture/index.json",
        "/pair/../../etc/passwd",
        "/pair/%00",
        "/templates/review/base.html.j2",
        "/review.css/../base.html.j2",
        "/base.html.j2",
    ],
)
def test_no_address_leads_to_another_file(ada, path):
    answered = ada.get(path)

    assert answered.status_code in {404, 308}
    assert "{%" not in answered.text
    assert "schema_version" not in answered.text


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "OPTIONS"])
def test_other_methods_change_nothing(evidence, ada, method):
    data = {**ada.form_token(), "answer": "copy"}
    answered = ada.client.open(f"/pair/{pair_id('suspect a')}", method=method, base_url=ORIGIN, data=data)

    assert answered.status_code in {200, 403, 405}
    assert not answered.text or "form_token" not in answered.text
    assert not log.read(evidence.folder)


def test_a_large_form_is_refused(evidence, ada):
    answered = ada.answer("suspect a", "not a copy", "x" * 20_000)

    assert answered.status_code == 413
    assert not log.read(evidence.folder)


def test_a_form_of_many_fields_is_refused(evidence, ada):
    many = {f"f{number}": ("x", f"{number}.txt") for number in range(40)}
    data = {**ada.form_token(), "answer": "copy", **{name: str(value) for name, value in many.items()}}
    answered = ada.client.post(
        f"/pair/{pair_id('suspect a')}",
        base_url=ORIGIN,
        headers={"Origin": ORIGIN},
        data=data,
        content_type="multipart/form-data",
    )

    assert answered.status_code == 413
    assert not log.read(evidence.folder)


def test_a_fault_of_the_program_tells_no_details(evidence, ada, monkeypatch):
    ada.client.application.testing = False
    monkeypatch.setattr(ada.desk, "standing", lambda: 1 / 0)

    answered = ada.get("/summary")

    assert answered.status_code == 500
    assert "ZeroDivisionError" not in answered.text
    assert answered.headers["Cache-Control"] == "no-store"


# --- hostile words ----------------------------------------------------------------------------------------------------


def test_hostile_names_of_images_and_contrasts_stay_text(tmp_path):
    changes = {"image_id": HOSTILE, "train_image_id": HOSTILE, "train_subject": HOSTILE, "holdout_image_id": HOSTILE}
    pairs = [pair_info(name, **changes, channels=(HOSTILE, "t1ce", "flair")) for name in KINDS if name != "part a"]
    reader = browser(make_evidence(tmp_path, pairs))
    for name in DUE:
        reader.answer(name, "copy")

    pages = [reader.get(path).text for path in ("/summary", f"/pair/{pair_id('suspect a')}")]

    assert all(html.escape("<script>alert(1)", quote=False) in page for page in pages)
    assert not [page for page in pages if hostile_markup(page)]
    assert reader.get(f"/picture/{pair_id('suspect a')}.png").status_code == 200


def test_hostile_reasons_and_readers_stay_text(evidence, ada):
    ada.answer("suspect a", "not a copy", HOSTILE)
    eve = Browser(ada.desk, ada.gate).enter("<b>Eve</b>\"'", role="<i>{{ 7*7 }}</i>")
    eve.answer("suspect a", "copy", "")

    pages = [
        reader.get(path).text
        for reader in (ada, eve)
        for path in ("/", "/summary", f"/pair/{pair_id('suspect a')}", f"/pair/{pair_id('copy a')}")
    ]

    assert not [page for page in pages if hostile_markup(page)]
    assert "&lt;b&gt;Eve" in pages[-1]
    (entry, _) = log.read(evidence.folder)
    assert entry.reason == " ".join(HOSTILE.split()), "kept as it was said, on one line"
    assert len((evidence.folder / log.NAME).read_bytes().splitlines()) == 2


def hostile_markup(page: str) -> list[str]:
    """Return what came through: other scripts than the page's own, images of others, handlers, or direction marks."""
    scripts = [tag for tag in re.findall(r"<script[^>]*>", page) if tag != '<script src="/keys.js" defer>']
    images = [tag for tag in re.findall(r"<img[^>]*>", page) if not tag.startswith('<img src="/picture/')]
    handlers = re.findall(r"<[^>]*\son\w+=[^>]*>", re.sub(r'"[^"]*"', '""', page))
    return [*scripts, *images, *handlers, *re.findall("<b>|<i>|\u202e|>49<", page)]


def test_an_invitation_goes_to_the_reader_alone_and_works(ada):
    page = ada.post("/invite").text
    address = html.unescape(re.findall(r"<code>(http[^<]+)</code>", page)[0]).removeprefix(ORIGIN)
    ben = Browser(ada.desk, ada.gate)

    assert ben.get(address).status_code == 303
    assert "Who reads?" in ben.get("/").text
    assert address.partition("=")[2] not in ada.get("/").text
