"""The page of an evaluation in a real browser: it shows, it plays, it fits, and it loads nothing."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from html_report import EVIL, PLAIN, clip, make_report, make_scores

from voxid.evaluation.report import tables, write_html

pytestmark = pytest.mark.usefixtures("real_figures")

playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    report = make_report()
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_html(path, report, make_scores(report), clip)
    return path


def find_chromium() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return os.environ.get("VOXID_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="module")
def chromium() -> str:
    """A real Chromium: the one that is here, else one that apt-get installs."""
    if found := find_chromium():
        return found
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    apt = [*sudo, "apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=200"]
    for command in ([*apt, "update"], [*apt, "install", "chromium"]):
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=280)
        except (OSError, subprocess.SubprocessError) as error:
            pytest.skip(
                f"no Chromium, and {' '.join(command)} failed ({error}): install one, or set VOXID_CHROMIUM"
            )
    if found := find_chromium():
        return found
    pytest.skip("no Chromium, not even after apt-get install chromium: set VOXID_CHROMIUM")


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium, args=["--mute-audio"])
        yield opened
        opened.close()


@pytest.fixture
def tab(browser: Any, written: Path) -> Iterator[Any]:
    """The page in a tab of 1400 x 900; at the end: nothing was complained about, nothing was loaded."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    opened = context.new_page()
    complaints: list[str] = []
    requests: list[str] = []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda request: requests.append(request.url))
    opened.goto(written.as_uri())
    yield opened
    context.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith(("file://", "blob:"))] == []


def test_the_browser_shows_tables_and_figures(tab: Any) -> None:
    assert tab.evaluate("window.hacked") is None
    header, first, second = tab.locator("#headline tr").all()
    assert header.locator("th").count() == first.locator("th, td").count() == len(tables.COLUMNS) + 2
    assert first.locator("th").inner_text() == EVIL
    assert second.locator("th").inner_text() == PLAIN
    assert [cell.split("\n")[0] for cell in first.locator("td").all_inner_texts()[1:3]] == ["0.654", "0.457"]
    assert first.locator(".best").first.inner_text().endswith("12.34")
    assert tab.locator("#by-group tbody tr:not(.kind)").count() == 4
    for figure in tab.locator("figure svg").all():
        box = figure.bounding_box()
        assert box["width"] > 300
        assert box["height"] > 150
    assert tab.locator("figure svg").count() == 1 + 2 + 2  # DET, histograms, calibration of the first
    text = tab.locator("#det-figure svg text", has_text=PLAIN)
    assert text.is_visible()
    assert f"{PLAIN}: EER" in text.text_content()


def test_recordings_play(tab: Any) -> None:
    button = tab.locator("button.play").first
    button.scroll_into_view_if_needed()
    button.focus()
    tab.keyboard.press("Enter")
    playing = "() => document.querySelector('audio')?.currentTime > 0.3"
    tab.wait_for_function(playing, timeout=200_000)
    assert tab.evaluate("document.querySelector('audio').error") is None
    assert tab.evaluate("document.querySelector('audio').duration") == pytest.approx(1.0, abs=0.15)
    tab.wait_for_function("() => document.querySelector('audio').paused", timeout=200_000)
    assert button.get_attribute("aria-pressed") == "false"


def test_a_playing_recording_stops_when_another_starts(tab: Any) -> None:
    long = tab.locator('button.play[data-seconds="10.0"]').first
    long.click()
    tab.wait_for_function("() => document.querySelector('audio').currentTime > 0.1", timeout=200_000)
    assert long.get_attribute("aria-pressed") == "true"
    tab.locator("button.play").first.click()
    tab.wait_for_function("() => document.querySelectorAll('audio').length === 2", timeout=200_000)
    assert long.get_attribute("aria-pressed") == "false"


def test_both_sides_play_one_after_the_other(tab: Any) -> None:
    row = tab.locator("table.worst tbody tr").first
    row.locator("button.both").click()
    tab.wait_for_function("() => document.querySelectorAll('audio').length === 2", timeout=200_000)
    # seen in one look, since the second recording lasts a second and may be over before another look
    second_plays = """() => {
        const [first, second] = document.querySelectorAll("audio")
        const row = document.querySelector("table.worst tbody tr")
        const pressed = [...row.querySelectorAll("button.play")]
            .map((button) => button.getAttribute("aria-pressed"))
        return first.paused && second.currentTime > 0.2 && pressed.join() === "false,true"
    }"""
    tab.wait_for_function(second_plays, timeout=200_000)
    assert row.locator("button.play").count() == 2


@pytest.mark.parametrize("width", [360, 768, 1400])
def test_the_page_never_scrolls_sideways(tab: Any, width: int) -> None:
    tab.set_viewport_size({"width": width, "height": 800})
    tab.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true })")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    tab.evaluate("window.scrollTo(500, 0)")
    assert tab.evaluate("window.scrollX") == 0


def test_wide_tables_scroll_in_their_own_box(tab: Any) -> None:
    tab.set_viewport_size({"width": 360, "height": 800})
    box = tab.locator("#headline").locator("xpath=..")
    assert box.evaluate("(box) => box.scrollWidth > box.clientWidth")
    assert box.get_attribute("tabindex") == "0"  # so that a keyboard can scroll it
    box.evaluate("(box) => { box.scrollLeft = 300 }")
    assert tab.locator("#headline tbody th").first.bounding_box()["x"] == pytest.approx(
        box.bounding_box()["x"], abs=2
    )


def test_everything_has_a_name_for_those_who_do_not_see_it(tab: Any) -> None:
    assert tab.get_attribute("html", "lang") == "en"
    assert tab.title() == "Speaker verification on a <corpus>"
    unnamed = """(query) => [...document.querySelectorAll(query)].filter((part) =>
        !(part.getAttribute('aria-label') || part.textContent).trim()).length"""
    for query in ("svg", "button", "a", "summary", "[role=region]", "h1, h2, h3", "th"):
        assert tab.locator(query).count(), query
        assert tab.evaluate(unnamed, query) == 0, query
    assert tab.evaluate(
        "() => [...document.querySelectorAll('table')].every((table) => table.caption && table.tHead)"
    )
    assert tab.evaluate("() => [...document.querySelectorAll('th')].every((th) => th.scope)")
    ids = tab.evaluate("() => [...document.querySelectorAll('[id]')].map((part) => part.id)")
    assert len(ids) == len(set(ids))
    for link in tab.locator('a[href^="#"]').all():
        assert link.get_attribute("href")[1:] in ids
    levels = tab.evaluate(
        "() => [...document.querySelectorAll('h1, h2, h3')].map((h) => Number(h.tagName[1]))"
    )
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(tab: Any, scheme: str) -> None:
    tab.emulate_media(color_scheme=scheme)
    paper = luminance(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert (paper > 0.5) == (scheme == "light")
    for query, style in (
        ("p", "color"), ("caption", "color"), ("a[href='#results']", "color"), (".best", "color"),
        (".few", "color"), (".interval", "color"), ("figure svg text", "fill"),
    ):  # fmt: skip
        ink = luminance(tab.locator(query).last.evaluate(f"(part) => getComputedStyle(part).{style}"))
        assert contrast(ink, paper) >= 4.5, query
    line = tab.locator("#det-line2d_1 path, #det-figure path[clip-path]").first
    assert line.count()
    curves = tab.evaluate("""() => [...document.querySelectorAll('#det-figure path')].map((path) =>
        getComputedStyle(path)).filter((s) => parseFloat(s.strokeWidth) === 2).map((s) => s.stroke)""")
    assert len(set(curves)) >= 2
    assert all(contrast(luminance(color), paper) >= 3 for color in curves)


def luminance(color: str) -> float:
    """Return the relative luminance of "rgb(r, g, b)" (WCAG 2)."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def contrast(one: float, other: float) -> float:
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


def test_on_paper_nothing_is_folded(tab: Any) -> None:
    assert tab.locator("details:not([open])").count() > 0
    tab.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert tab.locator("details:not([open])").count() == 0
    tab.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert tab.locator("details:not([open])").count() > 0
