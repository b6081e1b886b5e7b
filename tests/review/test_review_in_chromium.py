"""The review page in a real browser: clicks, keys, focus, and what the browser itself refuses."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from review_helpers import DUE, make_evidence, pair_id

from synthrelease.decision import log
from synthrelease.decision.folder import Evidence
from synthrelease.review.server import serve

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

AXE = os.environ.get("SYNTHRELEASE_AXE", "")  # axe-core's axe.min.js, from npm
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver")
SOON = 20


@pytest.fixture(scope="module")
def chromium(tmp_path_factory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    profile = tmp_path_factory.mktemp("profile")
    for argument in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={profile}"):
        options.add_argument(argument)
    if os.geteuid() == 0:  # chromium's own sandbox refuses to run as root
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(DRIVER, log_output=os.devnull)  # named, so that selenium looks for none
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


class Reader:
    """A person in front of the page."""

    def __init__(self, chromium: Any, folder: Path) -> None:
        self.browser, self.evidence = chromium, make_evidence(folder)
        self.told: list[str] = []
        self._ended = threading.Event()
        self._server = threading.Thread(target=self._serve)
        self._server.start()
        self.wait(lambda: len(self.told) >= 3)
        self.browser.get_log("browser")
        self.browser.get(self.told[0].split()[-1])

    def _serve(self) -> None:
        serve(self.evidence, open_browser=False, say=self.told.append)
        self._ended.set()

    def wait(self, condition: Any) -> None:
        WebDriverWait(self.browser, SOON, poll_frequency=0.05).until(lambda _: condition())

    def find(self, selector: str) -> Any:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def press(self, *keys: str) -> None:
        """Press keys where the focus is, as a keyboard does."""
        for key in keys:
            self.browser.switch_to.active_element.send_keys(key)

    def turns(self, act: Any) -> None:
        """Do something that leads to another page, and wait for it."""
        before = self.find("html")
        act()
        self.wait(lambda: _gone(before) and self.browser.execute_script("return document.readyState") == "complete")

    def give_name(self, name: str) -> None:
        self.find("#name").send_keys(name)
        self.turns(lambda: self.press(Keys.ENTER))

    def title(self) -> str:
        return str(self.find("h1").text)

    def focus(self) -> str:
        return str(self.browser.switch_to.active_element.get_attribute("id"))

    def chosen(self) -> str:
        return str(self.find("input[name=answer]:checked").get_attribute("value"))

    def end(self) -> None:
        if not self._ended.is_set():
            self.browser.get(f"{self.told[0].split()[-1].partition('/open')[0]}/summary")
            if not self.browser.find_elements(By.CSS_SELECTOR, "form[action='/finish']"):
                self.give_name("Last")
                self.browser.get(f"{self.told[0].split()[-1].partition('/open')[0]}/summary")
            self.find("form[action='/finish'] button").click()
        self._server.join(SOON)


def _gone(element: Any) -> bool:
    from selenium.common.exceptions import StaleElementReferenceException, WebDriverException

    try:
        element.is_enabled()
    except StaleElementReferenceException:
        return True
    except WebDriverException as error:
        # Asked while the page is being replaced, Chromium answers with its own words for the same.
        return "does not belong to the document" in str(error)
    return False


@pytest.fixture
def ada(chromium, tmp_path) -> Iterator[Reader]:
    reader = Reader(chromium, tmp_path)
    yield reader
    reader.end()


def said(evidence: Evidence) -> list[tuple[str, str]]:
    return [(str(entry.data["answer"]), entry.reason) for entry in log.read(evidence.folder)]


def test_a_whole_review_with_keys_alone(ada):
    ada.give_name("Ada Reader")
    assert ada.title() == "Pair 1 of 6"

    ada.press("1")
    assert (ada.chosen(), ada.focus()) == ("copy", "answer-1")
    ada.turns(lambda: ada.press(Keys.ENTER))
    assert ada.title() == "Pair 2 of 6"

    ada.press("2")
    assert (ada.chosen(), ada.focus()) == ("not a copy", "reason")
    ada.press("1 tumour, 2 cysts; no copy")  # digits and letters are text now
    assert ada.chosen() == "not a copy"
    ada.turns(lambda: ada.press(Keys.ENTER))
    assert ada.title() == "Pair 3 of 6"

    ada.press("3")
    ada.press(Keys.ESCAPE)
    assert ada.focus() == "answer-3"
    ada.press("1")
    ada.turns(lambda: ada.press(Keys.ENTER))

    assert ada.title() == "Pair 4 of 6"
    ada.turns(lambda: ada.press("p"))
    assert ada.title() == "Pair 3 of 6"
    assert ada.chosen() == "copy"
    ada.turns(lambda: ada.press("n"))
    for _ in range(3):
        ada.press("1")
        ada.turns(lambda: ada.press(Keys.ENTER))

    assert ada.title() == "You have read every pair"
    assert said(ada.evidence) == [
        ("copy", ""),
        ("not a copy", "1 tumour, 2 cysts; no copy"),
        *[("copy", "")] * 4,
    ]


def test_a_whole_review_with_clicks_alone(ada):
    ada.find("#name").send_keys("Ada Reader")
    ada.turns(ada.find("form[action='/reader'] button").click)
    for number in range(len(DUE)):
        assert ada.title() == f"Pair {number + 1} of 6"
        ada.find("label[for=answer-2]").click()
        ada.find("#reason").send_keys("other folds")
        ada.turns(ada.find(".say form button").click)
    assert ada.title() == "You have read every pair"
    ada.turns(ada.find("form[action='/finish'] button").click)

    assert ada.title() == "Review ended"
    assert said(ada.evidence) == [("not a copy", "other folds")] * 6


def test_the_browser_asks_for_the_reason_before_anything_is_sent(ada):
    ada.give_name("Ada Reader")
    ada.press("2", Keys.ENTER)

    assert ada.focus() == "reason"
    assert ada.browser.execute_script("return document.getElementById('reason').validity.valueMissing")
    assert ada.title() == "Pair 1 of 6"
    assert not said(ada.evidence)


def test_a_reason_does_not_stay_with_another_answer(ada):
    ada.give_name("Ada Reader")
    ada.press("2", "other folds")
    ada.turns(lambda: ada.press(Keys.ENTER))
    ada.turns(lambda: ada.press("p"))
    assert ada.find("#reason").get_attribute("value") == "other folds"
    ada.press("1")
    ada.turns(lambda: ada.press(Keys.ENTER))

    assert said(ada.evidence) == [("not a copy", "other folds"), ("copy", "")]


def test_keys_do_nothing_with_ctrl_and_can_be_turned_off(ada):
    ada.give_name("Ada Reader")
    ada.press(Keys.CONTROL + "2")
    assert not ada.browser.find_elements(By.CSS_SELECTOR, "input[name=answer]:checked")

    ada.browser.get(ada.browser.current_url.partition("/pair")[0])
    ada.turns(ada.find("form[action='/keys'] button").click)
    ada.turns(ada.find("a.button").click)
    ada.press("2")
    assert not ada.browser.find_elements(By.CSS_SELECTOR, "input[name=answer]:checked")
    ada.find("label[for=answer-1]").click()
    ada.turns(ada.find(".say form button").click)
    assert said(ada.evidence) == [("copy", "")]


def test_the_picture_is_drawn_and_the_policy_is_broken_by_nothing_of_ours(ada):
    ada.give_name("Ada Reader")

    assert ada.browser.execute_script("return document.querySelector('.look img').naturalWidth") > 1000
    complaints = [line["message"] for line in ada.browser.get_log("browser") if line["level"] in {"SEVERE", "WARNING"}]
    assert not complaints


def test_the_browser_runs_no_script_that_somebody_slips_in(ada):
    ada.give_name("<script>document.title='run'</script>")
    ada.browser.execute_script(
        "const s = document.createElement('script'); s.textContent = 'document.title=\"run\"'; document.body.append(s);"
    )

    assert ada.browser.title != "run"
    blocked = [
        line["message"] for line in ada.browser.get_log("browser") if "Content Security Policy" in line["message"]
    ]
    assert blocked


def test_another_web_page_in_the_same_browser_can_neither_read_nor_answer(ada, tmp_path):
    """The page's own cookie lies in this browser; a hostile page on another origin tries to use it."""
    ada.give_name("Ada Reader")
    home = ada.browser.current_url.partition("/pair")[0]
    action, picture = f"{home}/pair/{pair_id('suspect a')}", f"{home}/picture/{pair_id('suspect a')}.png"
    hostile = tmp_path / "hostile.html"
    hostile.write_text(
        f"<h1>hostile</h1><img src='{picture}'><iframe src='{home}/summary'></iframe>"
        f"<form method=post action='{action}'><input name=answer value=copy></form>"
    )
    ada.browser.get(hostile.as_uri())

    ada.wait(lambda: ada.browser.execute_script("return document.images[0].complete"))
    assert ada.browser.execute_script("return document.images[0].naturalWidth") == 0
    ada.turns(lambda: ada.browser.execute_script("document.forms[0].submit()"))
    assert ada.title() == "Not allowed"
    assert not said(ada.evidence)


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_cut_off(ada, width):
    ada.browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": False}
    )
    ada.give_name("Ada Reader")
    for path in ("/", "/summary", f"/pair/{pair_id('suspect a')}"):
        ada.browser.get(ada.told[0].split()[-1].partition("/open")[0] + path)
        beyond = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert ada.browser.execute_script(beyond) <= 0
    ada.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.skipif(not AXE, reason="set SYNTHRELEASE_AXE to axe-core's axe.min.js (npm install axe-core)")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_that_keeps_people_out(ada, scheme):
    setting = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    ada.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", setting)
    home = ada.browser.current_url.rstrip("/")
    complaints = _axe(ada.browser)
    ada.give_name("Ada Reader")
    for answer in ("1", "2"):
        complaints += _axe(ada.browser)
        ada.press(answer, *(["other folds"] if answer == "2" else []))
        ada.turns(lambda: ada.press(Keys.ENTER))
    for path in (f"/pair/{pair_id('suspect a')}", "/summary", "/nothing"):
        ada.browser.get(home + path)
        complaints += _axe(ada.browser)
    for _ in DUE[2:]:
        ada.browser.get(f"{home}/read")
        ada.press("1")
        ada.turns(lambda: ada.press(Keys.ENTER))
    complaints += _axe(ada.browser)
    ada.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})

    assert ada.title() == "You have read every pair"
    assert not complaints


def _axe(browser: Any) -> list[str]:
    """Return what axe-core finds on the page that is open; every rule of WCAG 2.2 AA and good practice."""
    browser.execute_script(Path(AXE).read_text(encoding="utf-8"))
    found = browser.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
    return [f"{item['impact']}: {item['id']}: {item['nodes'][0]['html']}" for item in found["violations"]]
