"""What the report found, in sentences: who is best, whether that may be chance, what to be careful about."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

from voxid.evaluation.report.formats import cost, facts, p_value, percent
from voxid.evaluation.report.values import ModelReport, Report
from voxid.metrics import worse_than_guessing


def in_short(report: Report) -> list[str]:
    """Return the sentences a reader in a hurry needs: who is best, and whether that may be chance."""
    ranked = sorted(report.models, key=lambda model: model.eer)
    first = ranked[0]
    bounds = first.intervals.get("eer")
    between = f" ({level(report)} interval {percent(bounds[0])} to {percent(bounds[1])})" if bounds else ""
    if len(ranked) == 1:
        return [f"{first.model} has an equal error rate of {percent(first.eer)} %{between}."]
    alike = [model.model for model in ranked if model.eer == first.eer]
    if len(alike) > 1:  # copies of a model that decide otherwise, most likely
        return [f"{' and '.join(alike)} have the same equal error rate, {percent(first.eer)} %{between}."]
    lines = [f"{first.model} has the lowest equal error rate, {percent(first.eer)} %{between}."]
    pair = {first.model, ranked[1].model}
    tests = [test for test in paired(report) if test["figure"] == "eer" and {test["a"], test["b"]} == pair]
    return [*lines, *(test["sentence"] for test in tests)]


def level(report: Report) -> str:
    """Return the level of the intervals, such as "95 %"."""
    return f"{100 * report.intervals['level']:g} %"


def paired(report: Report) -> list[dict[str, Any]]:
    """Return each paired test with a sentence that says what it showed, and whether it showed anything."""
    chance = 1 - report.intervals["level"]
    return [{**test, **_verdict(test, level(report), chance)} for test in report.paired]


def _verdict(test: dict[str, Any], level: str, chance: float) -> dict[str, Any]:
    is_rate = test["figure"] == "eer"
    name = "equal error rate" if is_rate else "minDCF (0.01)"
    unit = " percentage points" if is_rate else ""
    show = percent if is_rate else cost
    p = p_value(test["p_value"])
    shown = test["p_value"] <= chance
    better, worse = (test["a"], test["b"]) if test["difference"] <= 0 else (test["b"], test["a"])
    if shown:
        sentence = (
            f"{better} is better than {worse}: its {name} is {show(abs(test['difference']))}{unit} lower "
            f"({level} interval of the difference {_size_between(test, show)}; p {p})."
        )
    else:
        sentence = (
            f"No difference between {test['a']} and {test['b']} is shown: their {name}s are "
            f"{show(abs(test['difference']))}{unit} apart, which may be chance (p {p})."
        )
    return {
        "name": "EER" if is_rate else "minDCF 0.01",
        "better": better,
        "worse": worse,
        "sentence": sentence,
        "shown": shown,
        "text": _signed(test["difference"], is_rate),
        "interval_text": f"{_signed(test['low'], is_rate)} to {_signed(test['high'], is_rate)}",
        "p": p,
    }


def _size_between(test: dict[str, Any], show: Callable[[float | None], str]) -> str:
    low, high = test["low"], test["high"]
    if test["difference"] <= 0:
        low, high = -high, -low
    return f"{show(low)} to {show(high)}".replace("-", "−")


def _signed(value: float, is_rate: bool) -> str:
    return (f"{100 * value:+.2f}" if is_rate else f"{value:+.3f}").replace("-", "−")


def headline_notes(report: Report) -> list[str]:
    """Return what a reader must know before comparing the rows of the headline table."""
    notes = []
    if len({model.trials for model in report.models}) > 1:
        notes.append(
            "The systems were not measured on the same trials, because they left different utterances out: "
            "see “Left out”."
        )
    if raw := [model.model for model in report.models if model.act_dcf is None]:
        notes.append(f"Not calibrated, so without actDCF and Cllr: {', '.join(raw)}.")
    return notes


def calibration_verdict(model: ModelReport) -> str:
    """Return what the calibration costs at the named operating points, and where it comes from."""
    if model.act_dcf is None or model.act_dcf_05 is None:
        return "Its calibration was not measured."
    lost = ", ".join(
        f"{cost(actual)} instead of {cost(least)} at a prior of {prior}"
        for actual, least, prior in (
            (model.act_dcf, model.min_dcf, "1 %"),
            (model.act_dcf_05, model.min_dcf_05, "5 %"),
        )
    )
    held = model.calibration or {}
    fitted, known = held.get("fitted_on") or {}, ""
    if fitted.get("name"):
        people = f", {fitted['speakers']:,} speakers" if fitted.get("speakers") else ""
        prior = f", for a prior of {100 * held['prior']:g} %" if held.get("prior") else ""
        known = f" It was fitted on {fitted['name']}{people}{prior}."
    return (
        f"Deciding by its LLRs costs (DCF) {lost}; Cllr is {cost(model.cllr)}, "
        f"at best {cost(model.min_cllr)}.{known}"
    )


def decider(model: ModelReport) -> str:
    """Return the name of the model whose LLRs decide, whichever of its scores this system is."""
    return model.model.removesuffix(f" {model.scoring}")


def decisions(model: ModelReport) -> list[dict[str, Any]]:
    """Return the decisions of a model as rows: what was asked, and what it gave, as text."""
    rows = []
    for decision in model.decisions:
        cells = {}
        for name in ("false_alarm", "miss"):
            bounds = decision.get(f"{name}_interval")
            cells[name] = percent(decision[f"{name}_rate"])
            cells[f"{name}_interval"] = f"{percent(bounds[0])}–{percent(bounds[1])}" if bounds else ""
        rows.append({"asked": decision["asked"], **cells, "note": decision.get("why_not", "")})
    return rows


def broken_promises(model: ModelReport) -> list[str]:
    """Return a sentence for each false-alarm rate that was asked for and not kept, beyond chance.

    Beyond chance: outside of the interval, or twice or half as much where there is none.
    """
    lines = []
    for decision in model.decisions:
        asked, got = decision["asked"].removeprefix("far="), decision["false_alarm_rate"]
        if asked == decision["asked"] or got is None:
            continue
        far = float(asked)
        low, high = decision.get("false_alarm_interval") or (got / 2, got * 2)
        if not low <= far <= high:
            remedy = "adapt (voxid adapt) or calibrate it" if got > far else "it refuses more than it has to"
            lines.append(
                f"{decider(model)}: asked {100 * far:g} % of strangers accepted, got {percent(got)} %: "
                f"{remedy}."
            )
    return lines


def any_left_out(report: Report) -> bool:
    """Return whether any system, the trials or the preparation of the data left anything out."""
    lost = any(model.left_out or model.trials_lost for model in report.models)
    before = report.left_out.get("when_prepared") or report.trials.get("left_out")
    return bool(lost or before or report.left_out.get("trials"))


def of_list(report: Report) -> list[str]:
    """Return what looks wrong in the trial list."""
    return [
        f"all {count:,} scores of a system are the same: it tells nobody apart"
        if kind == "constant_scores"
        else f"{count:,} trials: {kind.replace('_', ' ')}; they count as given"
        for kind, count in report.trials["warnings"].items()
    ]


def warnings(report: Report) -> list[str]:
    """Return everything the data and the trial list were warned about, as sentences."""
    doubts = ((model.model, worse_than_guessing(model.eer)) for model in report.models)
    lines = [*(f"{line}." for line in of_list(report)), *(f"{name}: {said}" for name, said in doubts if said)]
    return lines + report.data.get("warnings", [])


def command(report: Report) -> str:
    """Return a command that makes this report again, from what the report knows of itself."""
    words = ["voxid", "evaluate", *(model.folder or model.model for model in report.models)]
    for path in report.data.get("paths") or [report.data.get("name", "DATA")]:
        words += ["--data", str(path)]
    words += ["--trials", str(report.trials.get("spec", "all"))]
    if report.trials.get("seed") is not None:
        words += ["--seed", str(report.trials["seed"])]
    return shlex.join([*words, "-o", report.out or "report"])


LONG = ("impostors", "enrollments", "enrolments", "start")  # parts of a calibration


def origin(model: ModelReport) -> list[tuple[str, str]]:
    """Return where a system comes from and how it was used, as (name, text).

    How strangers scored at each rate is for report.json: nobody reads hundreds of numbers on a page.
    """
    line = {k: v for k, v in (model.calibration or {}).items() if k not in LONG}
    known = {
        "folder": model.folder,
        "fingerprint": model.fingerprint,
        "inference": model.inference,
        "scoring": model.scoring,
        "EER threshold": model.eer_threshold,
        "EER on the original's grid": model.eer_grid,
        "calibration": line,
        "embedding took": f"{model.embed_s:.1f} s, {model.from_cache:,} utterances from the cache",
    }
    return facts(known)
