"""The files of an evaluation: report.json, report.html, figures and scores."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from voxid import audio, metrics, plots
from voxid.errors import OutputError
from voxid.evaluation.measure import System
from voxid.evaluation.overlap import TESTED_SPEAKERS, SpeakerSet
from voxid.evaluation.report import Clip, Panel, write_html
from voxid.evaluation.report.values import Report
from voxid.evaluation.scores import READABLE_TRIALS, write_readable_scores, write_scores
from voxid.files import output_error
from voxid.trials.data import EvaluationData
from voxid.types import SAMPLE_RATE, Utterance


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


def write_files(
    folder: Path,
    report: Report,
    systems: Sequence[System],
    data: EvaluationData,
    speakers: dict[str, SpeakerSet],
    command: str | None = None,
) -> Report:
    """Write everything into `folder`; return the report with the names of the files.

    `speakers` are those each model was tested on; `command` is what the user typed, for the page.
    """
    files = write_figures(folder, report, systems)
    for system in systems:
        stem = "scores-" + re.sub(r"[^\w.+-]+", "_", system.name)
        files.append(f"{stem}.npz")
        write_scores(folder / files[-1], system, data)
        if system.score_K.size <= READABLE_TRIALS:
            files.append(f"{stem}.csv")
            write_readable_scores(folder / files[-1], system, data)
    for name, met in speakers.items():
        files.append(TESTED_SPEAKERS.format(name))
        met.save(folder / files[-1])
    return write_report(folder, report, systems, files, recordings(data), command)


def write_figures(folder: Path, report: Report, systems: Sequence[System]) -> list[str]:
    """Write det.png and histogram.png; return their names."""
    curves = [(system.name, metrics.det(system.score_K, system.same_K)) for system in systems]
    plots.save(plots.det_curve(curves), folder / "det.png")
    panels = [
        (system.name, system.score_K, system.same_K, model.eer_threshold)
        for system, model in zip(systems, report.models, strict=True)
    ]
    plots.save(plots.score_histograms(panels), folder / "histogram.png")
    return ["det.png", "histogram.png"]


def write_report(
    folder: Path,
    report: Report,
    systems: Sequence[System],
    files: Sequence[str],
    clip: Callable[[str], Clip | None] | None,
    command: str | None,
) -> Report:
    """Write report.html and report.json, and return the report that names all `files` and these two."""
    report = dataclasses.replace(report, files=["report.html", *files, "report.json"])
    panels = [
        Panel(system.name, system.score_K, system.same_K, system.llr_K, model.eer_threshold)
        for system, model in zip(systems, report.models, strict=True)
    ]
    write_html(folder / "report.html", report, panels, clip, command=command)
    report.write(folder / "report.json")
    return report


def recordings(data: EvaluationData) -> Callable[[str], Clip | None]:
    """Return what gives the recording of an utterance by its name, None for one without."""
    number = {utterance.utterance: i for i, utterance in enumerate(data.utterances)}

    def clip(name: str) -> Clip | None:
        if name not in number:
            return None
        said = data.utterances[number[name]]
        source = data.audio(number[name])
        if isinstance(source, Utterance):
            source = audio.load(source.path, start_s=source.start_s, duration_s=source.duration_s)
        wave_S = source if not isinstance(source, tuple) else audio.load(source)
        labels = {"sex": said.sex, "age": said.age, "language": said.language, "session": said.session}
        return Clip(wave_S, SAMPLE_RATE, said.speaker, labels)

    return clip
