"""The demo: which speech it takes, how it keeps speakers apart, and that it really learns and draws."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import voxid.demo
from voxid.corpora import scan
from voxid.corpora.synthetic import make_corpus
from voxid.data.pack import Packed
from voxid.demo import find_data, run_demo, split_speakers
from voxid.errors import CorpusNotFound, DownloadError


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with no speech in reach."""
    here = tmp_path / "a" / "b"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    monkeypatch.delenv("VOXID_DATA", raising=False)
    monkeypatch.setattr(voxid.demo, "SYNTHETIC_SPEAKERS", (3, 2))
    return here


def test_offline_without_data_says_that_voices_are_synthetic(nowhere: Path) -> None:
    said: list[str] = []
    found = find_data(nowhere / "out", offline=True, say=said.append)
    assert any("synthetic" in text for text in said)
    assert "Synthetic" in found.what
    train, test = ({u.speaker for u in scan(folder)} for folder in (found.train, found.test))
    assert (len(train), len(test)) == (3, 2)
    assert not train & test


def test_a_failed_download_leads_to_synthetic_voices(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object, **__: object) -> Path:
        raise DownloadError("no route to host")

    monkeypatch.setattr(voxid.demo, "download", no_network)
    said: list[str] = []
    assert "Synthetic" in find_data(nowhere / "out", say=said.append).what
    assert any("no route to host" in text for text in said)


def test_real_speech_comes_before_anything_else(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for subset in ("train-clean-5", "test-clean"):
        (nowhere / "speech" / "LibriSpeech" / subset).mkdir(parents=True)
    monkeypatch.setenv("VOXID_DATA", str(nowhere / "speech"))
    found = find_data(nowhere / "out", offline=True, say=pytest.fail)
    assert (found.train.name, found.test.name) == ("train-clean-5", "test-clean")


def test_a_folder_that_was_named_must_hold_speech(nowhere: Path) -> None:
    with pytest.raises(CorpusNotFound, match="LibriSpeech"):
        find_data(nowhere / "out", nowhere, offline=True)


def test_split_keeps_speakers_whole(tmp_path: Path) -> None:
    utterances = list(scan(make_corpus(tmp_path / "c", speakers=10, utterances=2, seconds=(0.5, 0.6))))
    kept, held_out = split_speakers(utterances, held_out=40)
    assert len({u.speaker for u in held_out}) == 2  # a fifth at most
    assert not {u.speaker for u in kept} & {u.speaker for u in held_out}
    assert len(kept) + len(held_out) == len(utterances)


@pytest.mark.slow
@pytest.mark.usefixtures("real_figures")
def test_demo_learns_and_leaves_everything_it_names(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voxid.demo, "SYNTHETIC_SPEAKERS", (10, 4))
    said: list[str] = []
    out = nowhere / "out"
    overrides = ["training.steps=60", "training.max_seconds=60"]
    result = run_demo(out, offline=True, overrides=overrides, say=said.append)
    assert result.eer_after < result.eer_before
    assert result.trials == 32 * 31 // 2  # all pairs of 4 speakers with 8 utterances
    for figure in result.figures:
        assert figure.read_bytes().startswith(b"\x89PNG"), figure
    report = json.loads((out / "evaluation" / "report.json").read_text())
    assert report["models"][0]["eer"] == pytest.approx(result.eer_after)
    names = [set(Packed.open(out / "data" / part).speaker_names) for part in ("train", "calibration", "test")]
    assert sum(map(len, names)) == len(set().union(*names)) == 14
    assert result.same.cosine > result.different.cosine
    assert any(f"{100 * result.eer_after:.1f} %" in text for text in said)
