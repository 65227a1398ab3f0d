"""The docs are run: every command and snippet of README.md and docs/, in a world of synthetic voices."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import torch
from docs_runner import blocks, run_document
from docs_wrap import too_wide, wrapped

from voxid.corpora.synthetic import make_corpus, speak, voice
from voxid.demo import run_demo
from voxid.training import Recipe, load_recipe

REPOSITORY = Path(__file__).resolve().parent.parent
DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
PAGES = sorted({*DOCUMENTS, *REPOSITORY.glob("*.md")})  # with those that have nothing to run


def write_librispeech(root: Path, subset: str, speakers: int, start: int) -> None:
    """Write a subset in LibriSpeech's layout with synthetic voices."""
    for number in range(start, start + speakers):
        folder = root / subset / str(100 + number) / "1"
        folder.mkdir(parents=True)
        for utterance in range(3):
            wave_S = speak(voice(number), 3.5, np.random.default_rng([number, utterance]))
            sf.write(folder / f"{100 + number}-1-{utterance:04}.flac", wave_S, 16_000)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which everything the documents mention exists, made of synthetic voices."""
    root = tmp_path_factory.mktemp("world")
    for subset, start in (("train-clean-100", 0), ("test-clean", 6), ("dev-clean", 10)):
        write_librispeech(root / "LibriSpeech", subset, speakers=6 if start == 0 else 4, start=start)
    rows = [f"{100 + i} | {'FM'[i % 2]} | train-clean-100 | 25.0 | Reader {i}" for i in range(14)]
    (root / "LibriSpeech" / "SPEAKERS.TXT").write_text("; comment\n" + "\n".join(rows) + "\n")
    make_corpus(root / "people", speakers=4, utterances=3, seconds=(2.0, 3.0))
    for name, speaker, seed in (("alice1", 0, 1), ("alice2", 0, 2), ("alice3", 0, 4), ("bob", 1, 3)):
        sf.write(root / f"{name}.wav", speak(voice(speaker), 4.0, np.random.default_rng(seed)), 16_000)
    talk = [speak(voice(who), 4.0, np.random.default_rng(who + 9)) for who in (0, 1, 0)]
    sf.write(root / "talk.wav", np.concatenate(talk), 16_000)
    lstm = torch.nn.LSTM(40, 64, 3, batch_first=True, bidirectional=True)
    weights = {f"lstm.{name}": value for name, value in lstm.state_dict().items()}
    torch.save(
        {"encoder_state_dict": weights, "losses": [0.1], "training_time": 1.0},
        root / "saved_model.bilstm.mean.clean100.gpu100000.pt",
    )
    run_demo(root / "demo-out", data=root, overrides=["training.steps=20"], say=lambda text: None)
    return root


# half of the time of all pages: `make slow`
DEAR = ("cli.md", "course.md", "evaluation.md", "own-parts.md", "timeline.md", "training.md", "tutorial.md")


@pytest.mark.parametrize(
    "document",
    [pytest.param(page, marks=[pytest.mark.slow] * (page.name in DEAR), id=page.name) for page in DOCUMENTS],
)
def test_document_runs(
    document: Path,
    world: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """As typed, but trainings are three steps long, where the page does not look at what was learned."""
    if document.name == "evaluation.md":  # every figure of a report, and more
        request.getfixturevalue("real_figures")
    here = tmp_path / "here"
    shutil.copytree(world, here)
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", [*sys.path])  # a page may put its folder on it
    monkeypatch.setenv("VOXID_CACHE", str(tmp_path / "cache"))
    if document.name != "own-parts.md":
        monkeypatch.setattr(sys.modules["voxid.training.train"], "load_recipe", cut)
    expected = sum(not block.skip_reason for block in blocks(document))
    assert run_document(document) == expected


def cut(source: Any, overrides: Sequence[str] = ()) -> Recipe:
    return load_recipe(source, [*overrides, "training.steps=3", "training.save_every=2"])


def test_runner_sees_blocks_and_reasons(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text(
        "```python\nx = 1\n```\n<!-- not run: no network -->\n```console\n$ voxid download\n```\n"
    )
    assert [(b.kind, b.skip_reason) for b in blocks(document)] == [("python", ""), ("console", "no network")]


def test_a_wrong_snippet_fails(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text("```python\nassert 1 == 2\n```\n")
    with pytest.raises(AssertionError):
        run_document(document)


def headings(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and the site make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M)
    titles = re.findall(r"^#+ (.+)$", text, flags=re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", document.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        page = document.parent / target if target else document
        assert page.exists(), f"{document.name} points at {target}, which is not there"
        if anchor and page.suffix == ".md":
            assert anchor in headings(page), f"{document.name} points at {target}#{anchor}: no such heading"


@pytest.mark.parametrize("document", PAGES, ids=lambda p: p.name)
def test_prose_is_wrapped_and_lists_stand_apart(document: Path) -> None:
    text = document.read_text()
    assert not too_wide(text), f"wrap it: python tests/docs_wrap.py {document.relative_to(REPOSITORY)}"
    blanks = [block for block in wrapped(text).splitlines() if not block]
    assert len(blanks) == text.splitlines().count(""), "a list or table needs an empty line before it"


def test_wrapping_keeps_what_it_must() -> None:
    text = "word " * 30 + "in 1999.\n- one `code span that stays whole`\n\n| a | table |\n"
    done = wrapped(text)
    assert done.split() == text.split()
    assert wrapped(done) == done
    assert not too_wide(done)
    assert "\n\n- one" in done
