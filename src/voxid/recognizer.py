"""Two recordings in, one decision out: the runtime embeds, the model's calibration decides. No torch here."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from voxid.errors import NotCalibrated, UnknownModel
from voxid.runtime import Embedded, Runtime, load
from voxid.scoring import Qualities, cosine, trial_qualities
from voxid.types import Decision

if TYPE_CHECKING:
    from voxid.audio import Source


def compare(a: Source, b: Source, model: str | os.PathLike[str] | Runtime | None = None) -> Decision:
    """Return whether one speaker said both `a` and `b` (path, bytes, open file or (samples, rate)).

    `model` is a model folder or a loaded runtime. The score is the cosine of the two embeddings; the
    decision is its calibrated log-likelihood ratio against the threshold stored with the model, which may
    weigh how good the recordings are (net speech, ...), if it was calibrated so. Raise an
    AudioError for a recording that cannot be used; UnknownModel, BadModel, NotCalibrated for the model.

    Example: `compare("a.wav", "b.wav", model="models/mine").accepted`.
    """
    runtime, name = _runtime(model)
    calibration = runtime.model.calibration
    if calibration is None:
        raise NotCalibrated(
            f"the model {name} has no calibration, so a score of it cannot become a decision. "
            f"Run: voxid calibrate {name} --data D, with a corpus D of speakers it was not trained on."
        )
    if not calibration.fits(runtime.fingerprint):
        raise NotCalibrated(
            f"the calibration in {name} is for other weights or another way of scoring: it was fitted for "
            f"model {calibration.model[:12]}, this is {runtime.fingerprint[:12]}. "
            f"Run: voxid calibrate {name} --data D."
        )
    left, right = runtime.embed_each([a, b])
    score = float(cosine(left.embedding[None], right.embedding[None])[0, 0])
    llr = float(calibration.llr(np.array([score]), _qualities(runtime, left, right))[0])
    accepted = llr >= calibration.threshold
    return Decision(
        accepted=accepted,
        llr=llr,
        probability=calibration.probability(llr),
        cosine=score,
        threshold=calibration.threshold,
        speech_s=(left.info.speech_s, right.info.speech_s),
        reason=f"LLR {llr:.2f} is {'at or above' if accepted else 'below'} "
        f"the threshold {calibration.threshold:.2f}",
    )


def _qualities(runtime: Runtime, left: Embedded, right: Embedded) -> dict[str, np.ndarray]:
    """Return the quality numbers of one trial that the model's calibration weighs."""
    measures = runtime.model.calibration.measures
    if not measures:
        return {}
    emb_2D = np.stack((left.embedding, right.embedding))
    speech_s_2 = [left.info.net_speech_s, right.info.net_speech_s]
    cohort = runtime.model.cohort if "cohort_mean" in measures else None
    both = Qualities.of(emb_2D, speech_s_2, cohort)
    return trial_qualities(measures, both.take([0]), both.take([1]))


def _runtime(model: Any) -> tuple[Runtime, str]:
    """Return the runtime, and a name for it that a person can put into a command."""
    if model is None:
        raise UnknownModel(
            "no model was given, and voxid ships none yet. Give a model folder (model=, or --model); "
            "`voxid train` and `voxid import-seed` write one."
        )
    if isinstance(model, str | os.PathLike):
        return load(model), os.fspath(model)
    return model, str(model.model.metadata.get("name") or "MODEL")
