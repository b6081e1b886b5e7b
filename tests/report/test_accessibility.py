"""Both editions in Chromium: axe-core finds no serious violation, and no page is wider than a telephone.

Runs where SYNTHRELEASE_AXE names a folder in which `npm install axe-core puppeteer-core` was run, and Node and a
Chromium are there; skipped elsewhere.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from release_sample import sample_decision, sample_public
from sample import sample_pairs, sample_record

from synthrelease.report.public import public_page
from synthrelease.report.views import audit_page

SCRIPT = """
const [folder, chromium, page, width, scheme] = process.argv.slice(2);
const require = (await import("module")).createRequire(folder + "/");
const axe = (await import("fs")).readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const browser = await require("puppeteer-core").launch({
  executablePath: chromium, args: ["--no-sandbox"], headless: true });
const tab = await browser.newPage();
await tab.setViewport({ width: Number(width), height: 900 });
await tab.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
await tab.setBypassCSP(true);  // for axe alone: the page itself may run nothing
await tab.goto("file://" + page);
const wide = await tab.evaluate(() => document.documentElement.scrollWidth);
await tab.evaluate(() => document.querySelectorAll("details").forEach((d) => { d.open = true; }));
await tab.evaluate(axe);
const found = await tab.evaluate(() => window.axe.run());
const serious = found.violations.filter((v) => ["serious", "critical"].includes(v.impact));
console.log(JSON.stringify({ wide, checked: found.passes.length,
  violations: serious.map((v) => [v.id, v.nodes.map((n) => n.html)]) }));
await browser.close();
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    record = sample_record()
    random = np.random.default_rng(0)
    released = [random.integers(0, 256, (5, 64, 64), dtype=np.uint8) for _ in range(3)]
    texts = {
        "public": public_page(sample_public(), released),
        "internal": audit_page(record, sample_pairs(record, 64)[:2], decision=sample_decision()),
    }
    folder = tmp_path_factory.mktemp("pages")
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in texts}


def _looked_at(page: Path, width: int, scheme: str) -> Any:
    folder = os.environ.get("SYNTHRELEASE_AXE", "")
    node = shutil.which("node")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not (node and chromium and folder and (Path(folder) / "node_modules" / "axe-core").is_dir()):
        pytest.skip("set SYNTHRELEASE_AXE to a folder with axe-core and puppeteer-core; needs node and chromium")
    script = page.with_suffix(".mjs")
    script.write_text(SCRIPT, encoding="utf-8")
    arguments = [node, str(script), folder, chromium, str(page), str(width), scheme]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=True)
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("edition", ["public", "internal"])
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "light"), (1280, "dark")])
def test_axe_finds_nothing_serious_and_the_page_fits(pages, edition, width, scheme):
    found = _looked_at(pages[edition], width, scheme)

    assert found["checked"] > 15
    assert found["violations"] == []
    assert found["wide"] <= width
