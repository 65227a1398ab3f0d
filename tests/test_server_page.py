"""The page in a real Chromium whose microphone hears real speech: enroll, verify, refuse, live, delete."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from service import Serving
from test_html_browser import chromium  # noqa: F401 -- a fixture

import voxid.audio

playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
axe = pytest.importorskip("axe_playwright_python.base", reason="pip install axe-playwright-python")
pytest.importorskip("fastapi", reason="pip install 'voxid[serve]'")
expect = playwright.expect
TALK_MS = 5_000
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    running = Serving(tmp_path_factory.mktemp("page"), "--set", "wanted_speech_s=4")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def voices(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """WAV files for the microphone: two takes of two people and of a stranger, and the three by turns."""
    folder, found = tmp_path_factory.mktemp("voices"), {}
    people = sorted((real_data / "LibriSpeech" / "test-other-mini").iterdir())
    waves = {}
    for name, person in zip(("ann", "ben", "stranger"), (people[0], people[3], people[6]), strict=True):
        files = sorted(person.rglob("*.flac"))
        waves[name] = [
            np.concatenate([voxid.audio.load(f) for f in files[a:b]]) for a, b in ((0, 5), (5, 10))
        ]
    quiet = np.zeros(24_000, np.float32)
    parts = [part for name in waves for part in (waves[name][1][:80_000], quiet)]
    for name, wave in [
        *((f"{n}{i}", w) for n, ws in waves.items() for i, w in enumerate(ws)),
        ("talk", np.concatenate(parts)),
    ]:
        found[name] = folder / f"{name}.wav"
        soundfile.write(found[name], wave, 16_000)
    return found


Open = Callable[..., Any]


@pytest.fixture(scope="module")
def listening(chromium: str, server: Serving, voices: dict[str, Path]) -> Iterator[Open]:  # noqa: F811
    """Open the page in a browser whose microphone hears a file."""
    with playwright.sync_playwright() as driver:

        @contextlib.contextmanager
        def opened(voice: str, view: str, **options: Any) -> Iterator[Any]:
            args = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
            args.append(f"--use-file-for-fake-audio-capture={voices[voice]}")
            browser = driver.chromium.launch(executable_path=chromium, args=args)
            page = browser.new_page(**options)
            errors: list[str] = []
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.goto(f"{server.url}/#{view}")
            expect(page.locator("#about")).to_contain_text("voxid", timeout=30_000)
            yield page
            assert errors == []
            browser.close()

        yield opened


def talk(page: Any, name: str = "", milliseconds: int = TALK_MS) -> str:
    """Press the button, let the voice talk, press it again; return the headline of the answer."""
    if name:
        page.fill("#name", name)
    page.click("#record")
    page.wait_for_timeout(milliseconds)
    if page.url.endswith("#enroll"):  # the page says when it is enough, as it does to a person
        expect(page.locator("#progress-text")).to_contain_text("enough", timeout=30_000)
    page.click("#record")
    page.wait_for_selector("#answer h2, #error:not([hidden])", timeout=60_000)
    return page.inner_text("#answer h2") if page.is_visible("#answer h2") else page.inner_text("#error")


def shot(page: Any, name: str) -> None:
    """Keep a picture for docs/service.md, where VOXID_SCREENSHOTS names a folder."""
    if folder := os.environ.get("VOXID_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/{name}.png", full_page=name.startswith("live"))


def violations(page: Any) -> list[str]:
    page.evaluate(Path(axe.AXE_FILE_PATH).read_text())
    found = page.evaluate("axe.run().then(found => found.violations.map(v => v.id + ': ' + v.nodes[0].html))")
    return list(found)


@pytest.mark.real
def test_people_speak_and_are_known(listening: Open, server: Serving, voices: dict[str, Path]) -> None:
    with listening("ann0", "enroll") as page:
        assert violations(page) == []
        assert talk(page, "Ann") == "Ann is enrolled"
        assert "of 4 s of speech" in page.inner_text("#progress-text")
        shot(page, "enroll")
        assert violations(page) == []
    with listening("ben0", "enroll", color_scheme="dark") as page:
        assert talk(page, "Ben") == "Ben is enrolled"
        shot(page, "enroll-dark")
        assert violations(page) == []
    with listening("ben1", "verify", viewport=PHONE, is_mobile=True, has_touch=True) as page:
        assert talk(page, "Ben") == "Yes, this is Ben"
        assert talk(page, "Ann") == "This does not sound like Ann"
        shot(page, "verify-phone")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.focus(".fact >> nth=1")
        assert page.is_visible(".fact:focus .tip")
        title, tip = (page.locator(one).bounding_box() for one in ("#answer .verdict", ".fact:focus .tip"))
        assert tip["y"] >= title["y"] + title["height"]  # what explains a number hides no answer
        assert violations(page) == []
    with listening("stranger0", "identify") as page:
        assert talk(page) == "I don’t know you"
        assert page.locator(".rank").count() == 2
        shot(page, "identify")
    for name in ("Ann", "Ben"):  # a turn of five seconds is compared with more than the button heard
        recording = {"file": voices[f"{name.lower()}0"].read_bytes()}
        path = f"/v1/collections/default/speakers/{name}/recordings"
        server.http.post(path, files=recording).raise_for_status()
    with listening("talk", "live") as page:
        page.click("#record")
        rows = page.locator(".row b")
        for name in ("Ann", "Ben", "unknown 1"):  # the file goes round
            expect(rows.filter(has_text=name).first).to_be_attached(timeout=60_000)
        assert page.is_visible(".lane .turn.open") or page.inner_text("#now-name") == "A pause."
        page.click("#record")
        expect(page.locator("#now-name")).to_have_text("That was it.", timeout=30_000)
        assert set(page.locator(".lane .name").all_inner_texts()) == {"Ann", "Ben", "unknown 1"}
        assert " s of speech in 0:" in page.inner_text("#live-facts")
        assert "was shown while you talked" in page.inner_text("#remark")
        shot(page, "live")
        page.emulate_media(color_scheme="dark")
        page.set_viewport_size(PHONE)
        shot(page, "live-phone")
        page.get_by_label("Who is unknown 1?").fill("Cleo")
        page.get_by_role("button", name="Enroll").click()
        expect(page.locator(".lane .name").last).to_have_text("Cleo", timeout=30_000)
        assert page.locator("button.row", has_text="Cleo").count()
        assert violations(page) == []
        page.goto(f"{server.url}/#people")
        page.wait_for_selector(".person")
        page.keyboard.press("Tab")
        page.locator("summary", has_text="Ann").press("Enter")
        page.wait_for_selector(".person tbody tr")
        shot(page, "people")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert violations(page) == []
        page.get_by_role("button", name="Delete Ann").click()
        page.click("#ask-yes")
        expect(page.locator(".person")).to_have_count(2, timeout=30_000)
        server.http.put("/v1/collections/default/speakers/Eve/opt-out").raise_for_status()
        page.goto(f"{server.url}/#settings")
        page.select_option("#by", "far")
        page.fill("#by-value", "0.05")
        page.click("#rule button")
        expect(page.locator("#trail tr")).not_to_have_count(0)
        page.get_by_role("button", name="Eve may be enrolled again").click()
        expect(page.locator("#outs")).to_have_text("Nobody.")
        expect(page.locator("#trail tr").last).to_contain_text("opted in")
        page.set_viewport_size(PHONE)
        shot(page, "settings-phone")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert violations(page) == []
    [collection] = server.http.get("/v1/collections").json()["collections"]
    assert collection["settings"] == {"far": 0.05}
    assert [
        one["name"] for one in server.http.get("/v1/collections/default/speakers").json()["speakers"]
    ] == ["Ben", "Cleo"]


EVIL = "<img src=x onerror=alert(1)>"


def turn(start: float, end: float, speaker: str, llr: float, confidence: float = 0.98) -> dict[str, Any]:
    made = {"start": start, "end": end, "speaker": speaker, "llr": llr, "speech_s": round(end - start, 2)}
    return {**made, "confidence": confidence, "channel": None, "doubtful": confidence < 0.7}


def someone(speaker: str, known: bool, speech_s: float, turns: int, llr: float) -> dict[str, Any]:
    made = {"speaker": speaker, "known": known, "speech_s": speech_s, "turns": turns, "nearest": "Ann"}
    return {**made, "llr": llr, "threshold": 3.1, "probability": 0.98 if known else 0.01}


@pytest.mark.slow
def test_what_is_doubtful_and_what_changed_is_said(listening: Open) -> None:
    """What the socket says is made up, so that each kind of turn is there."""
    told = [
        turn(0.4, 4.1, "unknown 1", 1.2),
        turn(4.6, 9.3, "Ben", 9.4),
        turn(9.8, 14.2, "Ann", 8.3),
        turn(14.6, 15.4, "Ben", 2.2, confidence=0.55),
        turn(16.1, 21.8, EVIL, -4.4),
    ]
    whole = [{**told[0], "speaker": "Ann", "llr": 6.2}, *told[1:], turn(22.5, 24.0, "unknown 2", -7.0)]
    final = {
        "type": "final",
        "turns": whole,
        "speakers": [
            someone("Ann", True, 8.1, 2, 11.3),
            someone("Ben", True, 5.5, 2, 6.9),
            someone(EVIL, True, 5.7, 1, 4.4),
            someone("unknown 2", False, 1.5, 1, -7.0),
        ],
        "warnings": ["overlapped speech is not found."],
        "changes": [{"start": 0.4, "end": 4.1, "told": "unknown 1", "speaker": "Ann"}],
    }
    said = [
        *({"type": "turn", "start_s": one["start"], "end_s": one["end"], **one} for one in told),
        {"type": "heard", "at_s": 24.0, "net_speech_s": 19.2, "turn": {"start_s": 22.5}, **whole[-1]},
    ]

    def service(socket: Any) -> None:
        def answer(message: str | bytes) -> None:
            asked = json.loads(message) if isinstance(message, str) else {}
            if asked.get("type") == "start":
                assert asked["question"] == "timeline"
            told = {"start": [{"type": "ready"}, *said], "end": [final]}.get(asked.get("type", ""), [])
            for one in told:
                socket.send(json.dumps(one))

        socket.on_message(answer)

    for options in ({}, {"viewport": PHONE, "is_mobile": True, "has_touch": True, "color_scheme": "dark"}):
        with listening("ann0", "live", **options) as page:
            page.route_web_socket("**/live", service)
            assert page.inner_text("#now-name") == "Nobody has spoken yet."
            page.click("#record")
            expect(page.locator("#now")).to_have_text("unknown 2is talking")
            assert page.locator(".row b").all_inner_texts() == [one["speaker"] for one in reversed(told)]
            assert page.locator(".row .doubt").all_inner_texts() == ["doubtful"]
            assert page.locator(".lane .turn.doubtful").get_attribute("title") == "0:14 to 0:15, doubtful"
            assert page.inner_text("#live-facts") == "19.2 s of speech in 0:24"
            assert not options or violations(page) == []
            page.wait_for_timeout(2000)  # of sound: what is shorter has been played before anybody looks
            page.click("#record")
            expect(page.locator("#now")).to_have_text("That was it.4 speakers, 6 turns")
            assert page.locator(".row b").all_inner_texts() == [one["speaker"] for one in whole]
            assert page.locator("img:not([alt=''])").count() == 0
            remark = "For 3.7 s something else was shown while you talked"
            expect(page.locator("#remark summary")).to_have_text(remark)
            page.click("#remark summary")
            assert page.inner_text("#remark .changes li") == "0:00 – 0:04: first unknown 1, in the end Ann"
            assert page.inner_text("#remark .warnings") == "overlapped speech is not found."
            play = page.get_by_role("button", name="Play 0:00 to 0:04, Ann")
            play.click()
            expect(play).to_have_attribute("aria-pressed", "true")
            expect(play).to_have_attribute("aria-pressed", "false")  # it ends with the turn
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert violations(page) == []


@pytest.mark.slow
def test_what_is_saved_is_sent_again_as_it_was_once_there_is_a_key(listening: Open) -> None:
    sent: list[str | None] = []

    def service(route: Any) -> None:
        if route.request.method != "PUT":
            route.continue_()
            return
        sent.append(route.request.post_data)
        route.fulfill(status=401 if len(sent) == 1 else 200, json={"detail": "a key is needed"})

    with listening("ann0", "settings") as page:
        page.route("**/v1/collections/default", service)
        page.fill("#wanted", "7")
        page.click("#rule button")
        page.fill("#ask-input", "a key")
        with page.expect_response(lambda answer: answer.request.method == "PUT" and answer.ok):
            page.click("#ask-yes")
    assert sent == ['{"wanted_speech_s":7}'] * 2
