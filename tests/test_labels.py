"""Labels that are swapped between two speakers are pointed out, and right ones are not."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

import voxid
from voxid.embed import find_model
from voxid.evaluation.labels import mixed_up


def made_up(rng: np.random.Generator, speakers: int = 12, clips: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings whose speakers are half of what varies, and the speaker of each."""
    speaker_U = np.repeat(np.arange(speakers), clips)
    own_SD, other_UD = rng.normal(size=(speakers, 64)), rng.normal(size=(speaker_U.size, 64))
    return own_SD[speaker_U] + other_UD, speaker_U


@pytest.mark.parametrize("clips", [2, 3, 4])
@pytest.mark.parametrize("seed", range(5))
def test_swapped_clips_are_named(seed: int, clips: int) -> None:
    emb_UD, speaker_U = made_up(np.random.default_rng(seed))
    labels_U = speaker_U.copy()
    labels_U[24 : 24 + clips], labels_U[56 : 56 + clips] = 7, 3
    [(one, other, row_N)] = mixed_up(emb_UD, labels_U)
    assert (one, other) == (3, 7)
    if clips < 4:  # of a half, either half may be meant
        assert row_N.tolist() == [*range(24, 24 + clips), *range(56, 56 + clips)]


def test_clips_of_one_speaker_under_another_label_are_named() -> None:
    emb_UD, speaker_U = made_up(np.random.default_rng(1))
    labels_U = speaker_U.copy()
    labels_U[:3] = 5
    assert [found[:2] for found in mixed_up(emb_UD, labels_U)] == [(0, 5)]


@pytest.mark.parametrize("seed", range(10))
def test_right_labels_are_left_alone(seed: int) -> None:
    rng = np.random.default_rng(seed)
    emb_UD, speaker_U = made_up(rng)
    assert mixed_up(emb_UD, speaker_U) == []
    noisy_UD = emb_UD + rng.normal(size=emb_UD.shape)  # so that some clips are nearest to others
    assert mixed_up(noisy_UD, speaker_U) == []
    sessions_UD = emb_UD + 1.5 * rng.normal(size=(2, 64))[np.arange(speaker_U.size) % 2]
    assert mixed_up(sessions_UD, speaker_U) == []  # two microphones, which every speaker used


@pytest.mark.real
def test_calibrate_names_real_speakers_whose_labels_are_swapped(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "wuw2" / "train"
    with (folder / "utterances.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = list(dict.fromkeys(row["speaker"] for row in rows))[:6]
    kept = [row for name in names for row in [row for row in rows if row["speaker"] == name][:10]]
    model = Path(shutil.copytree(find_model("voxid-base"), tmp_path / "m"))

    def said(swapped: range) -> list[str]:
        with (tmp_path / "list.csv").open("w", newline="") as file:
            out = csv.writer(file)
            out.writerow(["utterance", "speaker", "path"])
            for n, row in enumerate(kept):
                label = names[1 - n // 10] if n in swapped or n - 10 in swapped else row["speaker"]
                out.writerow([row["utterance"], label, folder / row["path"]])
        found = voxid.calibrate(model, tmp_path / "list.csv").warnings
        return [line for line in found if "seem to be swapped" in line]

    assert said(range(0)) == []
    [line] = said(range(5))
    assert names[0] in line
    assert names[1] in line
