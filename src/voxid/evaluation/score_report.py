"""Measure anybody's score files: the same figures, intervals, tests and page as for our own models.

# K trials of a file, N names
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from voxid import metrics
from voxid.errors import BadScores
from voxid.evaluation.measure import RESAMPLES, measure, of_systems
from voxid.evaluation.report.values import ModelReport, Report, describe_trials
from voxid.evaluation.report.writing import make_folder, write_report
from voxid.evaluation.scores import Scores, numbered
from voxid.trials.data import EvaluationData
from voxid.trials.scorefiles import ScoreFile, read_scores
from voxid.types import Utterance

StrPath = str | os.PathLike[str]


def measure_scores(
    paths: Sequence[StrPath],
    trials: StrPath | None = None,
    out: StrPath | None = None,
    *,
    columns: str | None = None,
    speakers: StrPath | None = None,
    llr: bool = False,
    eer_grid: bool = False,
    resamples: int = RESAMPLES,
    seed: int = 0,
    command: str | None = None,
) -> Report:
    """Return the error rates of one or several score files, and write them with figures into `out`.

    `paths`, `trials`, `columns` and `speakers` are as `read_scores` takes them: the content of a file tells
    its format, `trials` gives the labels where the scores have none. With `llr` the scores are natural-log
    likelihood ratios, and get an actual DCF and a Cllr. Intervals and paired tests resample speakers, so they
    need `speakers`. Trials of the list without a score are counted, and a warning says what the EER would be
    if each of them were an error.

    `out` gets report.html, report.json, det.png and histogram.png; None writes nothing. Raise BadScores,
    BadTrials or OutputError.

    >>> lines = [f"a{n} b{n} {n / 40} {'target' if n > 20 else 'nontarget'}" for n in range(40)]
    >>> _ = Path("theirs.score").write_text("\\n".join(lines))
    >>> measure_scores(["theirs.score"], resamples=0).models[0].eer
    0.0
    """
    if not paths:
        raise BadScores("no score file was given. Give one or several.")
    folder = make_folder(out)
    files = [read_scores(path, trials, columns=columns, speakers=speakers) for path in paths]
    names = _names(files)
    data, systems = _common_ground(files, names, llr)
    warnings = _warnings(files, names)
    if _align(systems):
        sure = of_systems(systems, data, resamples=resamples, seed=seed)
    else:
        alone = [of_systems([system], data, resamples=resamples, seed=seed) for system in systems]
        first = next((one for one in alone if "why_not" not in one.how), alone[0])
        sure = dataclasses.replace(first, intervals=[one.intervals[0] for one in alone])
        if "why_not" not in sure.how:
            lost = ((name, one.how.get("why_not")) for name, one in zip(names, alone, strict=True))
            warnings += [f"{name}: no intervals: {why}" for name, why in lost if why]
        warnings.append("the files have other trials, some of them twice: no paired tests")
    if "speakers are not known" in sure.how.get("why_not", ""):
        sure.how["why_not"] += "; give them: --speakers FILE, with lines `utterance speaker`"
    models = [
        _without_nameless(measure(system, data, found, eer_grid), data)
        for system, found in zip(systems, sure.intervals, strict=True)
    ]
    report = Report(
        data=_describe_data(files, data, warnings),
        trials=_describe_trials(files, trials),
        left_out={"utterances": {}, "trials": max(_lost(file) for file in files), "when_prepared": {}},
        intervals=sure.how,
        models=models,
        paired=sure.paired,
        out=str(folder or ""),
    )
    return write_report(folder, report, systems, command=command) if folder else report


def _names(files: Sequence[ScoreFile]) -> list[str]:
    stems = (Path(file.path).name.removesuffix(".gz") for file in files)
    return numbered(re.sub(r"\.(txt|csv|npz|score|scores)$", "", stem) or stem for stem in stems)


def _common_ground(
    files: Sequence[ScoreFile], names: Sequence[str], llr: bool
) -> tuple[EvaluationData, list[Scores]]:
    """Return the recordings that all files name, numbered once, and a system for each file."""
    number: dict[str, int] = {}
    speaker: dict[str, str] = {}
    for file in files:
        for place, name in enumerate(file.names):
            number.setdefault(name, len(number))
            if file.speaker_N is not None:
                speaker[name] = file.speakers[file.speaker_N[place]]
    said = [Utterance(speaker.get(name, ""), name, "") for name in number] or [Utterance("", "", "")]
    data = EvaluationData(
        name=" + ".join(dict.fromkeys(Path(file.path).name for file in files)),
        paths=[file.path for file in files],
        fingerprint="",
        utterances=said,
        audio=lambda i: said[i],
    )
    return data, [_system(file, name, number, llr) for file, name in zip(files, names, strict=True)]


def _system(file: ScoreFile, name: str, number: dict[str, int], llr: bool) -> Scores:
    if file.left_K is None or file.right_K is None:
        left_K = right_K = np.zeros(len(file), dtype=np.int32)
    else:
        place_N = np.array([number[word] for word in file.names], dtype=np.int32)
        left_K, right_K = place_N[file.left_K], place_N[file.right_K]
    return Scores(
        name=name,
        left_K=left_K,
        right_K=right_K,
        same_K=file.same_K,
        score_K=file.score_K,
        llr_K=file.score_K if llr else None,
        scoring="llr" if llr else "scores",
        folder=file.path,
        inference=file.format,
        utterances=len(file.names),
        trials_lost=_lost(file),
        no_score=_lost(file),
    )


def _lost(file: ScoreFile) -> int:
    return sum(file.lost.values())


def _align(systems: list[Scores]) -> bool:
    """Put the trials of all systems into one order, in place; return whether that can be done.

    It cannot when the files have other trials and one of them names a pair twice, or none at all.
    """
    first = systems[0]
    if all(
        system.left_K.size == first.left_K.size
        and np.array_equal(system.left_K, first.left_K)
        and np.array_equal(system.right_K, first.right_K)
        and np.array_equal(system.same_K, first.same_K)
        for system in systems[1:]
    ):
        return True
    count = max(int(max(system.left_K.max(), system.right_K.max())) for system in systems) + 1
    keys = [system.left_K.astype(np.int64) * count + system.right_K for system in systems]
    orders = [np.argsort(key_K, kind="stable") for key_K in keys]
    keys = [key_K[order] for key_K, order in zip(keys, orders, strict=True)]
    if any((np.diff(key_K) == 0).any() for key_K in keys):
        return False
    everything = np.unique(np.concatenate(keys))
    for place, (system, key_K, order) in enumerate(zip(list(systems), keys, orders, strict=True)):
        systems[place] = dataclasses.replace(
            system,
            left_K=system.left_K[order],
            right_K=system.right_K[order],
            same_K=system.same_K[order],
            score_K=system.score_K[order],
            llr_K=None if system.llr_K is None else system.llr_K[order],
            kept_K=np.isin(everything, key_K, assume_unique=True),
        )
    return True


def _without_nameless(model: ModelReport, data: EvaluationData) -> ModelReport:
    """Return the report without its worst trials where no recording has a name to find it by."""
    if data.utterances[0].utterance:
        return model
    return dataclasses.replace(model, worst={kind: [] for kind in model.worst})


def _describe_data(files: Sequence[ScoreFile], data: EvaluationData, warnings: list[str]) -> dict:
    named = sum(bool(utterance.utterance) for utterance in data.utterances)
    return {
        "name": data.name,
        "paths": data.paths,
        "formats": [file.format for file in files],
        "fingerprint": "",
        "utterances": named,
        "speakers": len([name for name in data.speaker_names() if name]),
        "used_in_trials": named,
        "warnings": warnings,
    }


def _describe_trials(files: Sequence[ScoreFile], trials: StrPath | None) -> dict:
    count = max(len(file) + _lost(file) for file in files)
    most = max(files, key=lambda file: len(file) + _lost(file))
    targets = int(np.count_nonzero(most.same_K)) + most.lost.get("targets", 0)
    warnings: Counter[str] = Counter()
    for file in files:
        warnings |= Counter(file.warnings)  # of files with the same trials, not twice
    return describe_trials(
        os.fspath(trials) if trials is not None else "as scored",
        count,
        targets,
        warnings=dict(warnings),
    )


def _warnings(files: Sequence[ScoreFile], names: Sequence[str]) -> list[str]:
    found = []
    for file, name in zip(files, names, strict=True):
        if lost := _lost(file):
            rate = metrics.eer(*file.worst_case()).rate
            found.append(
                f"{name}: {lost:,} trials of the list have no score. If each were an error, the EER would be "
                f"{100 * rate:.2f} %, not {100 * metrics.eer(file.score_K, file.same_K).rate:.2f} %"
            )
    return found
