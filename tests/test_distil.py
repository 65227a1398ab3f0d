"""A student learns from a teacher that was trained elsewhere, hears it once, and says whom it is of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peers.witness import RATE
from test_published import saved, tensors_of
from torch.nn import functional as F

import voxid
from voxid.corpora.synthetic import make_corpus
from voxid.data.pack import Packed
from voxid.data.prepare import ensure_prepared
from voxid.embed import Embedder
from voxid.losses.distil import DistilConfig, DistilLoss
from voxid.losses.margins import AamLoss, MarginConfig
from voxid.published.importing import import_model
from voxid.training.teacher import teacher_embeddings

SMALL = [
    *("encoder.channels=16", "encoder.aggregate=24", "encoder.embedding=12", "encoder.attention=8"),
    *("encoder.squeeze=8", "data.rows=8", "data.window=40", "data.window_max=60", "training.steps=60"),
    *("training.parts=1", "training.log_every=10", "training.save_every=1000", "schedule.warmup=5"),
    *("augment.rir_prob=0", "augment.babble_prob=0", "augment.telephone_prob=0", "optimizer.lr=5e-3"),
]


def test_a_student_comes_near_an_imported_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOXID_CACHE", str(tmp_path / "cache"))
    weights = saved(tmp_path, tensors_of("wespeaker-ecapa"))
    import_model(weights, tmp_path / "teacher")
    make_corpus(tmp_path / "people", speakers=3, utterances=3, seconds=(1.0, 1.6))
    overrides = [*SMALL, f"loss.teacher={tmp_path / 'teacher'}"]
    far: list[float] = []
    whole = DistilLoss.far

    def noted(self: DistilLoss, *given: Any) -> torch.Tensor:
        found = whole(self, *given)
        far.append(found.item())
        return found

    monkeypatch.setattr(DistilLoss, "far", noted)
    run = voxid.train("distil", tmp_path / "people", tmp_path / "run", overrides=overrides)
    assert np.mean(far[-10:]) < 0.9 * np.mean(far[:5])
    student, teacher = voxid.load(tmp_path / "run"), voxid.load(tmp_path / "teacher")
    assert student.dim == 12
    assert student.model.metadata["distilled_from"]["fingerprint"] == teacher.fingerprint
    assert run.steps == 60

    packed = Packed.open(ensure_prepared(tmp_path / "people"))
    monkeypatch.setattr(Embedder, "embed_waves", None)  # it has heard them all
    emb_ND = teacher_embeddings(packed, teacher)
    monkeypatch.undo()
    wave_S = packed.wave(0).astype(np.float32) / 32768
    np.testing.assert_allclose(emb_ND[0], teacher.embed((wave_S, RATE)), rtol=1e-4, atol=1e-2)


def test_what_the_loss_adds_to_aam() -> None:
    torch.manual_seed(0)
    options = {"scale": 8.0, "margin": 0.1}
    plain = AamLoss(MarginConfig(**options), 4, 6)
    loss = DistilLoss(DistilConfig(**options, weight=3.0), 4, 6)
    loss.load_state_dict(plain.state_dict())
    emb_BD, labels_B = torch.randn(3, 4), torch.tensor([0, 1, 5])
    assert loss(emb_BD, labels_B).item() == pytest.approx(plain(emb_BD, labels_B).item())
    teacher_NE = np.random.default_rng(0).standard_normal((9, 4)).astype(np.float32)
    loss.set_teacher(teacher_NE, speakers=3)  # classes 3 to 5 are these at another speed
    loss.set_rows(np.array([7, 2, 4]))
    cos_B = F.cosine_similarity(emb_BD, torch.from_numpy(teacher_NE)[[7, 2, 4]])
    want = plain(emb_BD, labels_B) + 3 * (1 - cos_B[:2]).mean()
    assert loss(emb_BD, labels_B).item() == pytest.approx(want.item(), abs=1e-5)
    assert loss.project is None
    loss.set_teacher(np.ones((9, 5), np.float32), speakers=3)
    loss(emb_BD, labels_B).backward()
    assert loss.project is not None
    assert loss.project.weight.grad is not None
