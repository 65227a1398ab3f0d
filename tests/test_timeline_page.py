"""The page of a timeline in a real Chromium: it plays, it fits, it loads nothing, names are no markup."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hearing import RATE, say
from test_html_browser import browser, chromium, playwright  # noqa: F401 -- fixtures

from voxid.timeline import Timeline, TimelineSpeaker, Turn
from voxid.timeline import page as page_room
from voxid.timeline.page import options_of, page

expect = playwright.expect
EVIL = "</script><img src=x onerror=alert(1)> O'Hara & co"
FOUND = Timeline(
    (Turn(0.5, 2.0, EVIL, 7.1, 1.4, 0.99), Turn(2.5, 4.0, "unknown 1", -3.0, 1.4, 0.5)),
    (
        TimelineSpeaker(EVIL, True, 1.4, 1, EVIL, 7.1, 2.9, 0.98),
        TimelineSpeaker("unknown 1", False, 1.4, 1, EVIL, -3.0, 2.9, 0.01),
    ),
    5.0,
    "talk",
    1,
    ("overlapped speech is not found.",),
)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    sound = np.concatenate((say(0, 1, 2.0)[0], say(1, 1, 3.0)[0]))
    soundfile.write(tmp_path / "my talk.wav", sound, RATE)
    made = page(FOUND, tmp_path / "my talk.wav", options=options_of(db="my people.db"))
    (tmp_path / "out.html").write_text(made)
    return tmp_path / "out.html"


def test_the_page_shows_plays_and_says_how_to_enroll(browser: Any, written: Path) -> None:  # noqa: F811
    for width, scheme in ((1100, "light"), (390, "dark")):
        context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
        tab, said, asked = context.new_page(), [], []
        tab.on("console", lambda message, said=said: said.append(message.text))
        tab.on("pageerror", lambda error, said=said: said.append(str(error)))
        tab.on("request", lambda request, asked=asked: asked.append(request.url))
        tab.goto(written.as_uri())
        assert tab.locator("img").count() == 0
        assert tab.locator(".turn b").all_inner_texts() == [EVIL, "unknown 1"]
        assert tab.locator(".turn .doubt").count() == 1
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        tab.locator(".turn").nth(1).click()
        expect(tab.locator("#play")).to_have_attribute("aria-label", "Pause")
        expect(tab.locator(".turn.now b")).to_have_text("unknown 1")
        expect(tab.locator("#play")).to_have_attribute("aria-label", "Play")  # it ends where the turn does
        assert 4.0 <= tab.evaluate("audio.currentTime") < 4.6
        tab.fill("input", "Zoë O'Neil; rm *")
        command = shlex.split(tab.inner_text("code"))
        wanted = ["voxid", "enroll", "Zoë O'Neil; rm *", "--from", str(written.parent / "my talk.wav")]
        assert command == [*wanted, "--speaker", "unknown 1", "--db", "my people.db"]
        assert said == []
        assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
        context.close()


def test_a_long_recording_is_linked(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_room, "EMBED_S", 1.0)
    made = page(FOUND, written.parent / "my talk.wav", folder=written.parent / "pages")
    data = json.loads(made.split('id="data">')[1].split("</script>")[0])
    assert data["src"] == "../my%20talk.wav"
    assert "keep it where it is" in data["sound"]
    assert "base64" not in data["src"]
    assert max(data["peaks"]) == 255
