"""The page of an evaluation: what it says and holds. test_html_browser.py shows it to a browser."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from html_report import EVIL, EVIL_SPEAKER, PLAIN, clip, group, make_report, make_scores, model, trial

from voxid.errors import AudioSilent, EvaluationError, NotWritable
from voxid.evaluation.report import Excerpt, clips, findings, formats, tables, write_html
from voxid.evaluation.report.clips import ClipStore

pytestmark = pytest.mark.usefixtures("real_figures")


class Page(HTMLParser):
    """Tags, attributes and text as a browser's parser sees them."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    report = make_report()
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_html(path, report, make_scores(report), clip)
    return path


def read(tmp_path: Path, report: Any, **options: Any) -> str:
    """Return the text of the page of a report as a reader sees it, markup left out."""
    write_html(tmp_path / "report.html", report, make_scores(report), **options)
    return Page((tmp_path / "report.html").read_text("utf-8")).text


# -- what the page says --------------------------------------------------------------------------------


def test_names_are_text_never_markup(written: Path) -> None:
    source = written.read_text("utf-8")
    page = Page(source)
    for name in (EVIL, PLAIN, EVIL_SPEAKER, "a <corpus>", "note <i>x</i>"):
        assert name in page.text
    assert "{{ 7 * 7 }}" in page.text  # a name is no template either
    assert [tag for tag, _ in page.tags].count("script") == 2  # the recordings and the players
    assert not [tag for tag, _ in page.tags if tag in ("img", "link", "iframe", "object", "i x")]
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]


def test_the_page_refers_to_nothing_outside(written: Path) -> None:
    page = Page(written.read_text("utf-8"))
    for tag, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "action", "data"):
            assert attributes.get(name, "#").startswith("#"), (tag, attributes)
    policy = next(a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none';")
    assert "@import" not in written.read_text("utf-8")


def test_the_page_is_repeatable(written: Path, tmp_path: Path) -> None:
    report = make_report()
    write_html(tmp_path / "again.html", report, make_scores(report), clip)
    assert (tmp_path / "again.html").read_bytes() == written.read_bytes()


def test_every_figure_has_its_number(written: Path) -> None:
    text = Page(written.read_text("utf-8")).text
    for number in (
        *("12.34", "11.11–13.99", "0.654", "0.457", "0.700", "0.500", "0.346", "0.333", "41.41", "61.61"),
        *("25.67", "77 of 300", "44 of 55", "0.912", "5.25", "−7.50", "6,000", "4,000"),
        *("3000-triplets", "3f" * 32, "ab" * 32, "2026-01-31 at 09:05 UTC", "voxid 0.1.0"),
    ):
        assert number in text, number
    assert "--trials 3000-triplets --seed 5" in text
    assert "'/data/a corpus'" in text
    assert "fitted on held out, 31 speakers, for a prior of 5 %." in text


def test_facts_are_all_shown_and_a_seed_can_be_copied() -> None:
    known = {
        "seed": 12345,
        "trials": 12345,
        "paths": ["a", "b"],
        "fitted_on": {"name": "x", "n": 2000},
        "no": (),
    }
    assert formats.facts(known, skip=["trials"]) == [
        ("seed", "12345"),
        ("paths", "a, b"),
        ("fitted on: name", "x"),
        ("fitted on: n", "2,000"),
    ]


def test_identification_is_shown_where_there_is_one(written: Path, tmp_path: Path) -> None:
    section = written.read_text().partition('id="identification"')[2].partition("</table>")[0]
    assert "98.76" in section
    assert "100.00" in section
    without = make_report(model("a", identification=None))
    write_html(tmp_path / "page.html", without, make_scores(without))
    assert 'id="identification"' not in (tmp_path / "page.html").read_text()


def test_a_given_command_is_shown(tmp_path: Path) -> None:
    text = read(tmp_path, make_report(), command="voxid evaluate x --data <y>")
    assert "The command that made this report: voxid evaluate x --data <y>" in text


def test_the_best_of_a_column_is_the_lowest_that_means_something() -> None:
    a, b, c = model("a"), model("b", eer=0.05), model("c", act_dcf=None, act_dcf_05=None, cllr=0.001)
    rows = [dict(zip(tables.COLUMNS, row["cells"], strict=True)) for row in tables.headline([a, b, c])]
    best = {column.key: [cells[column]["best"] for cells in rows] for column in tables.COLUMNS}
    assert best["eer"] == [False, True, False]
    assert best["min_dcf"] == [False] * 3  # all alike
    assert best["cllr"] == [False] * 3  # c is not calibrated: its Cllr is no log-likelihood ratio's
    assert rows[2][next(column for column in tables.COLUMNS if column.key == "cllr")]["text"] == "–"
    assert [cell["best"] for cell in tables.headline([b])[0]["cells"]] == [False] * len(tables.COLUMNS)


@pytest.mark.parametrize(
    ("difference", "low", "high", "p", "sentence"),
    [
        (-0.02, -0.03, -0.01, 0.004, "a is better than b: its equal error rate is 2.00 percentage points "
         "lower (95 % interval of the difference 1.00 to 3.00; p = 0.004)."),
        (0.02, 0.01, 0.03, 0.0005, "b is better than a: its equal error rate is 2.00 percentage points "
         "lower (95 % interval of the difference 1.00 to 3.00; p < 0.001)."),
        (0.02, -0.01, 0.05, 0.2, "No difference between a and b is shown: their equal error rates are "
         "2.00 percentage points apart, which may be chance (p = 0.200)."),
    ],
    ids=["first", "second", "neither"],
)  # fmt: skip
def test_a_paired_test_in_words(difference: float, low: float, high: float, p: float, sentence: str) -> None:
    test = {"a": "a", "b": "b", "figure": "eer", "difference": difference, "low": low, "high": high}
    report = make_report(model("a"), model("b", eer=0.2), paired=[{**test, "p_value": p, "trials": 10}])
    assert findings.paired(report)[0]["sentence"] == sentence
    assert findings.in_short(report)[1] == sentence


def test_groups_stand_by_kind_and_small_ones_are_flagged() -> None:
    other = model("b", groups={"sex: male, male": group("sex", eer=0.3)})
    kinds = tables.groups([model("a"), other])
    assert [kind["title"] for kind in kinds] == ["Speakers who are alike", "Sex", "Duration"]
    same, mixed = kinds[1]["rows"]
    assert [cell["eer"] for cell in same["cells"]] == ["20.00", "30.00"]
    assert [cell["eer"] for cell in mixed["cells"]] == ["–", "–"]
    short = kinds[2]["rows"][0]
    assert short["few_speakers"]  # 7 of them
    assert short["cells"][0]["few"]  # 0.5 % of 2,000 trials: 10 errors
    assert not same["cells"][0]["few"]
    assert not same["few_speakers"]
    assert tables.absent_kinds([model("a")]) == ["age", "language", "corpus"]


def test_nothing_left_out_is_said(tmp_path: Path) -> None:
    text = read(tmp_path, make_report())
    assert "Nothing was left out: every system was measured on all 6,000 trials." in text
    assert "There were no warnings" in text


def test_what_was_left_out_is_counted_by_reason(tmp_path: Path) -> None:
    lossy = model("lossy", left_out={"too_short": 3, "silent": 1}, trials_lost=200, trials=5800)
    report = make_report(model("whole"), lossy)
    report = dataclasses.replace(
        report,
        left_out={"utterances": {}, "trials": 200, "when_prepared": {"truncated": 9}},
        trials={
            **report.trials,
            "warnings": {"contradictory": 2, "constant_scores": 9},
            "left_out": {"speakers_without_sex": 4},
        },
        data={**report.data, "warnings": ["2 files <gone>"]},
    )
    text = read(tmp_path, report)
    assert "Nothing was left out" not in text
    assert "3 too short, 1 silent" in text
    assert "before any system saw it: 9 truncated" in text
    assert "had no use for it: 4 speakers without sex" in text
    assert "not measured on the same trials" in text
    assert "2 trials: contradictory; they count as given." in text
    assert "all 9 scores of a system are the same: it tells nobody apart." in text
    assert "2 files <gone>" in text


def test_a_report_that_knows_little_has_a_page(tmp_path: Path) -> None:
    bare = model(
        "scores.txt", act_dcf=None, act_dcf_05=None, calibration=None, intervals={}, groups={}, hardest=[],
        worst={"false_accepts": [], "false_rejects": []}, folder="", fingerprint="", inference="",
    )  # fmt: skip
    report = make_report(
        bare,
        data={"name": "scores.txt"},
        intervals={"level": 0.95, "resamples": 1000, "why_not": "the speakers are not known"},
        left_out={"utterances": {}, "trials": 0, "when_prepared": {}},
    )
    text = read(tmp_path, report)
    assert "There are no intervals: the speakers are not known" in text
    assert "made without recordings" in text
    assert "Is one system better" not in text


def test_a_model_without_scores_is_refused(tmp_path: Path) -> None:
    report = make_report()
    with pytest.raises(EvaluationError, match=re.escape(repr(PLAIN))):
        write_html(tmp_path / "report.html", report, make_scores(report)[:1])
    assert not list(tmp_path.iterdir())


def test_a_page_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    report = make_report(model("a"))
    with pytest.raises(NotWritable):
        write_html(tmp_path / "file" / "report.html", report, make_scores(report))


# -- recordings ------------------------------------------------------------------------------------------


def stored(path: Path) -> dict[str, Any]:
    """Return the map of recordings in a page."""
    return json.loads(re.search(r'id="clips">(.*?)</script>', path.read_text("utf-8"))[1])


def test_each_recording_is_stored_once_and_cut(written: Path) -> None:
    store = stored(written)
    assert store["type"] == "audio/mpeg"
    assert len(store["clips"]) == 5  # EVIL, b1, a1, a-long, c1, in two models
    lengths = []
    for text in store["clips"]:
        wave, rate = soundfile.read(BytesIO(base64.b64decode(text)))
        assert rate == 16_000
        assert wave.ndim == 1
        assert 0.15 < np.sqrt(np.mean(wave**2)) < 0.25  # a sine of amplitude 0.3
        lengths.append(wave.size / rate)
    assert sorted(lengths) == pytest.approx([1, 1, 1, 1, 10], abs=0.15)
    text = Page(written.read_text("utf-8")).text
    assert "the first 10 s of it" in text
    assert "cannot be played: no recording" in text
    assert "sex f, age 34, note" in text
    assert "language" not in text.partition("note")[0].rpartition("sex f")[2]


def test_wav_where_mp3_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soundfile, "available_formats", lambda: {"WAV": "WAV (Microsoft)"})
    store = ClipStore(clip)
    store.hear("b1", "b")
    assert store.media == "audio/wav"
    assert base64.b64decode(store.clips[0])[:4] == b"RIFF"


def test_other_rates_and_loud_samples_are_heard() -> None:
    loud = np.full(8000, 3.0, dtype=np.float32) * np.sin(np.arange(8000))
    store = ClipStore(lambda name: Excerpt(loud, 8000, "x"))
    assert store.hear("u", "x").seconds == pytest.approx(1.0, abs=0.01)
    assert np.abs(soundfile.read(BytesIO(base64.b64decode(store.clips[0])))[0]).max() < 1.6


def test_what_finds_no_room_is_counted_and_the_worst_come_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worst = {
        "false_accepts": [trial(f"a{n}", f"b{n}", 0.9 - 0.01 * n, 1.0) for n in range(5)],
        "false_rejects": [trial(f"c{n}", f"d{n}", 0.1 + 0.01 * n, 1.0) for n in range(5)],
    }
    one = len(base64.b64encode(clips.encode(clip("b1").samples_S, "audio/mpeg")))
    small = ClipStore(clip, room=8 * one + 100)
    monkeypatch.setattr("voxid.evaluation.report.page.ClipStore", lambda given: small)
    text = read(tmp_path, make_report(model("a", worst=worst)), clip=clip)
    assert len(stored(tmp_path / "report.html")["clips"]) == 8
    assert "12 recordings are not in this page" in text
    held = [name for name, heard in small._known.items() if heard.number is not None]
    assert sorted(held) == ["a0", "a1", "b0", "b1", "c0", "c1", "d0", "d1"]


def test_an_unreadable_recording_is_said_not_raised() -> None:
    def broken(utterance: str) -> Excerpt:
        raise AudioSilent("no sound")

    heard = ClipStore(broken).hear("u", "someone")
    assert (heard.number, heard.why_not, heard.speaker) == (None, "silent", "someone")


def test_where_a_system_comes_from_is_short(tmp_path: Path) -> None:
    line = {"scale": 9.5, "impostors": {"llrs": [1.2345]}, "enrollments": [{"clips": 2.0, "gain": 1.777}]}
    page = read(tmp_path, make_report(models=[model("mine", calibration=line)]))
    assert "calibration: scale 9.5" in page
    assert "1.2345" not in page
    assert "1.777" not in page
