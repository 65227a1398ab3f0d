"""Splitting a corpus: no shared speaker, nothing lost, labels kept, the same choice every time."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from voxid.corpora import scan
from voxid.corpora.split import split
from voxid.errors import BadConfig, EmptyCorpus, NotEnoughSpeakers


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Forty speakers with labels: ten each of men, women, boys and girls; two utterances each."""
    rows = ["speaker,path,sex,age,language,start,duration"]
    for number in range(40):
        sex, age = "mf"[number % 2], (8, 30)[number // 2 % 2]
        rows += [f"s{number},audio/s{number}-{take}.wav,{sex},{age},en,0.5,2" for take in range(2)]
    (tmp_path / "people.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "people.csv"


def speakers(path: str | Path) -> set[str]:
    return {utterance.speaker for utterance in scan(path)}


def test_the_sides_share_no_speaker_and_lose_nothing(corpus: Path, tmp_path: Path) -> None:
    result = split(corpus, tmp_path / "lists", hold_out=0.3, seed=1)
    rest, held = list(scan(result.rest.path)), list(scan(result.held_out.path))
    assert not {u.speaker for u in rest} & {u.speaker for u in held}
    whole = sorted(scan(corpus), key=lambda u: u.utterance)
    assert sorted(rest + held, key=lambda u: u.utterance) == whole  # every label, path and time as it was
    assert (result.held_out.speakers, result.held_out.utterances) == (12, 24)
    assert result.rest.speakers == 28


def test_each_sex_and_age_group_gives_its_share(corpus: Path, tmp_path: Path) -> None:
    held = scan(split(corpus, tmp_path / "lists", hold_out=0.2).held_out.path)
    groups = Counter((u.sex, u.age) for u in held)
    assert groups == {("m", 8.0): 4, ("f", 8.0): 4, ("m", 30.0): 4, ("f", 30.0): 4}


def test_a_larger_share_holds_the_speakers_of_a_smaller_one(corpus: Path, tmp_path: Path) -> None:
    small = speakers(split(corpus, tmp_path / "a", hold_out=0.2, seed=5).held_out.path)
    large = speakers(split(corpus, tmp_path / "b", hold_out=0.5, seed=5).held_out.path)
    assert small < large


def test_the_seed_decides(corpus: Path, tmp_path: Path) -> None:
    first, again, other = (
        speakers(split(corpus, tmp_path / name, seed=seed).held_out.path)
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first == again
    assert first != other


def test_names_of_several_corpora_are_read_back_as_they_were(corpus: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "others.csv"
    elsewhere.parent.mkdir()
    elsewhere.write_text("s0,x.wav\ns99,y.wav\n")
    result = split([corpus, elsewhere], tmp_path / "lists", hold_out=0.5)
    both = [*scan(result.rest.path), *scan(result.held_out.path)]
    expected = [replace(u, utterance=u.utterance) for u in scan([corpus, elsewhere])]
    assert sorted(u.utterance for u in both) == sorted(u.utterance for u in expected)
    assert len({u.speaker for u in both}) == 42  # s0 of one place is not s0 of the other


def test_bad_input(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"between 0 and 1, got 1\.5"):
        split(corpus, tmp_path / "lists", hold_out=1.5)
    with pytest.raises(NotEnoughSpeakers, match="40 speakers cannot be split"):
        split(corpus, tmp_path / "lists", hold_out=0.001)
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(EmptyCorpus):
        split(tmp_path / "empty.csv", tmp_path / "lists")
    assert not (tmp_path / "lists").exists()
