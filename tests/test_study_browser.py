"""The study in a real browser: scripted raters use keys and mouse, stop, come back, and the report reads them.

Needs playwright (`pip install playwright`) and a Chromium on the path; skipped by name where either is missing.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prefgen.study import read_answers, study_report, study_server
from prefgen.study.records import Key, Study
from prefgen.study.serve import address_of
from small_study import new_study

BROWSER = next((p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium on the path to show the study's page in"),
]
KEYS = {"left": "ArrowLeft", "right": "ArrowRight", "tie": "n"}


@pytest.fixture
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Path, Study, Key, str]]:
    study, key = new_study(tmp_path / "s", 8)
    server = study_server(tmp_path / "s")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield tmp_path / "s", study, key, address_of(server)
    server.shutdown()
    thread.join()
    server.server_close()


def begin(browser: Any, address: str, name: str, **viewport: int) -> Any:
    """A page of a browser that knows nobody, begun under a name; any error of its script fails the test."""

    def trouble(error: object) -> None:
        raise AssertionError(f"the page's script failed: {error}")

    page = browser.new_context(viewport={"width": 900, "height": 900} | viewport).new_page()
    page.on("pageerror", trouble)
    page.goto(address)
    page.fill("#name", name)
    page.click("text=Begin")
    return page


def asked(page: Any, study: Study) -> str:
    """The id of the question on show, by its left picture, once its buttons are free."""
    page.wait_for_selector("#left:not([disabled])")
    shown = page.get_attribute("#left img", "src").rsplit("/", 1)[1]
    return next(q.id for q in study.questions if q.left == shown)


def answer(page: Any, study: Study, key: Key, *, n: int, wants: str, mouse: bool = False) -> None:
    """Answers `n` questions as one who wants the first method (`a`) or the second, and looks at checks."""
    for _ in range(n):
        question = asked(page, study)
        truth = key.questions[question]
        first = truth.side if truth.kind == "check" or wants == "a" else {"left": "right", "right": "left"}[truth.side]
        before = page.text_content("#place")
        if mouse:
            page.click(f"#{first}")
        else:
            page.keyboard.press(KEYS[first])
        page.wait_for_function(
            "p => document.getElementById('place').textContent !== p || !asking.checkVisibility()", arg=before
        )


def test_raters_answer_by_key_and_mouse_come_back_and_are_reported(browser: Any, site: Any, tmp_path: Path) -> None:
    folder, study, key, address = site
    n = len(study.questions)
    page = begin(browser, address, "blue-heron")
    page.wait_for_selector("#likes img")
    answer(page, study, key, n=4, wants="a")
    page.screenshot(path=str(tmp_path / "question.png"))
    page = begin(browser, address, "Blue-Heron")
    asked(page, study)
    assert page.text_content("#place") == f"5 of {n}", "who comes back goes on where they stopped"
    page.keyboard.press("b")
    page.wait_for_function("document.getElementById('place').textContent.startsWith('4 ')")
    asked(page, study)
    assert page.locator("[aria-pressed=true]").count() == 1, "the answer given before is marked"
    answer(page, study, key, n=n - 3, wants="a")
    page = begin(browser, address, "red-fox")
    answer(page, study, key, n=n, wants="a", mouse=True)
    page.wait_for_selector("text=Thank you")
    page = begin(browser, address, "old-oak")
    answer(page, study, key, n=n, wants="b")
    kept = read_answers(folder, study)
    assert {a.rater for a in kept} == {"blue-heron", "red-fox", "old-oak"}
    report = study_report([folder])
    wins = next(r for r in report["rows"] if r["metric"].startswith("win_rate_over:"))
    assert wins["value"] == pytest.approx(2 / 3, abs=0.05)


def test_the_page_fits_a_phone_and_a_lost_server_is_told(browser: Any, site: Any) -> None:
    _, study, _, address = site
    page = begin(browser, address, "small-screen", width=360, height=740)
    asked(page, study)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.route("**/answers", lambda route: route.abort())
    page.click("#left")
    page.wait_for_selector("#trouble:not([hidden])")
    assert "not kept" in page.text_content("#trouble")
