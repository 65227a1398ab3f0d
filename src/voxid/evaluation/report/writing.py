"""The files of an evaluation: report.json, report.html, figures and scores."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from voxid import audio, metrics, plots
from voxid.errors import OutputError
from voxid.evaluation.report.clips import Excerpt
from voxid.evaluation.report.page import write_html
from voxid.evaluation.report.values import Report
from voxid.evaluation.scores import Scores
from voxid.files import output_error
from voxid.trials.data import EvaluationData
from voxid.types import SAMPLE_RATE


def make_folder(out: str | os.PathLike[str] | None) -> Path | None:
    """Return the output folder, made before the long work rather than after it."""
    if out is None:
        return None
    folder = Path(out).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(error, folder) from error
    if not os.access(folder, os.W_OK):
        raise OutputError(f"cannot write into {folder}. Choose a folder you may write to.")
    return folder


def write_report(
    folder: Path,
    report: Report,
    systems: Sequence[Scores],
    files: Sequence[str] = (),
    clip: Callable[[str], Excerpt | None] | None = None,
    command: str | None = None,
) -> Report:
    """Write figures, report.html and report.json; return the report that names them and all `files`.

    `clip` gives the recording of an utterance; `command` is what the user typed, for the page.
    """
    curves = [(system.name, metrics.det(system.score_K, system.same_K)) for system in systems]
    plots.save(plots.det_curve(curves), folder / "det.png")
    drawn = [
        (system.name, system.score_K, system.same_K, model.eer_threshold)
        for system, model in zip(systems, report.models, strict=True)
    ]
    plots.save(plots.score_histograms(drawn), folder / "histogram.png")
    every = ["report.html", "det.png", "histogram.png", *files, "report.json"]
    report = dataclasses.replace(report, files=every)
    write_html(folder / "report.html", report, systems, clip, command=command)
    report.write(folder / "report.json")
    return report


def recordings(data: EvaluationData) -> Callable[[str], Excerpt | None]:
    """Return what gives the recording of an utterance by its name, None for one without."""
    number = {utterance.utterance: i for i, utterance in enumerate(data.utterances)}

    def clip(name: str) -> Excerpt | None:
        if name not in number:
            return None
        said = data.utterances[number[name]]
        labels = {"sex": said.sex, "age": said.age, "language": said.language, "session": said.session}
        return Excerpt(audio.load(data.audio(number[name])), SAMPLE_RATE, said.speaker, labels)

    return clip
