"""Fit the line from score to log-likelihood ratio on a set of speakers, and keep it in the model folder.

# U embedded utterances, S speakers, M models, T tests, K trials
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from voxid import metrics
from voxid.data.samplers import corpora_of
from voxid.embed import Embedder, load
from voxid.errors import BadCohort, BadScores, BadTrials, EvaluationError, NotWritable
from voxid.evaluation.cache import EmbeddingCache
from voxid.evaluation.embedding import Progress, Voices, embed_cohort, embed_used
from voxid.evaluation.labels import doubts
from voxid.evaluation.overlap import CALIBRATION_SPEAKERS, TESTED_SPEAKERS, SpeakerSet
from voxid.evaluation.scores import Scores, llrs, score_trials
from voxid.files import place_id
from voxid.model.card import save_calibration
from voxid.pretrained import shipped
from voxid.scoring import (
    Calibration,
    CalibrationSet,
    Cohort,
    EnrollmentTerm,
    check_measures,
    fit,
    qualities,
    reference,
    speaker_pairs,
)
from voxid.scoring.calibration import COUNTS, FEW_PAIRS
from voxid.scoring.evidence import llr_table
from voxid.scoring.normalization import TOP_K, few, need_speakers
from voxid.trials import make_trials
from voxid.trials.data import EvaluationData, read_data
from voxid.trials.pool import Filter, classes, make_pool
from voxid.trials.specs import read_spec
from voxid.types import count_reasons

UNSAID_PRIOR = 0.5  # of a fit from nothing
TELLS_APART = 0.25  # EER: a model that is worse says nothing of labels
FEWEST_TARGETS = 50  # with fewer, the slope follows a handful of pairs
FEWEST_SPEAKERS = 10  # of a calibration; and with `n` clips to enroll, and more to test, of a line for n
MOST_MODELS, MOST_TESTS, MOST_DRAWS = 300, 20_000, 8

StrPath = str | os.PathLike[str]
Data = StrPath | Iterable[StrPath]


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A calibration, and what the model did on the trials it was fitted on (rates are fractions).

    >>> found = voxid.calibrate("mine", "people", force=True, cache=False)
    >>> found.calibration.fitted_on.name, found.cllr < 1
    ('people', True)
    """

    calibration: Calibration
    eer: float
    cllr: float
    min_cllr: float
    trials: int
    left_out: dict[str, int]
    warnings: list[str] = field(default_factory=list)


def calibrate(
    model_folder: StrPath,
    data: Data,
    *,
    prior: float | None = None,
    trials: StrPath = "all",
    quality: Sequence[str] = (),
    cohort: Data | None = None,
    top_k: int | None = None,
    anew: bool = False,
    test: Data | None = None,
    force: bool = False,
    seed: int = 0,
    layout: str = "auto",
    vad: str = "energy",
    device: str = "cpu",
    cache: bool = True,
    progress: Progress | None = None,
) -> Calibrated:
    """Return the calibration fitted on `trials` of `data`, after writing it into the model folder.

    If the model has a calibration, the fit starts from it, unless `anew` is set or a `quality` is given: the
    fewer speakers `data` has, the nearer the result stays to it (`Calibration.onward`).

    Where `data` is of several corpora, each weighs the same, and trials are made inside each: across corpora
    the microphone gives strangers away. Only if all corpora together have fewer than 100 pairs of speakers,
    pairs across them are taken as one more corpus. A list of trials is taken as it is.

    `prior`, the probability of one speaker in two recordings before anything is heard, is where the fit is
    best, and the default threshold follows from it. If it is not given, a fit that starts from the model's
    calibration keeps that one's prior, and any other takes 0.5.

    `quality` names measures of the recordings to weigh beside the score: "speech" (net seconds of both
    sides), "norm" (length of the embeddings), "cohort_mean" (how near to the cohort: the speakers
    of `cohort`, three or more and none of `data`'s, whose mean embeddings are then kept beside the model; the
    nearest of them count, `top_k` of them or 300). `vad` ("energy" or "silero") measures net speech: take
    the one that will decide.

    The speakers of `data` must be neither those the model was trained on (its scores are too good there)
    nor those it will be tested on (the test would know its answers). EvaluationError is raised for data of
    the model's training, for speakers of `test` or `cohort`, and for those its run was tested on; `force`
    makes it a warning. The speakers' names and mean embeddings are kept beside the model, so that a later
    evaluation notices them too.

    If clips of two speakers sound like those of the other (`labels.mixed_up`), a warning names them: a few
    labels that are swapped spoil a calibration. A model with an EER above 25 % there cannot tell.

    Raise also a ModelError, CorpusError, NotEnoughSpeakers, BadScores, BadConfig, BadCohort or OutputError.

    >>> found = voxid.calibrate("mine", "people", force=True, cache=False)
    >>> found.trials, found.eer < 0.2
    (66, True)
    """
    _check(quality, cohort, top_k)
    folder = _own_folder(model_folder)
    runtime = load(folder, device=device)
    kept = EmbeddingCache.of(runtime, vad=vad) if cache else None
    corpus = read_data(data, layout)
    met = _trained_on(runtime, corpus)
    trials = _inside(trials, corpus)
    plan = make_trials(trials, corpus, seed)
    if plan.models is not None:
        raise BadTrials(
            f"{plan.spec!r} enrolls speakers with several clips, and a calibration begins with one clip "
            "against one. Give trials of single recordings ('all'): lines for "
            f"{', '.join(map(str, COUNTS))} clips are fitted on the same speakers too."
        )
    voices = embed_used(runtime, corpus, plan.used(), vad=vad, cache=kept, progress=progress)
    speakers = SpeakerSet.of(corpus, voices)
    met += _tested_on(folder, speakers)
    if test is not None:
        met += _common(runtime, speakers, read_data(test, layout), kept)
    if met and not force:
        raise EvaluationError(
            f"{met[0]} A calibration on speakers that the model was trained on, or is tested on, is "
            "too good for other people. Take other speakers (`voxid split` holds some out), or "
            "override this with --force."
        )
    start = None if anew or quality else _start(runtime)
    strangers, lost = runtime.model.cohort, list[str]()
    if not start:
        strangers, lost = _cohort(runtime, cohort, layout, kept, top_k, speakers, force)
    scored = score_trials(voices, plan)
    targets = int(np.count_nonzero(scored.same_K))
    fitted_on = CalibrationSet(
        name=corpus.name,
        fingerprint=corpus.fingerprint,
        utterances=voices.utterances,
        speakers=len(speakers.names),
        targets=targets,
        nontargets=scored.score_K.size - targets,
    )
    speaker_N = corpus.speakers()
    seen = {
        "fitted_on": fitted_on,
        "pairs": speaker_pairs(speaker_N[scored.left_K], speaker_N[scored.right_K]),
        "groups": _corpora(corpus, scored),
    }
    if prior is None:
        own = runtime.model.calibration
        prior = own.prior if start and own else UNSAID_PRIOR
    if start:
        llr_K = llrs(scored, voices, start, strangers)
        calibration = start.onward(llr_K, scored.same_K, prior, **seen)
    else:
        measures = qualities(
            quality,
            voices.sides,
            voices.sides,
            strangers,
            left_K=voices.row_N[scored.left_K],
            right_K=voices.row_N[scored.right_K],
        )
        held = None if strangers is None else strangers.info
        mark = runtime.fingerprint
        line = fit(scored.score_K, scored.same_K, prior, model=mark, qualities=measures, cohort=held, **seen)
        terms = _lines(line, corpus, voices, strangers, trials, seed)
        calibration = line.model_copy(update={"enrollments": terms})
    save_calibration(folder, calibration, strangers)
    speakers.save(folder / CALIBRATION_SPEAKERS)
    llr_K = llrs(scored, voices, calibration, strangers)
    said = _warnings(targets, len(speakers.names), bool(start))
    said += doubts(corpus, voices) if scored.eer.rate <= TELLS_APART else []
    return Calibrated(
        calibration=calibration,
        eer=scored.eer.rate,
        cllr=metrics.cllr(llr_K, scored.same_K),
        min_cllr=metrics.min_cllr(llr_K, scored.same_K),
        trials=int(scored.score_K.size),
        left_out=count_reasons(voices.left_out),
        warnings=[*met, *lost, *said, *voices.warnings],
    )


def _check(quality: Sequence[str], cohort: Data | None, top_k: int | None) -> None:
    check_measures(quality)
    if ("cohort_mean" in quality) != (cohort is not None):
        raise BadCohort(
            "the quality cohort_mean and a cohort belong together: give both, or none. The cohort is a "
            "corpus of other speakers."
        )
    if top_k is not None and cohort is None:
        raise BadCohort(
            "top_k counts speakers of a cohort, and none was given: give one, or leave top_k out."
        )


def _own_folder(model_folder: StrPath) -> Path:
    """Return the folder to write into; raise NotWritable for a model that comes with voxid."""
    folder = Path(model_folder).expanduser()
    if not folder.is_dir() and os.fspath(model_folder) in shipped():
        raise NotWritable(
            f"{model_folder} comes with voxid, and is not changed. Make a copy of it and "
            f"calibrate that: voxid export {model_folder} -o mine; voxid calibrate mine --data D."
        )
    return folder


def _start(runtime: Embedder) -> Calibration | None:
    """Return the calibration to go on from: the model's own, or the one that this had gone on from."""
    held = runtime.model.calibration
    if held is None or not held.fits(runtime.fingerprint):
        return None
    return held.start or held


def _inside(trials: StrPath, corpus: EvaluationData) -> StrPath:
    """Return the spec with "same-corpus", where several corpora have speakers enough of their own."""
    asked = read_spec(text := os.fspath(trials))
    several = len(corpora_of(corpus.speaker_names(), corpus.speakers())[0]) > 1
    if asked is None or asked.wanted.same_corpus or not several:
        return trials
    pool = make_pool(text, corpus, replace(asked.wanted, same_corpus=True))
    speakers_C = np.unique(pool.class_G, return_counts=True)[1]
    enough = (speakers_C * (speakers_C - 1) // 2).sum() >= FEW_PAIRS
    both_kinds = np.any((pool.size_G >= 2) & (pool.class_sizes() >= 2))
    return f"{text}{'+' if ':' in text else ':'}same-corpus" if enough and both_kinds else trials


def _corpora(corpus: EvaluationData, scored: Scores) -> np.ndarray:
    """Return the number of the corpus of each trial, (K,); -1 across corpora."""
    corpus_N = corpora_of(corpus.speaker_names(), corpus.speakers())[1]
    left_K = corpus_N[scored.left_K]
    return np.where(left_K == corpus_N[scored.right_K], left_K, -1)


def _cohort(
    runtime: Embedder,
    cohort: Data | None,
    layout: str,
    cache: EmbeddingCache | None,
    top_k: int | None,
    speakers: SpeakerSet,
    force: bool,
) -> tuple[Cohort | None, list[str]]:
    """Return the cohort that the quality "cohort_mean" is measured with, and what to know about it.

    Raise EvaluationError when some of `speakers`, those of the calibration, are in it.
    """
    if cohort is None:
        return None, []
    others = read_data(cohort, layout)
    voices, speaker_C, warnings = embed_cohort(runtime, others, cache)
    met = SpeakerSet.of(others, voices)
    need_speakers(len(met.names))
    warnings += speakers.apart_from(met, "calibration", force)
    strangers = Cohort.of(
        voices.emb_UD,
        speaker_C,
        top_k=TOP_K if top_k is None else top_k,
        name=others.name,
        fingerprint=runtime.fingerprint,
    )
    return strangers, [*warnings, *few(strangers.rows_MD)]


def _trained_on(runtime: Embedder, data: EvaluationData) -> list[str]:
    """Return what to say when `data`, or a part of it, is where the model's training speech came from."""
    learned = _lessons(runtime.model.metadata)
    if data.fingerprint in [lesson.get("fingerprint") for lesson in learned]:
        return [f"{data.name} is the data this model was trained on."]
    known = {place for lesson in learned for place in lesson.get("places", [])}
    for path in map(Path, data.paths):
        here = path.expanduser().resolve()
        if known & {place_id(place) for place in (here, *here.parents)}:
            return [f"{path} is data this model was trained on."]
    return []


def _lessons(metadata: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return the training data of a model, and of those it started from or is the mean of."""
    if not metadata:
        return []
    before = [metadata.get("init"), *(metadata.get("average") or [])]
    return [metadata.get("training_data") or {}, *(lesson for one in before for lesson in _lessons(one))]


def _tested_on(folder: Path, speakers: SpeakerSet) -> list[str]:
    """Return what to say when the run that made the model was tested on some of `speakers`."""
    for path in sorted((folder / "evaluation").glob(TESTED_SPEAKERS.format("*"))):
        if common := speakers.common(SpeakerSet.load(path)):
            name = _tested_data(path.parent)
            return [f"{len(common)} of these speakers are those this model was tested on{name}."]
    return []


def _tested_data(report_folder: Path) -> str:
    try:
        return f" ({json.loads((report_folder / 'report.json').read_text())['data']['name']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _common(
    runtime: Embedder, speakers: SpeakerSet, test: EvaluationData, cache: EmbeddingCache | None
) -> list[str]:
    voices = embed_used(runtime, test, np.arange(len(test.utterances)), speech=False, cache=cache)
    common = speakers.common(SpeakerSet.of(test, voices))
    names = ", ".join(common[:3]) + ", ..." * (len(common) > 3)
    return [f"{len(common)} of these speakers ({names}) are in {test.name} too."] if common else []


def _warnings(targets: int, speakers: int, onward: bool) -> list[str]:
    if onward or (targets >= FEWEST_TARGETS and speakers >= FEWEST_SPEAKERS):
        return []
    return [
        f"fitted on {targets} trials of one speaker and {speakers} speakers: too few to trust a probability. "
        f"Take at least {FEWEST_TARGETS} such trials and {FEWEST_SPEAKERS} speakers."
    ]


# -- what several enrollment clips change -----------------------------------------------------------------


def _lines(
    line: Calibration,
    corpus: EvaluationData,
    voices: Voices,
    cohort: Cohort | None,
    trials: StrPath,
    seed: int,
) -> tuple[EnrollmentTerm, ...]:
    """Return the terms for several clips, of the speakers whom the trials compare."""
    asked = read_spec(os.fspath(trials))
    class_N = classes(corpus, asked.wanted if asked else Filter())
    used_N = voices.row_N >= 0
    return enrollment_terms(line, voices, corpus.speakers()[used_N], cohort, seed, class_U=class_N[used_N])


def enrollment_terms(
    calibration: Calibration,
    voices: Voices,
    speaker_U: np.ndarray,
    cohort: Cohort | None,
    seed: int = 0,
    *,
    class_U: np.ndarray | None = None,
) -> tuple[EnrollmentTerm, ...]:
    """Return a term for each of COUNTS clips for which ten speakers have a clip more than that.

    Clips are weighted by their net speech and drawn by `seed`; the other utterances of these speakers are
    the tests. `speaker_U` (U,) numbers the speaker of each row of `voices.emb_UD`; who differ in
    `class_U` (U,) are not compared (None: all are).
    """
    class_U = np.zeros_like(speaker_U) if class_U is None else class_U
    one_clip, sides = calibration.model_copy(update={"enrollments": ()}), voices.sides
    every, size = np.unique(speaker_U, return_counts=True)

    def draw(names: np.ndarray, count: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Return LLRs as of one clip, the truth, pairs of speakers and classes, for one draw of clips."""
        clips = [rng.permutation(np.flatnonzero(speaker_U == name))[:count] for name in names]
        enrolled = np.concatenate(clips)
        others = np.setdiff1d(np.flatnonzero(np.isin(speaker_U, names)), enrolled)
        tests = np.sort(rng.permutation(others)[:MOST_TESTS])
        models = reference(sides.emb_ND[enrolled], sides.speech_s_N[enrolled], np.arange(names.size) * count)
        llr_K = llr_table(one_clip, models, sides.take(tests), cohort).ravel()
        same_K = (names[:, None] == speaker_U[tests]).ravel()
        place_T = np.searchsorted(names, speaker_U[tests])
        pair_K = (np.arange(names.size)[:, None] * names.size + place_T).ravel()
        class_M = np.array([class_U[rows[0]] for rows in clips])
        alike_K = (class_M[:, None] == class_U[tests]).ravel()
        return llr_K[alike_K], same_K[alike_K], pair_K[alike_K], np.repeat(class_M, tests.size)[alike_K]

    terms = []
    for count in COUNTS:
        if np.count_nonzero(size > count) < FEWEST_SPEAKERS:
            break
        rng = np.random.default_rng([seed, 301, count])
        names = np.sort(rng.permutation(every[size > count])[:MOST_MODELS])
        times = max(1, min(MOST_DRAWS, MOST_MODELS // names.size))
        with suppress(BadScores):  # so few, or so odd, that no line can be fitted: then none is kept
            draws = [draw(names, count, rng) for _ in range(times)]
            llr_K, same_K, pair_K, group_K = (np.concatenate(parts) for parts in zip(*draws, strict=True))
            line = fit(llr_K, same_K, calibration.prior, pairs=pair_K, groups=group_K)
            terms.append(
                EnrollmentTerm(clips=count, gain=line.scale, shift=line.offset, impostors=line.impostors)
            )
    return tuple(terms)
