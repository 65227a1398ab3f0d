"""`write_html`: a report, its figures and its recordings as one page that needs nothing else.

# K trials
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import os
from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import voxid.evaluation.report.findings as findings
import voxid.evaluation.report.formats as formats
import voxid.evaluation.report.tables as tables
from voxid.errors import EvaluationError
from voxid.evaluation.report.clips import CLIP_S, ClipStore, Excerpt
from voxid.evaluation.report.figures import det_figure, model_figures
from voxid.evaluation.report.values import ModelReport, Report
from voxid.evaluation.scores import Scores
from voxid.files import atomic_write
from voxid.plots import COLORS
from voxid.types import reasons

PACKAGE = "voxid.evaluation.report"
ERRORS = ("false_accepts", "false_rejects")


def write_html(
    path: str | os.PathLike[str],
    report: Report,
    systems: Sequence[Scores],
    clip: Callable[[str], Excerpt | None] | None = None,
    *,
    command: str | None = None,
) -> None:
    """Write `report` as one HTML page: tables, figures, and recordings of the worst trials to listen to.

    The page opens from disk: it loads nothing, and a content security policy in it forbids that it could.
    `systems` are the trials to draw, one for each of `report.models`, by name. `clip(utterance)` gives the
    recording of an utterance, or None; each is stored once, cut to its first 10 seconds, as long as the page
    stays below 10 MB (what found no room is counted). Without `clip` the page has no players. `command` is
    what the user typed; without it the page shows a command made up from the report.

    Raise EvaluationError when a model has no scores, DiskFull, NotWritable or OutputError.
    """
    by_name = {system.name: system for system in systems}
    if missing := [model.model for model in report.models if model.model not in by_name]:
        raise EvaluationError(
            f"no trials to draw for {', '.join(map(repr, missing))}; got scores of "
            f"{', '.join(map(repr, by_name)) or 'no model'}. Give the Scores of each model of the report."
        )
    store = ClipStore(clip)
    drawn = [by_name[model.model] for model in report.models]
    style, script = (
        (files(PACKAGE) / "parts" / name).read_text("utf-8") for name in ("report.css", "report.js")
    )
    page = _environment().get_template("report.html.j2")
    text = page.render(
        report=report,
        models=report.models,
        columns=tables.COLUMNS,
        worst=_worst(report.models, store),
        det=det_figure(drawn, report.models),
        figures=[model_figures(n, *both) for n, both in enumerate(zip(drawn, report.models, strict=True))],
        store={"type": store.media, "clips": store.clips},
        no_room=store.full,
        has_audio=clip is not None,
        command=command or findings.command(report),
        made_up=command is None,
        colors=[f"var(--series-{n}, {color})" for n, color in enumerate(COLORS)],
        style=Markup(style),
        script=Markup(script),
        policy=_policy(script),
    )
    with atomic_write(path, "w") as file:
        file.write(text)


def _worst(models: Sequence[ModelReport], store: ClipStore) -> list[dict[str, list[dict[str, Any]]]]:
    """Return the worst trials of each model with both sides to hear; the very worst get their room first."""
    found: list[dict[str, list[dict[str, Any]]]] = [{kind: [] for kind in ERRORS} for _ in models]
    ranked = sorted(
        (
            (rank, into[kind], trial)
            for model, into in zip(models, found, strict=True)
            for kind in ERRORS
            for rank, trial in enumerate(model.worst[kind])
        ),
        key=lambda one: one[0],
    )
    sides = [[(trial[side], trial[f"{side}_speaker"]) for side in ("left", "right")] for *_, trial in ranked]
    with store.reading(itertools.chain(*sides)):
        for (_, into, trial), both in zip(ranked, sides, strict=True):
            left, right = (store.hear(*side) for side in both)
            into.append({"left": left, "right": right, "score": trial["score"], "llr": trial["llr"]})
    return found


@cache
def _environment() -> Environment:
    """Return the templates of this folder, in which everything that is not markup of ours is escaped."""
    environment = Environment(
        loader=PackageLoader(PACKAGE, "parts"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    names = ("percent", "cost", "signed", "count", "facts", "moment")
    environment.filters |= {name: getattr(formats, name) for name in names} | {"reasons": reasons}
    environment.globals |= {"findings": findings, "tables": tables, "clip_s": CLIP_S}
    return environment


def _policy(script: str) -> str:
    """Return the page's content security policy: no network, no plug-in, no script but this one."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; media-src blob:"
